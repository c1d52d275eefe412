"""`secateur report`: reports written earlier, again as text or as a page."""

from __future__ import annotations

from pathlib import Path

import click

from .output import json_option, print_result


@click.command("report")
@click.argument("reports", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--html", type=click.Path(path_type=Path), help="Write a page.")
@json_option
def command(reports: tuple[Path, ...], html: Path | None, as_json: bool) -> None:
    """Show or compare REPORTS (report.json files).

    The first one is shown in full, the others beside it.
    """
    from secateur.files import check
    from secateur.report import Report
    from secateur.report import html as page
    from secateur.report.terminal import compare, render

    if html is not None:
        check(html, page.OURS)
    first, *others = [Report.load(path) for path in reports]
    if html is not None:
        page.save(html, first, None, others)
    data = [report.to_dict() for report in (first, *others)] if others else first.to_dict()
    print_result(as_json, data, lambda: compare([first, *others]) if others else render(first))
