"""`secateur explore`, `compress` and `combinations`: the best compressed network, by search."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .output import import_keras, json_option, print_result, progress, work

if TYPE_CHECKING:
    from secateur.exploration import Combinations, Exploration

#: Seconds between two lines about what has been found.
EVERY = 5.0


def _options(f: Any) -> Any:
    """What all three commands take, as `**options`."""
    for name, value, what in (
        ("seed", 0, "Of the sampler and of the trainings."),
        ("jobs", 1, "Processes of this machine."),
    ):
        f = click.option(f"--{name}", default=value, show_default=True, help=what)(f)
    f = click.option("--ray", metavar="ADDRESS", help="Through Ray: auto, local or HOST:PORT.")(f)
    f = click.option(
        "--tau", default=1.0, show_default=True, help="Points of accuracy worth one halving."
    )(f)
    f = click.option(
        "--allow-overlap", is_flag=True, help="Validation or test rows may be training rows."
    )(f)
    f = click.option("--emulator", help="host, sim, qemu or renode; default: the best installed.")(
        f
    )
    f = click.option(
        "--builder", default="platformio", show_default=True, help="platformio or gcc."
    )(f)
    return click.option(
        "--board", default="nucleo_l4r5zi", show_default=True, help="See `secateur boards`."
    )(f)


def _budgets(f: Any) -> Any:
    for name, example, what in (
        ("energy", "300uJ", "energy of an inference, estimated"),
        ("latency", "15ms", "an inference at the board's clock, estimated"),
        ("ram", "12k", "activations and scratch"),
        ("flash", "16k", "constants and code"),
    ):
        f = click.option(
            f"--{name}", metavar=example.upper(), help=f"Budget for {what}, such as {example}."
        )(f)
    return click.option(
        "--max-drop", type=float, help="Points of accuracy on the validation rows to lose at most."
    )(f)


def _file(name: str, what: str, required: bool = False) -> Any:
    return click.option(
        name, type=click.Path(path_type=Path), required=required, help=f".npz with x and y: {what}."
    )


def _out(folder: str, what: str) -> Any:
    return click.option(
        "--out", type=click.Path(path_type=Path), default=f"build/{folder}", show_default=True,
        help=f"{what}; the same command goes on there.",
    )  # fmt: skip


@click.command("explore")
@click.argument("model", type=click.Path(path_type=Path))
@_file("--train", "rows to train on", True)
@_file("--validation", "rows to choose by", True)
@_file("--test", "rows looked at once, by the points made ready")
@_budgets
@click.option("--time", "time_limit", default=None, help="Of this run, such as 2h or 10m.")
@click.option("--trials", type=int, help="In all, with those of earlier runs.")
@click.option("--epochs", default=1.0, show_default=True, help="Of the shortest training.")
@click.option("--points", default=4, show_default=True, help="Of the front, to be made ready.")
@click.option(
    "--start", "starts", type=click.Path(path_type=Path), multiple=True,
    help="A further .keras file to start from; repeatable.",
)  # fmt: skip
@click.option("--watch", is_flag=True, help="Open the page and renew it while it runs.")
@_options
@_out("explore", "Folder of the study, points and page")
@json_option
def command(
    model: Path,
    train: Path,
    validation: Path,
    test: Path | None,
    time_limit: str | None,
    trials: int | None,
    starts: tuple[Path, ...],
    watch: bool,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Search for the best compressed form of MODEL (.keras) for a board.

    Ten minutes unless --time or --trials say otherwise.
    """
    if time_limit is None and trials is None:
        time_limit = "10m"
    with work(as_json), progress("reading"):
        _needs()
        from secateur.exploration import explore

        result = explore(
            model, _pair(train), _pair(validation), None if test is None else _pair(test),
            time_limit=time_limit, trials=trials, starts={p.stem: p for p in starts}, out=out,
            heard=_Line(trials, watch), **options,
        )  # fmt: skip
    print_result(as_json, result.to_dict(), lambda: _table(result))


@click.command("compress")
@click.argument("model", type=click.Path(path_type=Path))
@_file("--data", "rows; a fifth of them validates", True)
@_budgets
@click.option("--method", default="ternary", show_default=True,
              help="int8, ternary, cluster, power_of_two or uniform.")  # fmt: skip
@click.option("--time", "time_limit", default="10m", show_default=True, help="Such as 10m.")
@click.option("--trials", type=int, help="At most so many.")
@_options
@_out("compress", "Folder to write")
@json_option
def compress_command(
    model: Path, data: Path, out: Path, trials: int | None, as_json: bool, **options: Any
) -> None:
    """The short form of `explore`: one family of methods for MODEL (.keras), ten minutes."""
    with work(as_json), progress("reading"):
        _needs()
        from secateur.exploration import compress

        result = compress(
            model, _pair(data), out=out, trials=trials, heard=_Line(trials, False), **options
        )
    print_result(as_json, result.to_dict(), lambda: _table(result))


