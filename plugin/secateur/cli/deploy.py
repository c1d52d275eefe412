"""`secateur deploy`: convert, build, run, report."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.errors import DataError

from .convert import conversion_options
from .output import import_keras, json_option, print_result, stderr, work

CALIBRATION_SAMPLES = 256


@click.command("deploy")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option("--emulator", help="host, sim, qemu or renode; default: the best one installed.")
@click.option(
    "--inputs", type=click.Path(path_type=Path), help=".npz with x to run, and labels y if known."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    help=f".npz with x; default: the first {CALIBRATION_SAMPLES} of --inputs.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Folder for library, firmware and report.json; default: build/NAME/BOARD.",
)
@click.option("--html", type=click.Path(path_type=Path), help="Write the report as a page, too.")
@conversion_options
@json_option
def command(
    model: Path,
    board: str,
    emulator: str | None,
    inputs: Path | None,
    calibration: Path | None,
    out: Path | None,
    html: Path | None,
    name: str | None,
    optimize: str,
    as_json: bool,
) -> None:
    """Run MODEL (.keras) on a board or in its emulator, and report."""
    from secateur.report.terminal import render
    from secateur.targets import boards

    from .inputs import as_calibration, load_calibration, load_inputs

    if inputs is None and calibration is None:
        raise DataError(
            "deploy needs data to calibrate with: give --inputs or --calibration, an .npz with x."
        )
    x, y = load_inputs(inputs) if inputs is not None else (None, None)
    if calibration is not None:
        samples = load_calibration(calibration)
    else:
        assert x is not None
        samples = as_calibration(x[:CALIBRATION_SAMPLES], str(inputs))
    with work(as_json), stderr().status(f"converting {model}") as status:
        import secateur

        import_keras()

        boards.load(board)  # an unknown board before minutes of work
        compiled = secateur.convert(model, calibration=samples, name=name, optimize=optimize)
        status.update(f"building and running on {board}")
        report = secateur.deploy(
            compiled, board=board, inputs=x, labels=y, emulator=emulator, build_dir=out
        )
        if html is not None:
            from secateur.report import html as page
            from secateur.report.details import of

            status.update("counting instructions by layer")
            page.save(
                html, report, of(compiled, board, out or Path("build") / compiled.name / board)
            )
    print_result(as_json, report.to_dict(), lambda: render(report))
