"""Flashing: the commands of each tool, and their complaints in one sentence."""

from __future__ import annotations

import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from ..errors import TargetError, ToolError
from ..progress import tell
from . import elf, tools
from .base import Image
from .boards import Board

#: Text a tool prints (lower case) -> what it means and what to do.
_COMPLAINTS = [
    ("no probe", ("open failed", "unable to open", "no st-link", "couldn't find st-link",
                  "no available debug probes", "no emulators connected",
                  "can not connect to j-link",
                  "unable to find a matching cmsis-dap", "no dfu capable", "no device found",
                  "unable to find cmsis-dap", "failed to open"),
     "no debug probe or boot loader was found: connect the board, and put it into its boot "
     "loader if it has no probe"),
    ("no permission", ("libusb_error_access", "permission denied", "insufficient permissions"),
     "the probe may not be opened: install your tool's udev rules, or run as a user who may"),
    ("wrong board", ("idcode mismatch", "unexpected idcode", "wrong device", "unknown chip id",
                     "chip id mismatch"),
     "the probe sees another microcontroller: check --board and --port"),
    ("locked", ("read protection", "rdp level", "device is locked", "approtect",
                "flash is protected", "device secured", "write protected",
                "mass erase is required"),
     "the flash is locked: erase the whole chip with the vendor's tool, which unlocks it"),
    ("busy", ("resource busy", "device or resource busy", "already in use", "libusb_error_busy"),
     "the port or probe is busy: close the program that uses it (monitor, debugger, IDE)"),
    ("no target", ("no target", "cannot connect to target", "could not connect to target",
                   "init mode failed", "target not halted", "target voltage may be too low"),
     "the probe finds no microcontroller: check power and wiring"),
]  # fmt: skip


def explain(tool: str, output: str, code: int) -> str:
    """One sentence about a failed tool from what it printed."""
    text = output.lower()
    for _, needles, meaning in _COMPLAINTS:
        if any(needle in text for needle in needles):
            return f"{tool}: {meaning}"
    lines = [x.strip() for x in output.splitlines() if x.strip()]
    telling = [x for x in lines if "error" in x.lower() or "fail" in x.lower()] or lines[-1:]
    said = f": {telling[0]}" if telling else " and said nothing"
    return f"{tool} ended with code {code}{said}"


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
    hexfile.write_text(intel_hex(elf.segments(image.elf)), encoding="ascii")
    script.write_text(f"r\nh\nloadfile {hexfile}\nr\ng\nexit\n", encoding="utf-8")
    chosen = ["-USB", port] if port else []
    return [tools.need("JLinkExe"), "-device", device, "-if",
            "JTAG" if image.board.core.startswith("rv32") else "SWD", "-speed", "4000",
            *chosen, "-autoconnect", "1", "-ExitOnError", "1", "-NoGui", "1",
            "-CommandFile", str(script)]  # fmt: skip


def _stflash(image: Image, port: str | None, folder: Path) -> list[str]:
    binary = folder / "firmware.bin"
    start, data = flat(elf.segments(image.elf))
    binary.write_bytes(data)
    chosen = ["--serial", port] if port else []
    return [tools.need("st-flash"), *chosen, "--reset", "write", str(binary), f"{start:#x}"]


def _dfu(image: Image, port: str | None, folder: Path) -> list[str]:
    usb = _need(image.board, "dfu", "dfu")
    binary = folder / "firmware.bin"
    start, data = flat(elf.segments(image.elf))
    binary.write_bytes(data)
    chosen = ["--serial", port] if port else []
    return [tools.need("dfu-util"), "--device", usb, *chosen, "--alt", "0",
            "--dfuse-address", f"{start:#x}:leave", "--download", str(binary)]  # fmt: skip


def _bossac(image: Image, port: str | None, folder: Path) -> list[str]:
    if not image.board.flasher.bossac:
        _need(image.board, "bossac", "bossac")
    if not port:
        raise TargetError(
            f"bossac needs the serial port of {image.board.id}: press reset twice and name it "
            "with --port"
        )
    binary = folder / "firmware.bin"
    binary.write_bytes(flat(elf.segments(image.elf))[1])
    return [tools.need("bossac"), f"--port={port}", "--erase", "--write", "--reset", str(binary)]


