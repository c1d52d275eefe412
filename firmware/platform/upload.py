"""What each flashing tool is asked to do with an image: the one place both ways of flashing ask.

PlatformIO's builder script (`pio run -t upload`) and secateur.targets.flashing.flash load this file
by its path, so it imports nothing but the standard library.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


class UploadError(ValueError):
    """One sentence about what a board or a user lacks."""


@dataclass(frozen=True)
class Files:
    """An image in the forms the tools take; `start` is the address of the first byte of `bin`."""

    elf: Path
    bin: Path
    hex: Path
    start: int

    @property
    def script(self) -> Path:
        """Where J-Link's commands are written."""
        return self.hex.with_suffix(".jlink")


def _number(value: object) -> int:
    return int(value, 0) if isinstance(value, str) else int(str(value))


def _need(flash: dict, field: str, protocol: str) -> str:
    if not flash.get(field):
        raise UploadError(
            f"its manifest has no secateur.flash.{field}, which {protocol} needs: use "
            f"{' or '.join(flash.get('protocols', [])) or 'another board'}"
        )
    return str(flash[field])


def _openocd(board: dict, files: Files, port: str | None) -> list[str]:
    _need(board["flash"], "openocd", "openocd")
    configs = [part for name in board["flash"]["openocd"] for part in ("-f", name)]
    chosen = ["-c", f"adapter serial {port}"] if port else []
    return ["openocd", *configs, *chosen, "-c", f"program {{{files.elf}}} verify reset exit"]


def _pyocd(board: dict, files: Files, port: str | None) -> list[str]:
    target = _need(board["flash"], "pyocd", "pyocd")
    chosen = ["--uid", port] if port else []
    return ["pyocd", "load", "--target", target, *chosen, "--format", "elf", str(files.elf)]


def _jlink(board: dict, files: Files, port: str | None) -> list[str]:
    device = _need(board["flash"], "jlink", "jlink")
    files.script.write_text(f"r\nh\nloadfile {files.hex}\nr\ng\nexit\n", encoding="utf-8")
    chosen = ["-USB", port] if port else []
    return ["JLinkExe", "-device", device,
            "-if", board["toolchain"]["debug"], "-speed", "4000", *chosen,
            "-autoconnect", "1", "-ExitOnError", "1", "-NoGui", "1",
            "-CommandFile", str(files.script)]  # fmt: skip


def _stflash(board: dict, files: Files, port: str | None) -> list[str]:
    chosen = ["--serial", port] if port else []
    return ["st-flash", *chosen, "--reset", "write", str(files.bin), f"{files.start:#x}"]


def _dfu(board: dict, files: Files, port: str | None) -> list[str]:
    usb = _need(board["flash"], "dfu", "dfu")
    chosen = ["--serial", port] if port else []
    return ["dfu-util", "--device", usb, *chosen, "--alt", "0",
            "--dfuse-address", f"{files.start:#x}:leave", "--download", str(files.bin)]  # fmt: skip


def _esptool(board: dict, files: Files, port: str | None) -> list[str]:
    chip = _need(board["flash"], "esptool", "esptool")
    chosen = ["--port", port] if port else []
    # A part sees its flash at an address of its own; the tool counts from the flash's beginning.
    offset = files.start - _number(board["memory"]["flash"]["origin"])
    return ["esptool", "--chip", chip, *chosen, "--after", "hard_reset", "write_flash",
            f"{offset:#x}", str(files.bin)]  # fmt: skip


def _bossac(board: dict, files: Files, port: str | None) -> list[str]:
    _need(board["flash"], "bossac", "bossac")
    if not port:
        raise UploadError("bossac needs its serial port: press reset twice and name the port")
    return ["bossac", f"--port={port}", "--erase", "--write", "--reset", str(files.bin)]


COMMANDS: dict[str, Callable[[dict, Files, str | None], list[str]]] = {
    "openocd": _openocd, "pyocd": _pyocd, "jlink": _jlink, "stflash": _stflash, "dfu": _dfu,
    "bossac": _bossac, "esptool": _esptool,
}  # fmt: skip


def command(manifest: dict, protocol: str, files: Files, port: str | None) -> list[str]:
    """The tool's name and arguments. Raises UploadError in words that follow "board NAME: "."""
    board = {"flash": {}, **manifest["secateur"]}
    known = board["flash"].get("protocols", [])
    if protocol not in known:
        raise UploadError(f"it is not flashed by {protocol}: {', '.join(known) or 'emulated only'}")
    return COMMANDS[protocol](board, files, port)


def uf2(start: int, data: bytes, family: int) -> bytes:
    """UF2 of an image: blocks of 256 bytes (the format's own documentation)."""
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


def copy_uf2(
    manifest: dict,
    start: int,
    data: bytes,
    port: str | None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Path:
    """Copy an image onto its boot loader's drive (`port`, or the one that is mounted)."""
    flash = manifest["secateur"].get("flash", {})
    wanted, family = _need(flash, "uf2", "uf2"), _number(_need(flash, "uf2_family", "uf2"))
    for drive in [Path(port)] if port else _drives():
        info = drive / "INFO_UF2.TXT"
        if not info.is_file():
            raise UploadError(f"{drive} is no boot loader's drive: it has no INFO_UF2.TXT")
        if wanted not in info.read_text(encoding="utf-8", errors="replace"):
            if port:
                raise UploadError(
                    f"the boot loader at {drive} is not that of the board ({wanted}): check board "
                    "and port"
                )
            continue
        target, blocks = drive / "secateur.uf2", uf2(start, data, family)
        try:
            with target.open("wb") as file:
                for at in range(0, len(blocks), 1 << 14):
                    file.write(blocks[at : at + (1 << 14)])
                    progress(min(len(blocks), at + (1 << 14)), len(blocks))
        except OSError as error:
            raise UploadError(f"{target} cannot be written: {error.strerror}") from None
        return target
    raise UploadError(
        f"no drive of its boot loader ({wanted}) is mounted: hold BOOTSEL while plugging it in"
    )
