"""`secateur doctor`: which tools are there, which are missing, how to get them."""

from __future__ import annotations

import platform

import click

from .output import json_option, print_result


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Show which tools are there and how to get the rest."""
    from rich.console import RenderableType
    from rich.table import Table
    from rich.text import Text

    from .tools import TOOLS

    found = [(tool, tool.find()) for tool in TOOLS]
    data = {
        "python": platform.python_version(),
        "ready": all(where for tool, where in found if tool.needed),
        "tools": [
            {
                "name": tool.name,
                "purpose": tool.purpose,
                "found": where,
                "needed": tool.needed,
                "install": None if where else tool.install,
            }
            for tool, where in found
        ],
    }

    def table() -> RenderableType:
        out = Table(header_style="bold", caption_justify="left")
        for column in ("tool", "for", "found, or how to get it"):
            out.add_column(column, overflow="fold")
        for tool, where in found:
            missing = ("missing", "red" if tool.needed else "yellow")
            state = Text(where) if where else Text.assemble(missing, f": {tool.install}")
            out.add_row(tool.name, tool.purpose, state)
        ready = "Everything `secateur demo` needs is there."
        out.caption = ready if data["ready"] else "Install the red ones before `secateur demo`."
        return out

    print_result(as_json, data, table)
