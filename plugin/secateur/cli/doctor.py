"""`secateur doctor`: which tools are there, which are missing, how to get them."""

from __future__ import annotations

import platform

import click

from .output import json_option, print_result


@click.command("doctor")
@json_option
def command(as_json: bool) -> None:
    """Show which tools are there and how to get the rest, what `secateur demo` needs first."""
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text

    from .tools import TOOLS

    found = [(tool, tool.find()) for tool in TOOLS]
    # What stands in the way first, then what is missing at all, then what is there.
    found.sort(key=lambda pair: (bool(pair[1]), not pair[0].needed))
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
        out = Table(header_style="bold")
        for column in ("", "tool", "for", "found, or how to get it"):
            out.add_column(column, overflow="fold", no_wrap=not column)
        for tool, where in found:
            missing = Text("NEEDED", "bold red") if tool.needed else Text("missing", "yellow")
            state = Text("ok", "green") if where else missing
            out.add_row(state, tool.name, tool.purpose, Text(where or tool.install))
        lacking = [tool.name for tool, where in found if tool.needed and not where]
        first = "Everything `secateur demo` needs is there."
        if lacking:
            first = f"`secateur demo` needs what is not there: {', '.join(lacking)}."
        return Group(Text(first, "bold red" if lacking else ""), out)

    print_result(as_json, data, table)
