"""`secateur convert`: a trained model to a C library on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..codegen.optimize import MAX_SLOWDOWN
from .output import import_keras, json_option, print_result, progress, work


def conversion_options(f: Any) -> Any:
    """Options of `secateur.convert`; the command takes them as `**conversion`."""
    f = click.option(
        "--name", help="Prefix of the generated C, an identifier; default: the model's."
    )(f)
    for figure, example, what in (
        ("latency", "20ms", "an inference at the board's clock"),
        ("ram", "16k", "activations and scratch, in RAM"),
        ("flash", "64k", "constants and code, in flash"),
    ):
        f = click.option(
            f"--{figure}",
            metavar=example.upper(),
            callback=_quantity,
            help=f"Hard budget for {what}, such as {example}.",
        )(f)
    f = click.option(
        "--calibration-method",
        default="auto",
        show_default=True,
        help="How ranges of activations are found: minmax, percentile, mse, or auto: minmax, and "
        "where outliers take the codes whatever measures best.",
    )(f)
    f = click.option(
        "--encodings",
        metavar="ENCODING|LAYER=ENCODING",
        multiple=True,
        callback=_encodings,
        help="A weight encoding for every layer that it fits, or, repeatable, for one.",
    )(f)
    f = click.option(
        "--activations",
        metavar="TYPE|LAYER=TYPE",
        multiple=True,
        callback=_activations,
        help="int16 where 8 bits do not do, for all layers or, repeatable, for one (*: others).",
    )(f)
    f = click.option(
        "--input-dtype",
        help="int8, uint8 for pixels 0..255, or int16; default: int8, or as --activations.",
    )(f)
    f = click.option(
        "--output-dtype",
        help="int8, uint8, int16, int32 or float32; default: int8, or as --activations.",
    )(f)
    f = click.option(
        "--input-scale", type=float, help="Step of the input's codes, where it is given."
    )(f)
    f = click.option(
        "--input-zero-point", type=int, help="The input's code of 0; goes with --input-scale."
    )(f)
    for flag, what in (
        ("logits", "Leave out the softmax or sigmoid at the end."),
        ("streaming", "A network of a step: one element of time a call (docs/streaming.md)."),
        (
            "causal",
            "With --streaming: pad before the first element of time alone; another function.",
        ),
    ):
        f = click.option(f"--{flag}", is_flag=True, help=what)(f)
    f = click.option(
        "--hop",
        type=click.IntRange(min=1),
        default=1,
        show_default=True,
        help="With --streaming: frames from one answer that is wanted to the next.",
    )(f)
    f = click.option(
        "--max-slowdown",
        type=click.FloatRange(min=1),
        default=MAX_SLOWDOWN,
        show_default=True,
        help="How many times slower than the fastest plan another may be.",
    )(f)
    f = click.option(
        "--portable",
        is_flag=True,
        help="Write the code of every core, not the board's alone; without a board it is.",
    )(f)
    f = click.option(
        "--weights",
        default="separate",
        show_default=True,
        help="Where the C defines the constants: separate (files of their own) or static "
        "(file-local, beside the layers).",
    )(f)
    return click.option(
        "--optimize",
        default="balanced",
        show_default=True,
        help="What the plan minimises: latency, energy, balanced or flash.",
    )(f)


def _encodings(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | str | None:
    """Of `secateur.convert`: one name for all layers, or one by layer."""
    return _by_layer("encodings", "ENCODING", values)


def _activations(
    _ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]
) -> dict[str, str] | str | None:
    """The same of types."""
    return _by_layer("activations", "TYPE", values)


def _by_layer(option: str, what: str, values: tuple[str, ...]) -> dict[str, str] | str | None:
    from secateur.errors import DataError

    if not values:
        return None
    if len(values) == 1 and "=" not in values[0]:
        return values[0]
    pairs = [value.rpartition("=") for value in values]
    for value, (layer, _, kind) in zip(values, pairs, strict=True):
        if not layer or not kind:
            raise DataError(
                f"--{option} {value}: several are given as LAYER={what}, one for all as {what}"
            )
    return {layer: kind for layer, _, kind in pairs}


def _quantity(_ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Refuse what is no quantity now, before minutes of work."""
    from secateur.errors import DataError, SecateurError
    from secateur.report.units import parse

    if value is not None:
        try:
            parse(value, "ms" if param.name == "latency" else "bytes")
        except SecateurError as e:
            raise DataError(f"--{param.name}: {e}") from e
    return value


@click.command("convert")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    required=True,
    type=click.Path(path_type=Path),
    help=".npz with the key x: some hundred typical inputs.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder to write.")
@click.option(
    "--format",
    "form",
    default="platformio",
    show_default=True,
    help="platformio, plain, cmake, arduino, zephyr, rust or cmsis-pack.",
)
@click.option("--board", help="Plan for this board's core and clock; see `secateur boards`.")
@conversion_options
@json_option
def command(
    model: Path,
    calibration: Path,
    out: Path,
    form: str,
    board: str | None,
    as_json: bool,
    **conversion: Any,
) -> None:
    """Convert MODEL (.keras) to a C library.

    PlatformIO and any C11 compiler build it. Budgets are kept by the planner's estimates; `secateur
    deploy` measures.
    """
    from secateur.files import check_folder
    from secateur.report.terminal import layer_table

    from .inputs import load_calibration

    check_folder(out)  # now, not after the conversion
    x = load_calibration(calibration)
    with work(as_json), progress(f"converting {model}"):
        import secateur

        import_keras()

        compiled = secateur.convert(model, x, board=board, **conversion)
        folder = compiled.save(out, form)
    layers = compiled.layers
    data = {
        "name": compiled.name,
        "out": str(folder),
        "layers": [layer.to_dict() for layer in layers],
        "stored_bytes": sum(layer.stored_bytes for layer in layers),
        "float32_bytes": compiled.qgraph.float_bytes,
        "estimated": {
            "core": compiled.plan.core,
            "flash": compiled.plan.flash,
            "ram": compiled.plan.arena,
            "instructions": round(compiled.plan.instructions),
            "cycles": round(compiled.plan.cycles),
        },
    }
    print_result(as_json, data, lambda: layer_table(layers, title=f"{compiled.name} in {folder}"))
