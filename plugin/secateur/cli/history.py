"""`secateur history` and `secateur compare`: deployments over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .output import json_option, print_result, warn

_FILE = click.option(
    "--file", "path", type=click.Path(path_type=Path), help="Default: build/history.sqlite."
)


def _text(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


@click.command("history")
@click.option("--model", help="Of this model only.")
@click.option("--board", help="Of this board only.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True)
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    help="Write a page: accuracy, size and latency from commit to commit.",
)
@_FILE
@json_option
def command(
    model: str | None,
    board: str | None,
    limit: int,
    html: Path | None,
    path: Path | None,
    as_json: bool,
) -> None:
    """List what was deployed, newest first."""
    from rich.table import Table

    from secateur.files import check
    from secateur.report import history, history_page

    if html is not None:
        check(html, history_page.OURS)
    found = history.entries(path, model, board, limit, damaged=warn)

    if html is not None:
        history_page.save(html, found)

    def table() -> Any:
        out = Table("no", "when (UTC)", "commit", "model", "board", "by", header_style="bold")
        for title, _ in history.FIGURES[:3] + history.FIGURES[8:]:
            out.add_column(title, justify="right")
        for e in found:
            cells = [history.figure(e.report, p) for _, p in (*history.FIGURES[:3],
                                                              *history.FIGURES[8:])]  # fmt: skip
            out.add_row(
                str(e.id),
                e.at[:16],
                e.revision or "-",
                e.model,
                e.board,
                e.emulator or "board",
                *map(_text, cells),
            )
        return out

    rows = [
        {"id": e.id, "at": e.at, "model": e.model, "board": e.board, "emulator": e.emulator,
         "revision": e.revision, "report": e.report}
        for e in found
    ]  # fmt: skip
    print_result(as_json, rows, table)


@click.command("compare")
@click.argument("old", type=int)
@click.argument("new", type=int)
@_FILE
@json_option
def compare(old: int, new: int, path: Path | None, as_json: bool) -> None:
    """Put two entries of the history side by side, by their numbers."""
    from rich.table import Table

    from secateur.report import history

    first, second = history.entry(old, path), history.entry(new, path)
    rows = history.compare(first, second)

    def table() -> Any:
        out = Table("figure", header_style="bold")
        for e in (first, second):
            out.add_column(f"{e.id}: {e.model} on {e.board}", justify="right")
        out.add_column("change", justify="right")
        for row in rows:
            change = "-" if row["change"] is None else f"{row['change']:+.1%}"
            out.add_row(row["figure"], _text(row["old"]), _text(row["new"]), change)
        return out

    print_result(as_json, rows, table)