_COMMANDS: dict[str, Callable[[Image, str | None, Path], list[str]]] = {
    "openocd": _openocd, "pyocd": _pyocd, "jlink": _jlink, "stflash": _stflash, "dfu": _dfu,
    "bossac": _bossac,
}  # fmt: skip


def protocols(board: Board) -> list[str]:
    """Ways to flash a board, the manifest's first."""
    return list(board.flasher.protocols)


def flat(segments: list[tuple[int, bytes]]) -> tuple[int, bytes]:
    """Start address and bytes from the first to the last, gaps filled with 0xFF."""
    start = min(address for address, _ in segments)
    end = max(address + len(data) for address, data in segments)
    out = bytearray(b"\xff" * (end - start))
    for address, data in segments:
        out[address - start : address - start + len(data)] = data
    return start, bytes(out)


def intel_hex(segments: list[tuple[int, bytes]]) -> str:
    """Intel HEX of an image."""

    def record(kind: int, address: int, data: bytes) -> str:
        body = bytes([len(data), address >> 8 & 0xFF, address & 0xFF, kind]) + data
        return ":" + (body + bytes([-sum(body) & 0xFF])).hex().upper()

    lines, upper = [], -1
    for start, data in segments:
        at = 0
        while at < len(data):
            address = start + at
            if address >> 16 != upper:
                upper = address >> 16
                lines.append(record(4, 0, upper.to_bytes(2, "big")))
            size = min(16, len(data) - at, 0x10000 - (address & 0xFFFF))
            lines.append(record(0, address & 0xFFFF, data[at : at + size]))
            at += size
    return "\n".join([*lines, record(1, 0, b"")]) + "\n"


def uf2(segments: list[tuple[int, bytes]], family: int) -> bytes:
    """UF2 of an image: blocks of 256 bytes (the format's own documentation)."""
    start, data = flat(segments)
    data += b"\xff" * (-len(data) % 256)
    count = len(data) // 256
    return b"".join(
        struct.pack("<8I", 0x0A324655, 0x9E5D5157, 0x2000, start + 256 * i, 256, i, count, family)
        + data[256 * i : 256 * i + 256].ljust(476, b"\0")
        + struct.pack("<I", 0x0AB16F30)
        for i in range(count)
    )


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
        try:
            part.write_bytes(uf2(elf.segments(image.elf), family))
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

    `port` is the probe's serial number, the boot loader's drive (uf2) or serial port (bossac).
    Raises TargetError or ToolError in one sentence.
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
    tell(f"flashing {board.id} with {protocol}")
    if protocol == "uf2":
        _copy_uf2(image, port)
        return protocol
    with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
        command = _COMMANDS[protocol](image, port, Path(folder))
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
            )
        except subprocess.TimeoutExpired:
            raise TargetError(
                f"{Path(command[0]).name} did not finish in {timeout:g} s: unplug the board, plug "
                "it in again and retry"
            ) from None
        except OSError as error:
            raise ToolError(f"{command[0]} does not start: {error.strerror}") from None
    output = done.stdout + done.stderr
    tool = Path(command[0]).name
    # J-Link's tool reports some failures in words only.
    if done.returncode != 0 or (protocol == "jlink" and "cannot connect" in output.lower()):
        raise TargetError(f"{board.id}: {explain(tool, output, done.returncode)}")
    return protocol


def find(board: Board) -> list[str]:
    """Serial ports of this board that are plugged in, by USB id."""
    from serial.tools import list_ports

    ids = {i.lower() for i in board.flasher.usb}
    return sorted(
        p.device
        for p in list_ports.comports()
        if p.vid is not None and f"{p.vid:04x}:{p.pid:04x}" in ids
    )


def which(board: Board) -> dict[str, str | None]:
    """For each way to flash a board: None, or what is missing for it."""
    programs = {"jlink": "JLinkExe", "stflash": "st-flash", "dfu": "dfu-util"}
    return {
        p: None
        if p == "uf2" or shutil.which(programs.get(p, p))
        else tools.missing(programs.get(p, p))
        for p in protocols(board)
    }
