"""Flashing: the commands of each tool, run and watched."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

from ..errors import TargetError, ToolError
from ..progress import tell
from . import binary, boards, complaints, elf, tools
from .base import Image
from .boards import Board

_PERCENT = re.compile(rb"(\d{1,3})(?:\.\d+)? ?%")


def _need(board: Board, field: str, protocol: str) -> str:
    value = getattr(board.flasher, field)
    if not value:
        raise TargetError(
            f"board {board.id} has no secateur.flash.{field} in its manifest, which {protocol} "
            f"needs: use {' or '.join(protocols(board)) or 'another board'}"
        )
    return str(value)


def _openocd(image: Image, port: str | None, folder: Path) -> list[str]:
    board = image.board
    _need(board, "openocd", "openocd")
    files = [part for name in board.flasher.openocd for part in ("-f", name)]
    chosen = ["-c", f"adapter serial {port}"] if port else []
    return [tools.need("openocd"), *files, *chosen,
            "-c", f"program {{{image.elf}}} verify reset exit"]  # fmt: skip


def _pyocd(image: Image, port: str | None, folder: Path) -> list[str]:
    target = _need(image.board, "pyocd", "pyocd")
    chosen = ["--uid", port] if port else []
    return [tools.need("pyocd"), "load", "--target", target, *chosen, "--format", "elf",
            str(image.elf)]  # fmt: skip


def _jlink(image: Image, port: str | None, folder: Path) -> list[str]:
    device = _need(image.board, "jlink", "jlink")
    script = folder / "flash.jlink"
    hexfile = folder / "firmware.hex"
    hexfile.write_text(binary.intel_hex(elf.segments(image.elf)), encoding="ascii")
    script.write_text(f"r\nh\nloadfile {hexfile}\nr\ng\nexit\n", encoding="utf-8")
    chosen = ["-USB", port] if port else []
    return [tools.need("JLinkExe"), "-device", device, "-if",
            "JTAG" if image.board.core.startswith("rv32") else "SWD", "-speed", "4000",
            *chosen, "-autoconnect", "1", "-ExitOnError", "1", "-NoGui", "1",
            "-CommandFile", str(script)]  # fmt: skip


def _stflash(image: Image, port: str | None, folder: Path) -> list[str]:
    file = folder / "firmware.bin"
    start, data = binary.flat(elf.segments(image.elf))
    file.write_bytes(data)
    chosen = ["--serial", port] if port else []
    return [tools.need("st-flash"), *chosen, "--reset", "write", str(file), f"{start:#x}"]


def _dfu(image: Image, port: str | None, folder: Path) -> list[str]:
    usb = _need(image.board, "dfu", "dfu")
    file = folder / "firmware.bin"
    start, data = binary.flat(elf.segments(image.elf))
    file.write_bytes(data)
    chosen = ["--serial", port] if port else []
    return [tools.need("dfu-util"), "--device", usb, *chosen, "--alt", "0",
            "--dfuse-address", f"{start:#x}:leave", "--download", str(file)]  # fmt: skip


def _esptool(image: Image, port: str | None, folder: Path) -> list[str]:
    chip = _need(image.board, "esptool", "esptool")
    file = folder / "firmware.bin"
    start, data = binary.flat(elf.segments(image.elf))
    file.write_bytes(data)
    chosen = ["--port", port] if port else []
    # A part sees its flash at an address of its own; the tool counts from the flash's beginning.
    offset = start - image.board.memory.flash.origin
    program = "esptool" if tools.find("esptool") or not tools.find("esptool.py") else "esptool.py"
    return [tools.need(program), "--chip", chip, *chosen, "--after", "hard_reset", "write_flash",
            f"{offset:#x}", str(file)]  # fmt: skip


def _bossac(image: Image, port: str | None, folder: Path) -> list[str]:
    if not image.board.flasher.bossac:
        _need(image.board, "bossac", "bossac")
    if not port:
        raise TargetError(
            f"bossac needs the serial port of {image.board.id}: press reset twice and name it "
            "with --port"
        )
    file = folder / "firmware.bin"
    file.write_bytes(binary.flat(elf.segments(image.elf))[1])
    return [tools.need("bossac"), f"--port={port}", "--erase", "--write", "--reset", str(file)]


_COMMANDS: dict[str, Callable[[Image, str | None, Path], list[str]]] = {
    "openocd": _openocd, "pyocd": _pyocd, "jlink": _jlink, "stflash": _stflash, "dfu": _dfu,
    "bossac": _bossac, "esptool": _esptool,
}  # fmt: skip


def protocols(board: Board) -> list[str]:
    """Ways to flash a board, the manifest's first."""
    return list(board.flasher.protocols)


