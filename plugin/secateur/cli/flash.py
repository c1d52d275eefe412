"""`secateur flash` and `secateur monitor`: a board on the desk."""

from __future__ import annotations

from pathlib import Path

import click

from secateur.errors import TargetError

from .output import json_option, print_result, progress


@click.command("flash")
@click.argument("library", type=click.Path(path_type=Path))
@click.option("--board", required=True, help="A board of `secateur boards`.")
@click.option("--protocol", help="openocd, pyocd, jlink, stflash, dfu, uf2 or bossac.")
@click.option(
    "--port",
    "ports",
    multiple=True,
    help="Serial number of the probe (or drive, or serial port of the boot loader); repeatable.",
)
@click.option("--out", type=click.Path(path_type=Path), help="Folder to build in.")
@json_option
def command(
    library: Path,
    board: str,
    protocol: str | None,
    ports: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> None:
    """Build the firmware of LIBRARY (a folder `secateur convert` wrote) and flash it."""
    from secateur import targets
    from secateur.targets import flash

    folder = out or Path("build") / "flash" / board
    with progress(f"building for {board}") as step:
        image = targets.build(library, board, folder)
        done = []
        for number, port in enumerate(ports or (None,), 1):
            step(f"flashing board {number} of {max(1, len(ports))}")
            done.append({"board": board, "port": port, "by": flash.flash(image, protocol, port)})
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
    from secateur.targets.hardware import SerialLine, only_port

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
                click.echo(said[-1]["answer"])
        while not ask:
            text = line.read(0.2).decode("ascii", "replace")
            if as_json:
                heard += text
            else:
                click.echo(text, nl=False)
    except KeyboardInterrupt:
        pass
    finally:
        line.close()
    if as_json:
        print_result(True, {"board": board, "answers": said, "text": heard}, lambda: "")
