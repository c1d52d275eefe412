"""`secateur convert`: a trained model to a C library on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from .output import import_keras, json_option, print_result, progress, work


def conversion_options(f: Any) -> Any:
    """What `convert` and `deploy` have in common."""
    f = click.option(
        "--name", help="Prefix of the generated C, an identifier; default: the model's."
    )(f)
    return click.option(
        "--optimize",
        default="balanced",
        show_default=True,
        help="What the plan minimises: latency, energy, balanced or flash.",
    )(f)


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
    help="platformio, plain, cmake, arduino or zephyr.",
)
@conversion_options
@json_option
def command(
    model: Path,
    calibration: Path,
    out: Path,
    form: str,
    name: str | None,
    optimize: str,
    as_json: bool,
) -> None:
    """Convert MODEL (.keras) to a C library.

    PlatformIO and any C11 compiler build it.
    """
    from secateur.report.terminal import layer_table

    from .inputs import load_calibration

    x = load_calibration(calibration)
    with work(as_json), progress(f"converting {model}"):
        import secateur

        import_keras()

        compiled = secateur.convert(model, calibration=x, name=name, optimize=optimize)
        folder = compiled.save(out, form)
    layers = compiled.layers
    data = {
        "name": compiled.name,
        "out": str(folder),
        "layers": [layer.to_dict() for layer in layers],
        "stored_bytes": sum(layer.stored_bytes for layer in layers),
        "float32_bytes": compiled.qgraph.float_bytes,
    }
    print_result(as_json, data, lambda: layer_table(layers, title=f"{compiled.name} in {folder}"))
