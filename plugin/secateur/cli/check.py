"""`secateur check` and `secateur baseline update`: budgets in continuous integration."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secateur.errors import SecateurError

from .output import import_keras, json_option, print_result, progress, work

if TYPE_CHECKING:
    from secateur.config import Config
    from secateur.report import Report

KEPT, BROKEN, UNKNOWN = 0, 1, 2

_config_option = click.option(
    "--config",
    "path",
    default=Path("secateur.toml"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="The budget file.",
)


def _runs(config: Config, build: Path) -> list[tuple[Any, Report, float]]:
    """Every model of the file on every board of its, and the seconds each took."""
    import secateur

    from .inputs import load_calibration, load_inputs

    import_keras()
    out = []
    for model in config.model:
        began = time.monotonic()
        x, y = load_inputs(config.resolve(model.inputs)) if model.inputs else (None, None)
        compiled = secateur.convert(
            config.resolve(model.path),
            calibration=load_calibration(config.resolve(model.calibration)),
            name=model.name,
            optimize=model.optimize,
            board=model.boards[0],
            **model.plan.model_dump(exclude_none=True),
        )
        for board in model.boards:
            report = secateur.deploy(
                compiled,
                board=board,
                inputs=x,
                labels=y,
                emulator=model.emulator,
                build_dir=build / compiled.name / board,
            )
            now = time.monotonic()
            out.append((model, report, now - began))
            began = now
    return out


@click.command("check")
@_config_option
@click.option(
    "--build",
    default=Path("build/check"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder to build in; report.json of each run stays there.",
)
@click.option("--junit", type=click.Path(path_type=Path), help="Write JUnit XML.")
@click.option("--sarif", type=click.Path(path_type=Path), help="Write SARIF 2.1.0.")
@click.option("--markdown", type=click.Path(path_type=Path), help="Write a pull request's comment.")
@click.option(
    "--github/--no-github",
    default=None,
    help="Print GitHub annotations (default: inside GitHub Actions).",
)
@click.option(
    "--against",
    metavar="REF",
    help="Compare with the baseline committed at this git ref, such as main, layer by layer.",
)
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    path: Path,
    build: Path,
    junit: Path | None,
    sarif: Path | None,
    markdown: Path | None,
    github: bool | None,
    against: str | None,
    as_json: bool,
) -> None:
    """Check the budgets of secateur.toml.

    Exits with 0 if all are kept, 1 if one is broken, 2 if that could not be told.
    """
    from secateur import __version__
    from secateur.config import baseline_at, key, line_of, lines, load, load_baseline
    from secateur.files import check as free
    from secateur.files import write
    from secateur.report import budget, changes, ci

    for wanted, ours in ((junit, ci.JUNIT), (sarif, ci.SARIF), (markdown, ci.MARKDOWN)):
        if wanted is not None:
            free(wanted, ours)  # now, not after minutes of work
    config = load(path)
    committed = config.resolve(config.baseline)
    baseline = load_baseline(committed) if against is None else baseline_at(committed, against)
    with work(as_json), progress("converting"):
        runs = _runs(config, build)
    verdicts: list[budget.Verdict] = []
    beside: list[changes.RunChanges] = []
    places = lines(path)
    for model, report, seconds in runs:
        at = places[config.model.index(model)] if len(places) == len(config.model) else {}
        good = baseline.runs.get(key(report))
        of_run = budget.check(report, model.budgets, good, model.tolerance)
        if good is not None or against is not None:
            layers = baseline.layers.get(key(report))
            beside.append(changes.between(report, budget.snapshot(report), good, layers))
        verdicts += [
            replace(
                v,
                line=line_of(at, "budgets" if v.source == "budget" else "tolerance", v.figure),
                seconds=seconds if i == 0 else 0.0,
            )
            for i, v in enumerate(of_run)
        ]
    if not verdicts:
        raise SecateurError(f"{path} sets no budgets: add a [model.budgets] table, see docs/ci.md.")
    if junit is not None:
        write(junit, ci.junit(verdicts), ci.JUNIT)
    if sarif is not None:
        write(sarif, ci.sarif(verdicts, str(path), __version__), ci.SARIF)
    comment = ci.markdown(verdicts, beside, against)
    if markdown is not None:
        write(markdown, comment, ci.MARKDOWN)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        with open(summary, "a", encoding="utf-8") as f:
            f.write(comment)
    if github if github is not None else os.environ.get("GITHUB_ACTIONS") == "true":
        click.echo(ci.github(verdicts, str(path)), nl=False, err=True)
    states = {v.kept for v in verdicts}
    code = BROKEN if False in states else UNKNOWN if None in states else KEPT
    data = {
        "result": {KEPT: "kept", BROKEN: "broken", UNKNOWN: "unknown"}[code],
        "verdicts": [v.to_dict() for v in verdicts],
        "changes": [run.to_dict() for run in beside],
        "reports": [report.to_dict() for _, report, _ in runs],
    }
    print_result(as_json, data, lambda: _tables(verdicts, beside, against))
    ctx.exit(code)


def _tables(verdicts: list[Any], beside: list[Any], against: str | None) -> Any:
    """The budgets, and with --against the layers that differ from there."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    parts = [_table(verdicts)]
    for run in beside if against is not None else ():
        title = Text(f"{run.model} on {run.board}, layers that differ from {against}")
        if run.note:
            parts.append(Text(f"{run.note}."))
        elif not run.layers:
            parts.append(Text(f"{run.model} on {run.board}: every layer is that of {against}."))
        else:
            table = Table("layer", "encoding", header_style="bold", title=title)
            for name in ("stored bytes", "", "weights kept", "effectual MACs"):
                table.add_column(name, justify="right")
            for change in run.layers:
                encoding, stored, kept, macs = map(Text, change.cells())
                grown = Text(f"{change.stored:+,}")
                table.add_row(Text(change.layer), encoding, stored, grown, kept, macs)
            parts.append(table)
    return Group(*parts)


