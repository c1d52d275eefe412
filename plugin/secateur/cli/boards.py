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


@click.command("boards")
@click.option(
    "--check",
    "manifest",
    type=click.Path(path_type=Path),
    help="Validate a board manifest instead (see docs/boards.md).",
)
@json_option
def command(manifest: Path | None, as_json: bool) -> None:
    """List the boards, or check a new board's manifest."""
    from rich.console import RenderableType
    from rich.table import Table

    from secateur.targets import boards

    chosen = [boards.check(manifest)] if manifest is not None else boards.all()
    rows = [_summary(board) for board in chosen]

    def table() -> RenderableType:
        out = Table(header_style="bold")
        for name in ("board", "title", "core"):
            out.add_column(name)
        for name in ("MHz", "flash", "RAM"):
            out.add_column(name, justify="right")
        out.add_column("emulators")
        for row in rows:
            out.add_row(
                row["board"],
                row["title"],
                row["core"],
                f"{row['clock_hz'] / 1e6:g}",
                f"{row['flash_bytes'] / 1024:.0f} KiB",
                f"{row['ram_bytes'] / 1024:.0f} KiB",
                ", ".join(row["emulators"]) or "-",
            )
        return out

    print_result(as_json, rows, table)