def _drives() -> list[Path]:
    """Mounted drives of boot loaders: they carry INFO_UF2.TXT."""
    roots = [Path("/media"), Path("/run/media"), Path("/Volumes"), Path("/mnt")]
    return [
        info.parent
        for root in roots
        if root.is_dir()
        for depth in ("*", "*/*")
        for info in root.glob(f"{depth}/INFO_UF2.TXT")
    ]


def _copy_uf2(image: Image, port: str | None) -> None:
    wanted = _need(image.board, "uf2", "uf2")
    family = image.board.flasher.uf2_family
    if family is None:
        raise TargetError(f"board {image.board.id} has no secateur.flash.uf2_family")
    drives = [Path(port)] if port else _drives()
    for drive in drives:
        info = drive / "INFO_UF2.TXT"
        if not info.is_file():
            raise TargetError(f"{drive} is no boot loader's drive: it has no INFO_UF2.TXT")
        if wanted not in info.read_text(encoding="utf-8", errors="replace"):
            if port:
                raise TargetError(
                    f"the boot loader at {drive} is not that of {image.board.id} ({wanted}): "
                    "check --board and --port"
                )
            continue
        part = drive / "secateur.uf2"
        data = binary.uf2(elf.segments(image.elf), family)
        try:
            with part.open("wb") as file:
                for at in range(0, len(data), 1 << 14):
                    file.write(data[at : at + (1 << 14)])
                    tell(f"copying to {drive}", min(len(data), at + (1 << 14)), len(data))
        except OSError as error:
            raise TargetError(f"{part} cannot be written: {error.strerror}") from None
        return
    raise TargetError(
        f"no drive of {image.board.id}'s boot loader ({wanted}) is mounted: hold BOOTSEL while "
        "plugging it in"
    )


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

    `port` is the serial port of the board's probe, the probe's serial number, or the boot loader's
    drive (uf2) or serial port (bossac, esptool). Raises TargetError or ToolError in one sentence.
    """
    board = image.board
    known = protocols(board)
    if not known:
        raise TargetError(f"board {board.id} is emulated only: there is nothing to flash")
    if protocol is None:
        protocol = known[0]
    if protocol not in known:
        raise TargetError(f"board {board.id} is not flashed by {protocol}: {', '.join(known)}")
    check_size(image)
    if port and protocol not in ("uf2", "bossac", "esptool"):
        port = probe_of(board, port) or port
    if protocol == "uf2":
        tell(f"flashing {board.id} with uf2")
        _copy_uf2(image, port)
        return protocol
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        command = _COMMANDS[protocol](image, port, Path(folder))
        tool = Path(command[0]).name
        code, output = _watch(command, f"flashing {board.id} with {tool}", timeout)
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
            start_new_session=True,
        )
    except OSError as error:
        raise ToolError(f"{command[0]} does not start: {error.strerror}") from None
    assert child.stdout is not None
    late = threading.Event()

    def stop() -> None:
        late.set()
        os.killpg(child.pid, signal.SIGKILL)

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
        os.killpg(child.pid, signal.SIGKILL)
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


def which(board: Board) -> dict[str, str | None]:
    """For each way to flash a board: None, or what is missing for it."""
    programs = {"jlink": "JLinkExe", "stflash": "st-flash", "dfu": "dfu-util"}
    return {
        p: None
        if p == "uf2" or shutil.which(programs.get(p, p))
        else tools.missing(programs.get(p, p))
        for p in protocols(board)
    }
