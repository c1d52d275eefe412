"""`secateur boards`: the boards there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .output import json_option, print_result


def _summary(board: Any) -> dict[str, Any]:
    return {
        "board": board.id,
        "title": board.title,
        "mcu": board.mcu,
        "core": board.core,
        "clock_hz": board.clock_hz,
        "flash_bytes": board.memory.flash.length,
        "ram_bytes": board.memory.ram.length,
        "emulators": board.emulators,
    }


def _size(count: int) -> str:
    return f"{count >> 20} MiB" if count >= 8 << 20 else f"{count >> 10} KiB"


@click.command("boards")
@click.option(
    "--check",
    "manifest",
    type=click.Path(path_type=Path),
    help="Validate a board manifest instead (see docs/boards.md).",
)
@click.option("--markdown", is_flag=True, help="The table of README.md: how far each was tried.")
@json_option
def command(manifest: Path | None, markdown: bool, as_json: bool) -> None:
    """List the boards, or check a new board's manifest."""
    from rich import box
    from rich.console import RenderableType
    from rich.table import Table

    from secateur.targets import boards

    if markdown and not as_json:
        click.echo(boards.table(), nl=False)
        return
    chosen = [boards.check(manifest)] if manifest is not None else boards.all()
    rows = [_summary(board) for board in chosen]

    def table() -> RenderableType:
        out = Table(header_style="bold", box=box.SIMPLE_HEAD, padding=0, show_edge=False)
        out.add_column("board", no_wrap=True, min_width=17)
        out.add_column("title", min_width=22)
        out.add_column("core", no_wrap=True, min_width=13)
        for name, width in (("MHz", 4), ("flash", 8), ("RAM", 8)):
            out.add_column(name, justify="right", no_wrap=True, min_width=width)
        out.add_column("emulators")
        for row in rows:
            out.add_row(
                row["board"],
                row["title"],
                row["core"],
                f"{row['clock_hz'] / 1e6:g}",
                _size(row["flash_bytes"]),
                _size(row["ram_bytes"]),
                ", ".join(row["emulators"]) or "-",
            )
        return out

    print_result(as_json, rows, table)
