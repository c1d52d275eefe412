"""`secateur flash` and `secateur monitor`: a board on the desk."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from secateur.errors import TargetError
from secateur.names import shown

from .mlperf import NAMES
from .output import json_option, print_result, progress, stdout

if TYPE_CHECKING:
    from secateur.targets.wire.client import Transport


@click.command("flash")
@click.argument("library", type=click.Path(path_type=Path))
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option(
    "--protocol",
    help="openocd, pyocd, jlink, stflash, dfu, uf2, bossac or esptool; "
    "default: each whose tool is installed, in turn.",
)
@click.option(
    "--port",
    "ports",
    multiple=True,
    help="Serial port of the board, serial number of its probe, or the boot loader's drive; "
    "repeatable: several boards are flashed at once.",
)
@click.option("--all", "everyone", is_flag=True, help="Every such board with a known USB id.")
@click.option(
    "--benchmark",
    type=click.Choice(NAMES),
    help="Answer MLPerf Tiny's runner as this network.",
)
@click.option(
    "--energy",
    is_flag=True,
    help="For the runner's energy mode: 9600 baud, timestamps as edges of the trigger pin.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to build in.")
@json_option
def command(
    library: Path,
    board: str,
    protocol: str | None,
    ports: tuple[str, ...],
    everyone: bool,
    benchmark: str | None,
    energy: bool,
    out: Path | None,
    as_json: bool,
) -> None:
    """Build the firmware of LIBRARY (a folder `secateur convert` wrote) and flash it."""
    from secateur import targets
    from secateur.flow.mlperf import flags
    from secateur.targets.flashing import flash

    chosen = targets.boards.load(board)
    if everyone:
        if ports:
            raise TargetError("--all and --port exclude each other: give one of them")
        ports = tuple(flash.find(chosen))
        if not ports:
            ids = ", ".join(chosen.flasher.usb) or "id unknown"
            raise TargetError(f"no serial port of {board} was found (USB {ids}): plug one in")
    if energy and chosen.mark is None:
        raise TargetError(
            f"board {board} has no trigger pin for energy mode: add 'mark' to its manifest"
        )
    folder = out or Path("build") / "flash" / board
    done: list[dict[str, str | None]]
    with progress(f"building for {board}"):
        image = targets.build(library, chosen, folder, flags=flags(benchmark, energy))
        if len(ports) > 1:
            by = flash.flash_all(image, protocol, ports)
            done = [{"board": board, "port": port, "by": by[port]} for port in ports]
        else:
            port = ports[0] if ports else None
            done = [{"board": board, "port": port, "by": flash.flash(image, protocol, port)}]
    ways = ", ".join(sorted({str(one["by"]) for one in done}))
    print_result(
        as_json,
        done,
        lambda: f"flashed {image.sizes.total:,} bytes into {len(done)} x {board} by {ways}",
    )


@click.command("monitor")
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option("--port", help="Serial port; default: found by the board's USB id.")
@click.option("--ask", multiple=True, help="Send this command of the text protocol; repeatable.")
@click.option("--plot", is_flag=True, help="Draw the numbers it says, live, in a terminal.")
@json_option
def monitor(board: str, port: str | None, ask: tuple[str, ...], plot: bool, as_json: bool) -> None:
    """Show what a board says (text protocol); Ctrl-C ends.

    With --plot each line of numbers, or each result of the text protocol, is a point of every
    output; what --ask names is then asked once a second.
    """
    from secateur.targets import boards
    from secateur.targets.runners.hardware import only_port
    from secateur.targets.wire.serial_line import SerialLine

    chosen = boards.load(board)
    if plot and (as_json or not stdout().is_terminal):
        raise TargetError(
            "--plot draws in a terminal, and the output is none (or --json): leave --plot out"
        )
    line = SerialLine(port or only_port(chosen), chosen.uart.baud)
    said: list[dict[str, str]] = []
    heard = ""
    try:
        if plot:
            _plot(line, board, ask)
        for one in () if plot else ask:
            said.append({"ask": one, "answer": _answer(line, board, one)})
            if not as_json:
                click.echo(shown(said[-1]["answer"], keep="\n"))
        while not ask and not plot:
            text = line.read(0.2).decode("ascii", "replace")
            if as_json:
                heard += text
            else:
                click.echo(shown(text.replace("\r", ""), keep="\n\t"), nl=False)
    except KeyboardInterrupt:
        pass
    finally:
        line.close()
    if as_json:
        print_result(True, {"board": board, "answers": said, "text": heard}, lambda: "")


def _answer(line: Transport, board: str, command: str) -> str:
    from secateur.targets.wire.text import ask

    return ask(line, board, command).replace("\r", "").strip()


def _plot(line: Transport, board: str, ask: tuple[str, ...]) -> None:
    """Draw what comes until Ctrl-C; each command of `ask` is asked once a second."""
    from rich.live import Live

    from secateur.report.outputs import LiveOutputs

    outputs = LiveOutputs(board)
    with Live(outputs.draw(), console=stdout(), refresh_per_second=8) as live:
        while True:
            began = time.monotonic()
            for one in ask:
                outputs.feed(_answer(line, board, one) + "\n")
                live.update(outputs.draw())
            if ask:
                time.sleep(max(0.0, began + 1.0 - time.monotonic()))
            else:
                outputs.feed(line.read(0.2).decode("ascii", "replace"))
                live.update(outputs.draw())
