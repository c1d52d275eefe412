"""`secateur check-model`: everything of a model that cannot be converted, at once."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from .output import import_keras, json_option, print_result, work


@click.command("check-model")
@click.argument("model", type=click.Path(path_type=Path))
@json_option
@click.pass_context
def command(ctx: click.Context, model: Path, as_json: bool) -> None:
    """List all that keeps MODEL from being converted, and how much of it would.

    The exit code is 1 where anything does, 0 where the model converts.
    """
    with work(as_json):
        from secateur.flow.survey import survey

        if model.suffix in (".keras", ".h5", ".hdf5"):
            import_keras()
        found = survey(model)
    data = {**asdict(found), "converts": found.converts}

    def table() -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        shares = Text(
            f"{found.name}: {_share(found.converting_macs, found.macs)} of the MACs and "
            f"{_share(found.converting_parameters, found.parameters)} of the weights convert"
        )
        if found.converts:
            return Group(shares, Text("nothing is in the way"))
        out = Table(title_justify="left", header_style="bold", show_lines=True)
        out.add_column("layer", overflow="fold")
        out.add_column("what is in the way", overflow="fold")
        for h in found.hindrances:
            out.add_row(Text(h.layer or "(model)"), Text(h.sentence))
        return Group(out, shares)

    print_result(as_json, data, table)
    if not found.converts:
        ctx.exit(1)


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "all"
