"""`secateur slim`: a Keras model with fewer filters."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import click

from .output import import_keras, json_option, print_result, progress, work

#: quantities the planner estimates, and their examples
_PLANNED = (("flash", "32k"), ("ram", "8k"), ("latency", "20ms"), ("energy", "300uJ"))


def _targets(f: Any) -> Any:
    for name, example in reversed(_PLANNED):
        f = click.option(
            f"--{name}", metavar=example.upper(), help=f"What the planner may estimate: {example}."
        )(f)
    for name, what in reversed(
        (
            ("keep", "channels"),
            ("parameters", "parameters"),
            ("flops", "multiply-accumulates"),
            ("memory", "peak activations"),
        )
    ):
        f = click.option(
            f"--{name}",
            type=float if name == "keep" else _Left(),
            help=f"Share of the {what} that is left"
            + ("." if name == "keep" else ", or above 1 how many."),
        )(f)
    return f


class _Left(click.ParamType):
    """A share up to 1, or a whole number above it."""

    name = "number"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float | int:
        """A float up to 1, else an int; what is neither is the target's to refuse."""
        try:
            number = float(value)
        except ValueError:
            self.fail(f"{value!r} is no number", param, ctx)
        return int(number) if number > 1 and number.is_integer() else number


@click.command("slim")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--method",
    default="l1",
    show_default=True,
    help="l1, slimming, thinet, nisp, complexity; or l2, fpgm, taylor, activation, random.",
)
@_targets
@click.option("--out", type=click.Path(path_type=Path), help="The smaller .keras file to write.")
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help=".npz with x (and y for taylor): for methods that look at activations.",
)
@click.option("--board", help="Whose core, clock and current the planner's estimates are for.")
@click.option("--by", help="complexity: draw by parameters, flops or memory.")
@click.option("--scope", help="One share for every layer, or one global threshold.")
@click.option("--seed", type=int, help="complexity, thinet, random: of the draws.")
@click.option("--exclude", multiple=True, metavar="LAYER", help="A layer (* and ?) left whole.")
@click.option("--round-to", default=1, show_default=True, help="Keep multiples of this.")
@click.option("--minimum", default=1, show_default=True, help="Keep at least so many of a layer.")
@click.option("--max-share", default=1.0, show_default=True, help="Cut at most this of a layer.")
@click.option("--reinitialise", is_flag=True, help="New weights: to train from scratch.")
@click.option(
    "--sensitivity",
    type=click.Path(path_type=Path),
    help="Held-out .npz with x and y: accuracy with a share of each group cut.",
)
@click.option("--html", type=click.Path(path_type=Path), help="Write the plan as a page.")
@click.option("--overwrite", is_flag=True, help="Replace an existing --out.")
@json_option
def command(
    model: Path,
    method: str,
    out: Path | None,
    data: Path | None,
    board: str | None,
    by: str | None,
    scope: str | None,
    seed: int | None,
    exclude: tuple[str, ...],
    round_to: int,
    minimum: int,
    max_share: float,
    reinitialise: bool,
    sensitivity: Path | None,
    html: Path | None,
    overwrite: bool,
    as_json: bool,
    **targets: Any,
) -> None:
    """Take filters out of MODEL (.keras) and write a smaller Keras model.

    Without --out, only the plan is shown. Exactly one target is needed, such as --flops 0.5.
    """
    from secateur import extras
    from secateur.errors import DataError

    if out is not None:
        _check_out(out, model, overwrite)
    with work(as_json), progress(f"slimming {model}"), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the plan says it all
        if not import_keras():
            raise DataError(f"slimming needs Keras 3; run: {extras.install('train')}")
        from secateur.frontend.keras3 import open_model
        from secateur.slimming import filter_plan

        source = open_model(model)
        options = {
            **targets, "board": board, "by": by, "scope": scope, "seed": seed,
            **_data(data, method, targets),
        }  # fmt: skip
        criterion = _criterion(method, {k: v for k, v in options.items() if v is not None})
        plan = filter_plan(
            source, criterion, exclude=list(exclude), round_to=round_to, minimum=minimum,
            max_share=max_share, sensitivity=_held_out(sensitivity),
        )  # fmt: skip
        if html is not None:
            plan.html(html)
        if out is not None:
            _save(plan.apply(reinitialise), out)
    print_result(
        as_json, {**plan.to_dict(), "out": None if out is None else str(out)}, lambda: plan
    )


def _criterion(method: str, options: dict[str, Any]) -> Any:
    from dataclasses import fields

    from secateur.errors import DataError
    from secateur.slimming.criteria import CRITERIA

    if method not in CRITERIA:
        raise DataError(f"--method {method} is none of {', '.join(sorted(CRITERIA))}")
    kind = CRITERIA[method]
    known = {f.name for f in fields(kind)}
    for name in options:
        if name not in known:
            raise DataError(f"--method {method} takes no --{name}; leave it out")
    return kind(**options)


def _data(path: Path | None, method: str, targets: dict[str, Any]) -> dict[str, Any]:
    """The data for the criterion, and to calibrate what the planner estimates."""
    from secateur.errors import DataError
    from secateur.slimming.criteria import CRITERIA

    kind = CRITERIA.get(method)
    looks = kind is not None and "data" in kind.__dataclass_fields__
    planned = any(targets[name] is not None for name, _ in _PLANNED)
    if path is None:
        if looks:
            raise DataError(f"--method {method} looks at activations: give --data inputs.npz")
        return {}
    if not looks and not planned:
        raise DataError(f"--method {method} looks at no data; leave --data out")
    from .inputs import as_calibration, load_inputs

    x, y = load_inputs(path)
    x = as_calibration(x, path)
    if method == "taylor" and y is None:
        raise DataError(f"{path} has no labels y, which --method taylor needs")
    out: dict[str, Any] = {"calibration": x} if planned else {}
    if looks:
        out["data"] = x if y is None else (x, y)
    return out


def _held_out(path: Path | None) -> tuple[Any, Any] | None:
    """(x, y) for the sensitivity scan."""
    if path is None:
        return None
    from secateur.errors import DataError

    from .inputs import as_calibration, load_inputs

    x, y = load_inputs(path)
    if y is None:
        raise DataError(f"{path} has no labels y, which --sensitivity needs")
    return as_calibration(x, path), y


def _check_out(out: Path, model: Path, overwrite: bool) -> None:
    from secateur.errors import DataError

    if out.suffix != ".keras":
        raise DataError(f"--out {out} must end in .keras")
    if out.exists() and (out.resolve() == model.resolve() or not overwrite):
        raise DataError(f"--out {out} exists; give another name, or --overwrite (never MODEL)")


def _save(model: Any, out: Path) -> None:
    """Whole or not at all, and never over anything but an archive."""
    import tempfile

    from secateur.files import looks_like, write

    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "model.keras"
        model.save(made)
        write(out, made.read_bytes(), looks_like(rb"PK"))
