"""Boards: one PlatformIO manifest each, with a `secateur` block for what PlatformIO lacks.

A manifest is looked for in the folders of the environment variable SECATEUR_BOARDS, then in
`boards/` of this project. docs/boards.md explains every field.
"""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from .. import cores
from ..cores import Core, TimerKind
from ..errors import TargetError
from . import assets


def _known(name: str) -> str:
    if name not in cores.names():
        raise ValueError(f"{name} is no known core: {', '.join(cores.names())}")
    return name


def _address(value: object) -> object:
    return int(value, 0) if isinstance(value, str) else value


Address = Annotated[int, BeforeValidator(_address), Field(ge=0, lt=2**32)]


#: `PA2` (STM32, SAM), `P0.24` (Nordic), `GPIO4` (RP2040, ESP32, FE310).
_PIN = r"^(P[A-K]\d{1,2}|P[01]\.\d{1,2}|GPIO\d{1,2})$"


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Region(_Block):
    """A range of the address space, in bytes."""

    origin: Address
    length: Annotated[int, BeforeValidator(_address), Field(gt=0, le=2**32)]

    def overlaps(self, other: Region) -> bool:
        return (
            self.origin < other.origin + other.length and other.origin < self.origin + self.length
        )


class Memory(_Block):
    flash: Region
    ram: Region


class Timer(_Block):
    """The counter behind an inference's time; `hz` ticks a second."""

    kind: TimerKind
    hz: int = Field(gt=0)


class Uart(_Block):
    """The harness' serial line: which driver (firmware/src/harness_port_*.c) at which address."""

    port: str = Field(pattern=r"^[a-z0-9_]+$")
    base: Address
    baud: int = Field(default=115200, gt=0)
    tx: str | None = Field(default=None, pattern=_PIN)
    rx: str | None = Field(default=None, pattern=_PIN)
    function: int | None = Field(default=None, ge=0, le=31)  #: the pins' alternate function


class Qemu(_Block):
    machine: str
    system: Literal["arm", "riscv32"] = "arm"
    icount_shift: int = Field(default=6, ge=0, le=10)
    args: list[str] = []


class Sim(_Block):
    cpu: str | None = None  #: unicorn's model, where it is not the core's own


class Renode(_Block):
    """Renode's platform: generated from the manifest, or on top of `own`, the one Renode brings.

    Most of Renode's name a file on the network (SVD), so those are not what is used by default.
    """

    platform: Literal["generated", "own"] = "generated"
    uart: str  #: the peripheral's name behind `sysbus.`
    cpu: str = "cpu"
    own: str | None = Field(default=None, pattern=r"^platforms/[\w/.-]+\.repl$")

    @model_validator(mode="after")
    def _there(self) -> Renode:
        if self.platform == "own" and self.own is None:
            raise ValueError("platform is own, but own names no file of Renode's")
        return self


class Emulators(_Block):
    qemu: Qemu | None = None
    sim: Sim | None = None
    renode: Renode | None = None


class Access(_Block):
    """Energy of single events, in picojoules, which targets/estimates/energy.py shares out by."""

    core_pj: float = Field(ge=0)  #: a cycle
    fetch_pj: float = Field(ge=0)  #: an instruction's fetch
    flash_pj: float = Field(ge=0)  #: a read of up to 32 bits
    sram_pj: float = Field(ge=0)  #: a read or write of up to 32 bits
    mac_pj: float = Field(ge=0)  #: a multiplication
    source: str = Field(min_length=8)


class Power(_Block):
    """Current of the running core, for estimates. None where nobody publishes it."""

    active_ma: float | None = Field(default=None, gt=0)
    idle_ma: float | None = Field(default=None, ge=0)
    voltage: float | None = Field(default=None, gt=0)
    source: str = Field(min_length=8)
    access: Access | None = None

    @model_validator(mode="after")
    def _both(self) -> Power:
        if (self.active_ma is None) != (self.voltage is None):
            raise ValueError("active_ma and voltage must both be given, or both be null")
        return self


class Flasher(_Block):
    """What the flashing tools call this part. Only what the board can use is set."""

    protocols: list[str] = []
    openocd: list[str] = []  #: configuration files, as `-f` takes them
    pyocd: str | None = None
    jlink: str | None = None
    dfu: str | None = None  #: USB id vendor:product of the boot loader
    uf2: str | None = None  #: Board-ID or volume label of the boot loader's drive
    uf2_family: Address | None = None
    bossac: bool = False
    esptool: str | None = Field(default=None, pattern=r"^esp\w+$")  #: the chip, as in `--chip`
    usb: list[str] = []  #: USB ids vendor:product of the board's serial port


