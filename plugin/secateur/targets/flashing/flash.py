"""Flashing: the commands of each tool, run and watched."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path

from ...errors import TargetError, ToolError
from ...progress import tell
from .. import boards, tools
from ..base import Image
from ..boards import Board
from ..builders import elf
from . import binary, complaints

_PERCENT = re.compile(rb"(\d{1,3})(?:\.\d+)? ?%")


def protocols(board: Board) -> list[str]:
    """Ways to flash a board, the manifest's first."""
    return list(board.flasher.protocols)


def check_size(image: Image) -> None:
    """Raises TargetError if the image does not fit the board's flash."""
    length = image.board.memory.flash.length
    if image.sizes.total > length:
        raise TargetError(
            f"the image has {image.sizes.total:,} bytes, the flash of {image.board.id} "
            f"{length:,}: prune more, or choose a larger board"
        )


def flash(
    image: Image, protocol: str | None = None, port: str | None = None, timeout: float = 120
) -> str:
    """Write an image into its board; the protocol that did it.

    `protocol` None: every way whose tool is installed is tried in turn, the manifest's order, until
    one has done it. `port` is the serial port of the board's probe, the probe's serial number, or
    the boot loader's drive (uf2) or serial port (bossac, esptool). Raises TargetError or ToolError
    in one sentence, which names every way that was tried.
    """
    board = image.board
    known = protocols(board)
    if not known:
        raise TargetError(f"board {board.id} is emulated only: there is nothing to flash")
    if protocol is not None and protocol not in known:
        raise TargetError(f"board {board.id} is not flashed by {protocol}: {', '.join(known)}")
    check_size(image)
    if protocol is not None:
        return _flash(image, protocol, port, timeout)
    lacking = which(board)
    ready = [p for p in known if lacking[p] is None]
    if not ready:
        needs = "; ".join(dict.fromkeys(str(why) for why in lacking.values()))
        several = f"none of the tools that flash {board.id} is here: " if len(known) > 1 else ""
        raise ToolError(several + needs)
    failed: list[TargetError | ToolError] = []
    for way in ready:
        try:
            return _flash(image, way, port, timeout)
        except (TargetError, ToolError) as error:
            failed.append(error)
    if len(failed) == 1:
        raise failed[0]
    reasons = "; ".join(f"by {way}: {why}" for way, why in zip(ready, failed, strict=True))
    raise TargetError(f"{board.id} was flashed by none of {', '.join(ready)} ({reasons})")


def _flash(image: Image, protocol: str, port: str | None, timeout: float) -> str:
    """One way of `flash`; its protocol."""
    board = image.board
    if port and protocol not in ("uf2", "bossac", "esptool"):
        port = probe_of(board, port) or port
    upload = tools.upload()
    start, data = binary.flat(elf.segments(image.elf))
    try:
        if protocol == "uf2":
            what = f"flashing {board.id} with uf2"
            upload.copy_uf2(board.manifest, start, data, port, partial(tell, what))
            return protocol
        with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
            files = upload.Files(
                image.elf, Path(folder) / "firmware.bin", Path(folder) / "firmware.hex", start
            )
            files.bin.write_bytes(data)
            files.hex.write_text(binary.intel_hex(elf.segments(image.elf)), encoding="ascii")
            tool, *arguments = upload.command(board.build_manifest, protocol, files, port)
            if tool == "esptool" and not tools.find(tool) and tools.find("esptool.py"):
                tool = "esptool.py"  # its name before version 5
            command = [_program(tool) or tools.need(tool), *arguments]
            code, output = _watch(command, f"flashing {board.id} with {tool}", timeout)
    except upload.UploadError as error:
        raise TargetError(f"board {board.id}: {error}") from None
    # J-Link's tool reports some failures in words only.
    if code != 0 or (protocol == "jlink" and "cannot connect" in output.lower()):
        raise TargetError(f"{board.id}: {complaints.explain(tool, output, code)}")
    return protocol


