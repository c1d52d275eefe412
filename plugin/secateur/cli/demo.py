"""`secateur demo`: the whole path on MLPerf Tiny's keyword spotter."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import click

from secateur.errors import DataError, ToolError

from .output import import_keras, json_option, print_result, progress, stderr, work

CALIBRATION_CLIPS = 512
CLIPS, ALL_CLIPS = 128, 256


@click.command("demo")
@click.option("--board", default="mps2_an386", show_default=True, help="See `secateur boards`.")
@click.option("--emulator", help="host, sim, qemu or renode; default: the best one installed.")
@click.option(
    "--clips",
    type=int,
    help=f"Test clips to run on the target; default: {CLIPS}, with --full {ALL_CLIPS}.",
)
@click.option("--epochs", default=None, type=click.IntRange(min=1), help="Rounds of fine-tuning.")
@click.option("--full", is_flag=True, help="More zeros and more rounds: what README.md shows.")
@click.option(
    "--out",
    default=Path("build/demo"),
    show_default=True,
    type=click.Path(path_type=Path),
    help="Folder for model.keras, the library and report.json.",
)
@json_option
def command(
    board: str,
    emulator: str | None,
    clips: int | None,
    epochs: int | None,
    full: bool,
    out: Path,
    as_json: bool,
) -> None:
    """Compress and run a keyword spotter.

    Fine-tunes it for a minute, converts it, builds firmware, runs it in an emulator and reports;
    with two free cores that takes less than two minutes, with --full twice that.
    """
    from rich.text import Text

    from secateur import data, extras
    from secateur.files import building, check, check_folder
    from secateur.report import html
    from secateur.report.details import of
    from secateur.report.terminal import render
    from secateur.targets import boards

    if clips is None:
        clips = ALL_CLIPS if full else CLIPS
    x_test, y_test = data.load("kws_test")
    if not 1 <= clips <= len(x_test):
        raise DataError(f"--clips {clips} is not within 1..{len(x_test)}, the clips there are.")
    boards.load(board)  # an unknown board now, not after the training
    check_folder(out / "library")  # and what may not be replaced, too
    check(out / "report.html", html.OURS)
    console = stderr()
    started = time.monotonic()

    def say(step: str) -> None:
        console.print(Text.assemble((f"{time.monotonic() - started:4.0f} s", "dim"), f"  {step}"))

    with work(as_json):
        say("loading Keras")
        with progress("loading Keras"):
            there = import_keras()
        if not there:
            raise ToolError(
                "secateur demo trains with Keras, which is not installed: "
                f"{extras.install('train', 'boards')}."
            )
        import secateur as sc
        from secateur import demo

        recipe = demo.FULL if full else demo.QUICK
        rounds = recipe.epochs if epochs is None else epochs
        say(f"fine-tuning the keyword spotter, {rounds} rounds")
        with progress("fine-tuning"):
            model = demo.fine_tune(recipe, rounds, verbose=0)
            with building(out, ["model.keras"]):
                model.save(out / "model.keras")

        say("converting")
        with progress("converting"):
            calibration, _ = data.load("kws_train")
            compiled = sc.convert(
                model, calibration=calibration[:: len(calibration) // CALIBRATION_CLIPS], name="kws"
            )

        say(f"building for {board} and running {clips} test clips")
        # Evenly over the file, so that every word takes part.
        pick = [i * len(x_test) // clips for i in range(clips)]
        with progress(f"building for {board}"):
            report = sc.deploy(
                compiled,
                board=board,
                inputs=x_test[pick],
                labels=y_test[pick],
                emulator=emulator,
                build_dir=out,
            )
        say("measuring all test clips, and every layer")
        with progress("measuring"):
            before = demo.accuracy(demo.load_model(), x_test, y_test)
            trained = demo.accuracy(model, x_test, y_test)
            codes = compiled.run(x_test).reshape(len(x_test), -1)
            after = float((codes.argmax(1) == y_test).mean())
            details = of(compiled, board, out)
        page = replace(
            report,
            # of all test clips; the device's are those of the reference, byte by byte
            accuracy=replace(report.accuracy, float=trained, reference=after, device=None),
            notes=(
                *report.notes,
                f"accuracy on all {len(x_test)} test clips: {100 * before:.2f} % before "
                f"(float), {100 * after:.2f} % now (NumPy reference)",
            ),
        )
        page.save(out / "report.json")
        html.save(out / "report.html", page, details)
        took = f"{time.monotonic() - started:.0f} s in all; see also {out / 'report.html'}"
        report = replace(page, notes=(*page.notes, took))
    print_result(as_json, report.to_dict(), lambda: render(report))