class Board(_Block):
    """A microcontroller board, real or emulated."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    title: str
    mcu: str = "unknown"
    core: Annotated[str, AfterValidator(_known)]  #: a name of secateur.cores
    clock_hz: int = Field(gt=0)
    memory: Memory
    timer: Timer
    uart: Uart
    emulator: Emulators = Emulators()
    power: Power
    flasher: Flasher = Field(default=Flasher(), validation_alias=AliasChoices("flash", "flasher"))
    mark: str | None = Field(default=None, pattern=_PIN)  #: trigger pin for power meters
    wait_states: int = Field(default=0, ge=0, le=16)
    flash_cache: bool = True  #: loops run from a cache or accelerator without wait states
    min_stack: int = Field(default=1024, ge=256)
    defines: dict[str, str] = {}
    #: Who ran the firmware on the real board, and when; None while nobody has said so.
    flashed: str | None = Field(default=None, min_length=4)
    manifest: dict[str, Any] = Field(repr=False)  #: the whole file
    path: Path

    @model_validator(mode="after")
    def _sound(self) -> Board:
        if not self.hosted and self.memory.flash.overlaps(self.memory.ram):
            raise ValueError("memory.flash and memory.ram overlap")
        if self.timer.kind not in self.cpu.timers:
            raise ValueError(
                f"timer.kind is {self.timer.kind}, which {self.core} has not: use "
                f"{' or '.join(self.cpu.timers)}"
            )
        if self.emulator.sim and not self.emulator.sim.cpu and self.cpu.unicorn is None:
            raise ValueError(f"emulator.sim: the simulator has no model of {self.core}")
        return self

    @property
    def cpu(self) -> Core:
        """What is known of its core."""
        return cores.get(self.core)

    @property
    def hosted(self) -> bool:
        """Whether it is this computer."""
        return self.cpu.hosted

    @property
    def build_manifest(self) -> dict[str, Any]:
        """The manifest with the core's compiler flags in it, for the builders."""
        block = {**self.manifest["secateur"], "toolchain": self.cpu.toolchain()}
        return {**self.manifest, "secateur": block}

    @property
    def emulators(self) -> list[str]:
        """Names of the emulators that know this board."""
        return [name for name in ("renode", "qemu", "sim") if getattr(self.emulator, name)]


def folders() -> list[Path]:
    """Where manifests are looked for, first match wins."""
    extra = os.environ.get("SECATEUR_BOARDS", "")
    return [Path(p) for p in extra.split(os.pathsep) if p] + [assets.root() / "boards"]


def _files() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for folder in folders():
        for path in sorted(folder.glob("*.json")):
            found.setdefault(path.stem, path)
    return found


def check(path: Path) -> Board:
    """Read and validate one manifest.

    Raises TargetError naming the file, the field and what is expected there.
    """
    try:
        manifest = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TargetError(f"board manifest {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise TargetError(f"board manifest {path} is not JSON: {error}") from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("secateur"), dict):
        raise TargetError(
            f'board manifest {path} has no "secateur" block: see docs/boards.md for its fields'
        )
    block = manifest["secateur"]
    try:
        board = Board.model_validate(
            {
                **block,
                "id": Path(path).stem,
                "title": manifest.get("name", ""),
                "mcu": manifest.get("build", {}).get("mcu", "unknown"),
                "manifest": manifest,
                "path": Path(path).resolve(),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "secateur"
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        raise TargetError(
            f"board manifest {path}, field {where}: {first['msg']}{more}; "
            "docs/boards.md lists the fields"
        ) from None
    _check_platformio(path, manifest, board)
    return board


def _check_platformio(path: Path, manifest: dict[str, Any], board: Board) -> None:
    """PlatformIO's own fields must say the same as ours."""
    upload = manifest.get("upload", {})
    wanted = {
        "build.f_cpu": (str(manifest.get("build", {}).get("f_cpu")), f"{board.clock_hz}L"),
        "upload.maximum_size": (upload.get("maximum_size"), board.memory.flash.length),
        "upload.maximum_ram_size": (upload.get("maximum_ram_size"), board.memory.ram.length),
    }
    for field, (value, ours) in wanted.items():
        if value != ours:
            raise TargetError(
                f"board manifest {path}, field {field}: {value} contradicts the secateur block, "
                f"which says {ours}"
            )
    for field in ("name", "vendor", "url"):
        if not manifest.get(field):
            raise TargetError(f"board manifest {path} has no {field}, which PlatformIO demands")


def load(name: str) -> Board:
    """The board of this name. Raises TargetError listing the nearest names."""
    files = _files()
    if name in files:
        return check(files[name])
    near = difflib.get_close_matches(name.lower(), files, n=4, cutoff=0.4) or sorted(files)
    raise TargetError(
        f"board '{name}' is unknown: did you mean {', '.join(near)}? "
        "('secateur boards' lists all, SECATEUR_BOARDS adds folders)"
    )


def table() -> str:
    """Markdown: each board, and how far it has been tried. README.md holds it."""
    lines = [
        "| board | | builds | runs in an emulator | flashed on hardware by anyone yet |",
        "|---|---|---|---|---|",
    ]
    for board in all():
        if board.hosted:
            continue
        # Renode's files are written and checked, which is not the same as having run.
        where = [{"qemu": "QEMU", "sim": "simulator"}[e] for e in board.emulators if e != "renode"]
        real = bool(board.flasher.protocols)
        flashed = board.flashed or ("no" if real else "emulated only")
        lines.append(f"| `{board.id}` | {board.title} | yes | {', '.join(where)} | {flashed} |")
    return "\n".join(lines) + "\n"


def all() -> list[Board]:
    """Every board, by name."""
    return [check(path) for path in _files().values()]