def _watch(command: list[str], what: str, timeout: float) -> tuple[int, str]:
    """Exit code and output of a tool; the percentages it prints are progress."""
    tell(what)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=os.name == "posix",
        )
    except OSError as error:
        raise ToolError(f"{command[0]} does not start: {error.strerror}") from None
    assert child.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        _kill(child)

    stopper = threading.Timer(timeout, stop)
    stopper.start()
    said = b""
    try:
        while part := os.read(child.stdout.fileno(), 4096):
            said += part
            if found := _PERCENT.findall(said[-200:]):
                tell(what, min(100, int(found[-1])), 100)
        code = child.wait()
    except BaseException:
        _kill(child)
        raise
    finally:
        stopper.cancel()
        child.stdout.close()
    if late.is_set():
        raise TargetError(
            f"{Path(command[0]).name} did not finish in {timeout:g} s: unplug the board, plug "
            "it in again and retry"
        )
    return code, said.decode("utf-8", "replace")


def _kill(child: subprocess.Popen[bytes]) -> None:
    """End a tool with all it started; where there are no process groups, the tool itself."""
    if sys.platform == "win32":
        child.kill()
    else:
        os.killpg(child.pid, signal.SIGKILL)


def flash_all(
    image: Image, protocol: str | None, ports: Sequence[str], timeout: float = 120
) -> dict[str, str]:
    """Write an image into several boards at once; the protocol by port.

    Raises TargetError that names every board that was not flashed, when all have been tried.
    """
    done: dict[str, str] = {}
    failed: dict[str, str] = {}

    def one(port: str) -> None:
        try:
            done[port] = flash(image, protocol, port, timeout)
        except (TargetError, ToolError) as error:
            failed[port] = str(error)
        tell(f"flashing {len(ports)} x {image.board.id}", len(done) + len(failed), len(ports))

    # Each thread's own copy, so that whoever listens here hears them all.
    with ThreadPoolExecutor(max(1, len(ports))) as pool:
        list(pool.map(lambda p: copy_context().run(one, p), ports))
    if failed:
        reasons = "; ".join(f"{port}: {why}" for port, why in failed.items())
        raise TargetError(f"{len(done)} of {len(ports)} boards were flashed, not {reasons}")
    return done


def _ports() -> dict[str, tuple[str, str | None]]:
    """USB id (vendor:product) and serial number of every USB serial port."""
    from serial.tools import list_ports

    return {
        p.device: (f"{p.vid:04x}:{p.pid:04x}", p.serial_number)
        for p in list_ports.comports()
        if p.vid is not None
    }


def find(board: Board) -> list[str]:
    """Serial ports of this board that are plugged in, by USB id."""
    ids = {i.lower() for i in board.flasher.usb}
    return sorted(device for device, (usb, _) in _ports().items() if usb in ids)


def probe_of(board: Board, port: str) -> str | None:
    """The serial number of the probe behind a serial port, which the debuggers go by.

    None if the port is not the board's own (a cable, a test). Raises TargetError if it is
    another known board's.
    """
    usb, serial = _ports().get(port, ("", None))
    if usb in {i.lower() for i in board.flasher.usb}:
        return serial
    others = [b.id for b in boards.all() if usb and usb in {i.lower() for i in b.flasher.usb}]
    if others:
        raise TargetError(
            f"{port} is not {board.id}, its USB id {usb} is that of {' or '.join(others)}: check "
            "--board and --port"
        )
    return None


#: Where PlatformIO puts a tool that one of its platforms asked for, below its packages.
_PACKAGED = {
    "openocd": "tool-openocd/bin", "pyocd": "tool-pyocd", "st-flash": "tool-stm32duino/stlink",
    "JLinkExe": "tool-jlink", "dfu-util": "tool-dfuutil/bin", "bossac": "tool-bossac",
}  # fmt: skip


def _program(tool: str) -> str | None:
    """The tool on PATH, beside Python, or among PlatformIO's own; None where it is nowhere."""
    if found := tools.find(tool):
        return found
    core = Path(os.environ.get("PLATFORMIO_CORE_DIR") or Path.home() / ".platformio")
    return shutil.which(tool, path=str(core / "packages" / _PACKAGED.get(tool, tool)))


def which(board: Board) -> dict[str, str | None]:
    """For each way to flash a board: None, or what is missing for it."""
    programs = {"jlink": "JLinkExe", "stflash": "st-flash", "dfu": "dfu-util"}
    missing: dict[str, str | None] = {}
    for way in protocols(board):
        program = programs.get(way, way)
        there = way == "uf2" or _program(program) or (way == "esptool" and tools.find("esptool.py"))
        missing[way] = None if there else tools.missing(program)
    return missing
