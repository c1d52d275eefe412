"""`secateur flash` and `secateur monitor`: a board on the desk."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.errors import TargetError
from secateur.names import shown

from .mlperf import NAMES
from .output import json_option, print_result, progress


@click.command("flash")
@click.argument("library", type=click.Path(path_type=Path))
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option("--protocol", help="openocd, pyocd, jlink, stflash, dfu, uf2, bossac or esptool.")
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
    print_result(
        as_json,
        done,
        lambda: f"flashed {image.sizes.total:,} bytes into {len(done)} x {board}",
    )


@click.command("monitor")
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option("--port", help="Serial port; default: found by the board's USB id.")
@click.option("--ask", multiple=True, help="Send this command of the text protocol; repeatable.")
@json_option
def monitor(board: str, port: str | None, ask: tuple[str, ...], as_json: bool) -> None:
    """Show what a board says (text protocol); Ctrl-C ends."""
    from secateur.targets import boards
    from secateur.targets.runners.hardware import only_port
    from secateur.targets.wire.serial_line import SerialLine

    chosen = boards.load(board)
    line = SerialLine(port or only_port(chosen), chosen.uart.baud)
    said: list[dict[str, str]] = []
    heard = ""
    try:
        for one in ask:
            line.write(f"{one}%".encode())
            text = ""
            while "m-ready" not in text:
                data = line.read(10.0)
                if not data:
                    raise TargetError(f"{board} does not answer '{one}' within 10 s")
                text += data.decode("ascii", "replace")
            said.append({"ask": one, "answer": text.replace("\r", "").strip()})
            if not as_json:
                click.echo(shown(said[-1]["answer"], keep="\n"))
        while not ask:
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
