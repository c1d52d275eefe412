"""`secateur bringup`: a person, a board, and the first run on it."""

from __future__ import annotations

import datetime
import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from secateur.errors import TargetError

from .output import import_keras, json_option, print_result, progress, work

if TYPE_CHECKING:
    from secateur.targets import Board

#: Clips of the bundled test set that are run.
CLIPS = 8


@click.command("bringup")
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option("--port", help="Serial port; default: the one with the board's USB id.")
@click.option("--power", help="Measure energy, too: a meter as `secateur deploy` takes it.")
@click.option("--by", help="Your name, if it is to stand in the README.")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="The file to send back; default: measured-BOARD.json.",
)
@json_option
def command(
    board: str,
    port: str | None,
    power: str | None,
    by: str | None,
    out: Path | None,
    as_json: bool,
) -> None:
    """Flash a board, try its line, run the bundled keyword spotter, and write what was measured.

    Cycles are compared with the estimate, outputs with the reference. Send the file back: with it
    in boards/measured/ the README says that the board has run.
    """
    from secateur import data, files, targets
    from secateur.report.figures import cycles_between
    from secateur.targets.boards import Measured
    from secateur.targets.flashing import flash
    from secateur.targets.power import get as meter
    from secateur.targets.runners.hardware import Hardware, only_port
    from secateur.targets.runners.sim import cycles_of
    from secateur.version import __version__

    chosen = targets.boards.load(board)
    if not chosen.flasher.protocols:
        raise TargetError(f"board {board} is emulated only: there is nothing to bring up")
    path = out or Path(f"measured-{board}.json")
    ours = files.looks_like(rb'\{\s*"schema": 1,\s*"board": ')
    files.check(path, ours)
    gauge = meter(power, chosen.power.voltage or 3.3) if power else None
    _say("1 of 5", f"Plug in {chosen.title}.")
    where = port or _found(chosen, only_port)
    with work(as_json), progress("converting the bundled keyword spotter") as step:
        import secateur

        import_keras()
        train, _ = data.load("kws_train")
        test, _ = data.load("kws_test")
        compiled = secateur.convert(data.KWS_MODEL, train[:256], name="kws", board=board)
        codes = compiled.quantize(test[:CLIPS])
        folder = Path("build") / "bringup" / board
        library = compiled.save(folder / "library")
        step(f"building for {board}")
        image = targets.build(library, chosen, folder / "firmware")
        _say("2 of 5", f"Flashing it by way of {where}.")
        by_what = flash.flash(image, None, flash.probe_of(chosen, where) or port)
        _say("3 of 5", "Sending bytes there and back.")
        _echo(where, chosen)
        _say("4 of 5", f"Running {CLIPS} clips.")
        target = Hardware(port=where, upload=False, meter=gauge)
        result = target.run(image, codes.reshape(CLIPS, -1))
        same = (result.outputs == compiled.run(codes).reshape(CLIPS, -1)).all(axis=1)
        _say("5 of 5", "Estimating the same on this computer.")
        found = cycles_of(image, codes.reshape(CLIPS, -1), None)
    energy = None
    if result.energy is not None:
        e = result.energy
        energy = {"uj": e.uj, "spread_uj": e.spread_uj, "source": e.source}
    low = high = None
    if found is not None and chosen.cpu.cycles is not None:
        error, unknown = chosen.cpu.cycles.error, chosen.wait_states is None
        low, high = cycles_between(found.cycles, error, found.between, unknown)
    document: dict[str, Any] = {
        "schema": 1, "board": board, "date": datetime.date.today().isoformat(),
        "version": __version__, "by": by, "model": "kws", "flashed_by": by_what, "echo": True,
        "identical": int(same.sum()), "total": CLIPS, "cycles": result.cycles,
        "estimated": None if found is None else found.cycles,
        "estimated_low": low, "estimated_high": high, "energy": energy,
    }  # fmt: skip
    row = Measured.model_validate(document)
    files.write(path, json.dumps(document, indent=1) + "\n", ours)
    joule = "" if energy is None else f"\n{energy['uj']:,.0f} uJ an inference ({energy['source']})"
    print_result(
        as_json,
        document,
        lambda: f"{row}{joule}\nwritten to {path}: please send it back (docs/boards.md)",
    )


def _say(step: str, sentence: str) -> None:
    click.echo(f"{step}: {sentence}", err=True)


def _found(board: Board, only_port: Any) -> str:
    """The board's port; where a person sits there, they may plug it in and try again."""
    while True:
        try:
            return str(only_port(board))
        except TargetError as error:
            if not (sys.stdin.isatty() and sys.stderr.isatty()):
                raise
            click.echo(f"{error}\nPress Enter to look again, Ctrl-C to stop.", err=True)
            if not sys.stdin.readline():
                raise


def _echo(port: str, board: Board) -> None:
    """Bytes into the input buffer and back, by the text protocol. Raises TargetError."""
    from secateur.targets.wire.serial_line import SerialLine
    from secateur.targets.wire.text import ask

    sent = bytes(range(0, 256, 17))
    line = SerialLine(port, board.uart.baud)

    where = f" on {port}: check that the port is the board's, and its speed"
    say = partial(ask, line, board.id, where=where)
    try:
        say("")
        say(f"db load {len(sent)}")
        say(f"db {sent.hex()}")
        said = say("db print")
    finally:
        line.close()
    back = "".join(
        row.removeprefix("m-buffer-").replace("-", "")
        for row in said.splitlines()
        if row.startswith("m-buffer-")
    )
    if back != sent.hex():
        raise TargetError(
            f"{board.id} sent {back[:40]!r} back for {sent.hex()!r}: the line is noisy, or the "
            "clock is not what the manifest says"
        )