def _table(verdicts: list[Any]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from secateur.report.budget import FIGURES

    table = Table(header_style="bold")
    for name in ("model", "board", "figure"):
        table.add_column(name)
    for name in ("measured", "limit", "last good"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    table.add_column("costliest layer")
    sign = {
        True: Text("kept", "green"), False: Text("broken", "bold red"),
        None: Text("unknown", "yellow"),
    }  # fmt: skip
    for v in verdicts:
        figure = FIGURES[v.figure]
        relation = ">=" if figure.higher_is_better else "<="
        table.add_row(
            Text(v.model),
            Text(v.board),
            v.figure if v.source == "budget" else f"{v.figure} (baseline)",
            figure.show(v.measured),
            f"{relation} {figure.show(v.limit)}",
            figure.show(v.last_good),
            sign[v.kept],
            Text(v.costliest if v.kept is not True else ""),
        )
    return table


@click.group("baseline")
def baseline() -> None:
    """The figures that `secateur check` compares with."""


@baseline.command("update")
@_config_option
@click.option("--build", default=Path("build/check"), type=click.Path(path_type=Path))
@json_option
def update(path: Path, build: Path, as_json: bool) -> None:
    """Run every model of secateur.toml and keep its figures as the baseline.

    Commit the file it writes.
    """
    from rich.text import Text

    from secateur.config import OURS, Baseline, key, load, load_baseline, save_baseline
    from secateur.files import check as free
    from secateur.report import budget
    from secateur.report.changes import layers_of

    config = load(path)
    target = config.resolve(config.baseline)
    free(target, OURS)
    before = load_baseline(target)
    with work(as_json), progress("converting"):
        reports = {key(report): report for _, report, _ in _runs(config, build)}
    now = Baseline(
        {name: budget.snapshot(report) for name, report in reports.items()},
        {name: layers_of(report) for name, report in reports.items()},
    )
    save_baseline(target, now)
    data = {"baseline": str(target), "runs": now.runs}
    changed = [name for name, figures in now.runs.items() if before.runs.get(name) != figures]
    text = f"{target}: {len(now.runs)} runs, {len(changed)} changed"
    print_result(as_json, data, lambda: Text(text))