@click.command("combinations")
@click.argument("model", type=click.Path(path_type=Path))
@_file("--train", "rows to train on", True)
@_file("--validation", "rows to judge by", True)
@click.option("--zeros", default="0,0.5,0.7,0.8,0.9", show_default=True, help="Shares of zeros.")
@click.option("--methods", default="int8,uniform,power_of_two,cluster,ternary", show_default=True)
@click.option("--epochs", default=2.0, show_default=True, help="Of every training.")
@_options
@_out("combinations", "Folder to write")
@json_option
def combinations_command(
    model: Path,
    train: Path,
    validation: Path,
    zeros: str,
    methods: str,
    out: Path,
    as_json: bool,
    **options: Any,
) -> None:
    """Every share of zeros with every method for MODEL (.keras), ranked by one number."""
    from secateur.errors import DataError

    try:
        shares = [float(z) for z in zeros.split(",")]
    except ValueError as e:
        raise DataError(f"--zeros {zeros}: write shares as 0,0.5,0.9") from e
    with work(as_json), progress("reading"):
        _needs()
        from secateur.exploration import combinations

        total = len(shares) * len(methods.split(","))
        made = combinations(
            model, _pair(train), _pair(validation), zeros=shares, out=out,
            methods=[m.strip() for m in methods.split(",")], heard=_Line(total, False), **options,
        )  # fmt: skip
    print_result(as_json, made.to_dict(), lambda: _maps(made))


def _needs() -> None:
    from secateur import extras
    from secateur.errors import ToolError

    if not import_keras():
        raise ToolError(f"exploring needs Keras 3; run: {extras.install('train')}")


def _pair(path: Path) -> tuple[Any, Any]:
    from secateur.errors import DataError

    from .inputs import as_calibration, load_inputs

    x, y = load_inputs(path)
    if y is None:
        raise DataError(f"{path} has no labels y: save it with np.savez(x=..., y=...)")
    return as_calibration(x, path), y


class _Line:
    """One line every few seconds about what has been found, and the page if it is watched."""

    def __init__(self, trials: int | None, watch: bool) -> None:
        self.trials, self.watch = trials, watch
        self.began = self.last = time.monotonic()
        self.open = False

    def __call__(self, found: Exploration, _trial: Any) -> None:
        now = time.monotonic()
        if self.watch and (not self.open or now - self.last >= EVERY):
            self._show(found)
        if now - self.last < EVERY:
            return
        self.last = now
        done = len(found.points) + found.failed
        line = f"secateur: {done}" + (f" of {self.trials}" if self.trials else "") + " trials"
        best = found.best
        if best is not None:
            f = best.figures
            line += (
                f", best {f['accuracy']:.2f} % in {(f['flash'] or 0) / 1e3:.1f} kB "
                f"(quality {f['quality']:.2f}), front of {len(found.front)}"
            )
            line += "" if found.in_budget else ", none in budget yet"
        if self.trials and done:
            line += f", about {(now - self.began) / done * (self.trials - done):.0f} s left"
        click.echo(line, err=True)

    def _show(self, found: Exploration) -> None:
        from secateur.exploration.page import save

        page = save(found, live=True)
        if not self.open:
            self.open = True
            click.launch(page.resolve().as_uri())


def _table(result: Exploration) -> Any:
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from secateur.exploration.points import HEADINGS
    from secateur.exploration.quality import formula
    from secateur.names import shown

    table = Table(
        title=f"{shown(result.model)} on {result.board}", title_justify="left",
        box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    for heading in HEADINGS:
        left = heading == "settings"
        table.add_column(heading, justify="left" if left else "right", no_wrap=not left)
    for cells in result.rows():
        table.add_row(*(Text(shown(c)) for c in cells))
    said = [formula(result.tau), *(f"note: {n}" for n in result.notes)]
    best = result.best
    if best is not None:
        where = f" in {best.folder}" if best.folder else ""
        said.append(f"best: point {best.number}{where}; page: {result.folder / 'explore.html'}")
    return Group(table, *(Text(shown(s)) for s in said))


def _maps(made: Combinations) -> Any:
    from rich.console import Group
    from rich.text import Text

    from secateur.exploration.points import MAPPED
    from secateur.exploration.quality import formula
    from secateur.names import shown

    parts = [Text(shown(made.table(figure), keep="\n") + "\n") for figure in MAPPED]
    page = made.folder / "combinations.html"
    return Group(*parts, Text(formula(made.tau)), Text(shown(f"page: {page}")))
