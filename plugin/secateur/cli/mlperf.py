"""`secateur mlperf`: a firmware, devices and data for MLPerf Tiny's own runner."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from secateur.errors import DataError, TargetError

from .convert import conversion_options
from .output import import_keras, json_option, print_result, progress, work

#: As flow.mlperf.BENCHMARKS, which a test compares; that module is heavy.
NAMES = ("ad", "ic", "kws", "sww", "vww")


@click.command("mlperf")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--benchmark", type=click.Choice(NAMES), required=True, help="Which of the suite.")
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option(
    "--inputs",
    type=click.Path(path_type=Path),
    required=True,
    help=".npz with x and labels y: the runner's data set.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    required=True,
    help=".npz with x, of training data.",
)
@click.option(
    "--energy",
    is_flag=True,
    help="For the runner's energy mode: 9600 baud, timestamps as edges of the trigger pin, and the "
    "device behind an interface board.",
)
@click.option("--upload", is_flag=True, help="Flash the board, too.")
@click.option("--port", help="With --upload: serial port, or serial number of the probe.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("build/mlperf"),
    show_default=True,
    help="Folder; library, firmware, data set and devices.yaml go into it.",
)
@conversion_options
@json_option
def command(
    model: Path,
    benchmark: str,
    board: str,
    inputs: Path,
    calibration: Path,
    energy: bool,
    upload: bool,
    port: str | None,
    out: Path,
    as_json: bool,
    **conversion: Any,
) -> None:
    """Prepare MODEL for a run of MLPerf Tiny by its open runner.

    Give the reference model's own --input-scale and --input-zero-point where data sets hold codes
    (kws): another scale costs accuracy. The command of the runner is printed.
    """
    from secateur import targets
    from secateur.files import check_folder, looks_like, write, write_tree

    from .inputs import load_calibration, load_inputs

    chosen = targets.boards.load(board)
    if energy and chosen.mark is None:
        raise TargetError(
            f"board {board} has no trigger pin for energy mode: add 'mark' to its manifest"
        )
    if upload and not chosen.flasher.protocols:
        raise TargetError(f"board {board} is emulated only: leave --upload out")
    if port and not upload:
        raise DataError("--port is for --upload: give both, or neither")
    from secateur.flow import mlperf

    data_folder = out / "datasets" / mlperf.BENCHMARKS[benchmark].model
    for folder in (out / "library", data_folder):
        check_folder(folder)
    x, y = load_inputs(inputs)
    samples = load_calibration(calibration)
    with work(as_json), progress(f"converting {model}") as step:
        import secateur

        import_keras()
        compiled = secateur.convert(model, samples, board=board, **conversion)
        mlperf.check(compiled, benchmark)
        files = mlperf.data_set(compiled, benchmark, x, y)
        library = compiled.save(out / "library")
        step(f"building for {board}")
        flags = mlperf.flags(benchmark, energy, mlperf.takes_pixels(compiled))
        image = targets.build(library, chosen, out / "firmware", flags=flags)
        write_tree(data_folder, files)
        ours = looks_like(rb"- name: ")
        listed = write(out / "devices.yaml", mlperf.devices(chosen, energy), ours)
        by = None
        if upload:
            from secateur.targets.flashing import flash

            step(f"flashing {board}")
            by = flash.flash(image, None, port)
    modes = ("e",) if energy else ("p", "a")
    commands = [
        f"python main.py --dataset_path={(out / 'datasets').resolve()} "
        f"--device_list={listed.resolve()} --mode={mode}"
        for mode in modes
    ]
    result = {
        "benchmark": benchmark,
        "board": board,
        "firmware": str(image.elf),
        "devices": str(listed),
        "data_set": str(data_folder),
        "samples": len(x),
        "flashed_by": by,
        "commands": commands,
    }
    print_result(
        as_json,
        result,
        lambda: "\n".join(
            [
                f"{image.elf}: {image.sizes.total:,} bytes"
                + (f", flashed with {by}" if by else ""),
                f"{data_folder}: {len(x)} inputs",
                "in the runner's folder (mlcommons/tiny, benchmark/runner):",
                *(f"  {one}" for one in commands),
            ]
        ),
    )
