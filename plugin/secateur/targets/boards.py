"""Boards: one PlatformIO manifest each, with a `secateur` block for what PlatformIO lacks.

A manifest is looked for in the folders of the environment variable SECATEUR_BOARDS, then in
`boards/` of this project. docs/boards.md explains every field.
"""

from __future__ import annotations

import difflib
import os
import re
from functools import cache
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

from .. import cores, reading
from ..cores import Core, TimerKind
from ..cores.flash import ACCELERATORS
from ..errors import TargetError
from . import assets, tools


def _known(name: str) -> str:
    if name not in cores.names():
        raise ValueError(f"{name} is no known core: {', '.join(cores.names())}")
    return name


def _accelerator(name: str) -> str:
    if name not in ACCELERATORS:
        raise ValueError(f"{name!r} is no known accelerator: {', '.join(ACCELERATORS)}")
    return name


@cache
def drivers() -> tuple[str, ...]:
    """What `uart.port` may be: the macros SECATEUR_PORT_* that the firmware's drivers ask for."""
    sources = (assets.firmware() / "src").glob("harness_port_*.c")
    texts = [path.read_text(encoding="utf-8") for path in sources]
    found = {m.lower() for text in texts for m in re.findall(r"\bSECATEUR_PORT_([A-Z0-9_]+)", text)}
    return tuple(sorted(found))


def _driver(port: str) -> str:
    if port not in drivers():
        raise ValueError(f"{port!r} is no port of the firmware: {', '.join(drivers())}")
    return port


#: Options of QEMU a board may set, and their values; others name files, run scripts or open lines.
_QEMU_ARGS = {
    "-bios": r"none",
    "-cpu": r"[A-Za-z0-9_.+=,-]+",
    "-global": r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+=[A-Za-z0-9_-]+",
    "-m": r"\d+[kKMG]?",
    "-smp": r"\d+",
}


def _qemu_args(args: list[str]) -> list[str]:
    for i in range(0, len(args), 2):
        value = args[i + 1] if i + 1 < len(args) else ""
        if not re.fullmatch(_QEMU_ARGS.get(args[i], r"(?!)"), value):
            known = ", ".join(_QEMU_ARGS)
            raise ValueError(f"{args[i]!r} {value!r} is no option of QEMU's that a board may set "
                             f"({known})")  # fmt: skip
    return args


def _address(value: object) -> object:
    return int(value, 0) if isinstance(value, str) else value


Address = Annotated[int, BeforeValidator(_address), Field(ge=0, lt=2**32)]


#: `PA2` (STM32, SAM), `P0.24` (Nordic), `GPIO4` (RP2040, ESP32, FE310).
_PIN = r"^(P[A-K]\d{1,2}|P[01]\.\d{1,2}|GPIO\d{1,2})$"


#: What may stand in a file of a tool's or on its command line: no space, quote or other sign.
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$", max_length=64)]
#: A value of a macro: a number or an identifier.
Token = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.]*$", max_length=64)]
Macro = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
UsbId = Annotated[str, Field(pattern=r"^[0-9a-f]{4}:[0-9a-f]{4}$")]
Hertz = Annotated[int, Field(gt=0, le=10_000_000_000)]
Amount = Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)]
Title = Annotated[str, Field(min_length=1, max_length=200)]


class _Block(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


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
    hz: Hertz


class Uart(_Block):
    """The harness' serial line: which driver (firmware/src/harness_port_*.c) at which address."""

    port: Annotated[str, AfterValidator(_driver)]
    base: Address
    baud: int = Field(default=115200, ge=300, le=20_000_000)
    tx: str | None = Field(default=None, pattern=_PIN)
    rx: str | None = Field(default=None, pattern=_PIN)
    function: int | None = Field(default=None, ge=0, le=31)  #: the pins' alternate function


class QemuBlock(_Block):
    machine: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*(,[A-Za-z0-9_-]+=[A-Za-z0-9_-]+)*$", max_length=100
    )
    system: Literal["arm", "riscv32"] = "arm"
    icount_shift: int = Field(default=6, ge=0, le=10)
    args: Annotated[list[str], AfterValidator(_qemu_args)] = []


class SimBlock(_Block):
    cpu: Word | None = None  #: unicorn's model, where it is not the core's own


class RenodeBlock(_Block):
    """Renode's platform: generated from the manifest, or on top of `own`, the one Renode brings.

    Most of Renode's name a file on the network (SVD), so those are not what is used by default.
    """

    platform: Literal["generated", "own"] = "generated"
    uart: Word  #: the peripheral's name behind `sysbus.`
    cpu: Word = "cpu"
    #: The newest version that is known not to run the board, and what that lacks.
    above: str | None = Field(default=None, pattern=r"^\d{1,4}\.\d{1,4}\.\d{1,4}$")
    lacks: str | None = Field(default=None, min_length=4, max_length=200)
    own: str | None = Field(
        default=None, pattern=r"^platforms(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+\.repl$"
    )

    @model_validator(mode="after")
    def _there(self) -> RenodeBlock:
        if self.platform == "own" and self.own is None:
            raise ValueError("platform is own, but own names no file of Renode's")
        if (self.above is None) != (self.lacks is None):
            raise ValueError("above and lacks must both be given, or neither")
        return self


class Emulators(_Block):
    qemu: QemuBlock | None = None
    sim: SimBlock | None = None
    renode: RenodeBlock | None = None


class Access(_Block):
    """Energy of single events, in picojoules, which targets/estimates/energy.py shares out by."""

    core_pj: Amount  #: a cycle
    fetch_pj: Amount  #: an instruction's fetch
    flash_pj: Amount  #: a read of up to 32 bits
    sram_pj: Amount  #: a read or write of up to 32 bits
    mac_pj: Amount  #: a multiplication
    source: str = Field(min_length=8, max_length=1000)


class Power(_Block):
    """Current of the running core, for estimates. None where nobody publishes it."""

    active_ma: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False)
    idle_ma: Amount | None = None
    voltage: float | None = Field(default=None, gt=0, le=60, allow_inf_nan=False)
    #: How far the current may be off, as a fraction; None where the source does not say.
    tolerance: float | None = Field(default=None, ge=0, lt=1, allow_inf_nan=False)
    source: str = Field(min_length=8, max_length=1000)
    access: Access | None = None

    @model_validator(mode="after")
    def _both(self) -> Power:
        if (self.active_ma is None) != (self.voltage is None):
            raise ValueError("active_ma and voltage must both be given, or both be null")
        return self


Protocol = Literal[
    "openocd", "pyocd", "jlink", "stflash", "dfu", "uf2", "bossac", "esptool"
]  # fmt: skip
#: One of OpenOCD's own scripts: they are programs, so none from elsewhere.
_OPENOCD = r"^(interface|target|board|cpld|chip)(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+\.cfg$"


class Flasher(_Block):
    """What the flashing tools call this part. Only what the board can use is set."""

    protocols: list[Protocol] = []
    #: configuration files OpenOCD brings, as `-f` takes them
    openocd: list[Annotated[str, Field(pattern=_OPENOCD)]] = []
    pyocd: Word | None = None
    jlink: Word | None = None
    dfu: UsbId | None = None  #: USB id vendor:product of the boot loader
    uf2: Word | None = None  #: Board-ID or volume label of the boot loader's drive
    uf2_family: Address | None = None
    bossac: bool = False
    #: the chip, as in `--chip`
    esptool: str | None = Field(default=None, pattern=r"^esp[a-z0-9]+$")
    usb: list[UsbId] = []  #: USB ids vendor:product of the board's serial port


class MeasuredEnergy(_Block):
    """Microjoules of an inference, above idle."""

    uj: Amount
    spread_uj: Amount
    source: str = Field(min_length=2, max_length=200)


Cycles = Annotated[float, Field(gt=0, le=1e15, allow_inf_nan=False)]


class Measured(_Block):
    """One run on a real board, as `secateur bringup` writes it (boards/measured/*.json)."""

    schema_: Literal[1] = Field(alias="schema")
    board: str = Field(pattern=r"^[a-z0-9_]+$")
    date: str = Field(pattern=r"^\d{4}-\d{2}-\d{2}$")
    version: str = Field(pattern=r"^[A-Za-z0-9.+-]{1,40}$")  #: of this program
    by: str | None = Field(default=None, pattern=r"^[\w .,'@+-]{2,80}$")
    model: Word
    flashed_by: Word
    echo: bool  #: bytes came back as they were sent
    identical: int = Field(ge=0)  #: outputs that are the reference's bytes
    total: int = Field(gt=0)
    cycles: Cycles  #: by the board's counter
    estimated: Cycles | None = None
    #: Between what the estimate was to be, where that was known.
    estimated_low: Cycles | None = None
    estimated_high: Cycles | None = None
    energy: MeasuredEnergy | None = None

    @property
    def off(self) -> float | None:
        """How far the estimate of cycles is off, as a fraction of what was measured."""
        return None if self.estimated is None else self.estimated / self.cycles - 1

    @property
    def inside(self) -> bool | None:
        """Whether what was measured lies between the ends of the estimate; None if unknown."""
        low, high = self.estimated_low, self.estimated_high
        if low is None and high is None:
            return None
        return (low is None or low <= self.cycles) and (high is None or self.cycles <= high)

    def __str__(self) -> str:
        estimate = "" if self.off is None else f", estimate {self.off:+.1%}"
        if self.inside is not None:
            estimate += f" ({'inside' if self.inside else 'OUTSIDE'} its range)"
        by = f"{self.by}, " if self.by else ""
        same = f"{self.identical} of {self.total} identical"
        return f"{by}{self.date}: {same}, {self.cycles:,.0f} cycles{estimate}"


def measured(board: str | None = None) -> list[Measured]:
    """What people have sent back, the latest first; of one board or of all.

    Raises TargetError that names the file, if one is not what `bringup` writes.
    """
    found = []
    for path in sorted((assets.root() / "boards" / "measured").glob("*.json")):
        found.append(read_measured(path))
    chosen = [m for m in found if board in (None, m.board)]
    return sorted(chosen, key=lambda m: m.date, reverse=True)


def read_measured(path: Path) -> Measured:
    """One file of `secateur bringup`. Raises TargetError."""
    try:
        return Measured.model_validate(reading.json_file(path, largest=1 << 16, kind=TargetError))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "it"
        raise TargetError(
            f"{path} is no file of 'secateur bringup': {where}: {str(first['msg'])[:200]}"
        ) from None


class Board(_Block):
    """A microcontroller board, real or emulated."""

    id: str = Field(pattern=r"^[a-z0-9_]+$")
    title: Title
    mcu: Word = "unknown"
    core: Annotated[str, AfterValidator(_known)]  #: a name of secateur.cores
    clock_hz: Hertz
    memory: Memory
    timer: Timer
    uart: Uart
    emulator: Emulators = Emulators()
    power: Power
    flasher: Flasher = Field(default=Flasher(), validation_alias=AliasChoices("flash", "flasher"))
    mark: str | None = Field(default=None, pattern=_PIN)  #: trigger pin for power meters
    #: Cycles a line of flash takes more than one that `accelerator` holds; None: not known.
    wait_states: int | None = Field(default=None, ge=0, le=4096)
    #: Where that number is from, or why there is none.
    wait_states_source: str = Field(default="", max_length=1000)
    #: What stands before flash: a row of cores/flash.py.
    accelerator: Annotated[str, AfterValidator(_accelerator)] | None = None
    min_stack: int = Field(default=1024, ge=256, le=2**24)
    defines: dict[Macro, Token] = {}
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
        if self.wait_states is not None and not self.wait_states_source:
            raise ValueError(
                "wait_states has no wait_states_source: say where the number is from, or leave "
                "both out"
            )
        if self.wait_states and self.accelerator is None:
            raise ValueError(
                "flash waits (wait_states), but accelerator is missing, which says what holds its "
                f"lines: {', '.join(ACCELERATORS)}; without one leave wait_states out"
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
        """Names of the emulators that run it; Renode's version is asked where that matters."""
        names = [name for name in ("renode", "qemu", "sim") if getattr(self.emulator, name)]
        renode = self.emulator.renode
        if renode is not None and renode.above is not None:
            here = tools.version("renode")
            if here is None or here <= tuple(map(int, renode.above.split("."))):
                names.remove("renode")
        return names


class _Build(_Block):
    """PlatformIO's `build`: no flags, scripts or packages, which PlatformIO would act on."""

    f_cpu: str = Field(pattern=r"^\d+L$")
    mcu: Word = "unknown"


class _Upload(_Block):
    """PlatformIO's `upload`."""

    maximum_size: int = Field(gt=0, le=2**32)
    maximum_ram_size: int = Field(gt=0, le=2**32)
    protocol: Word | None = None
    protocols: list[Word] = []


class _File(_Block):
    """The whole file, as PlatformIO reads it."""

    name: Title
    vendor: Title
    url: str = Field(pattern=r"^https?://[A-Za-z0-9._~:/?#@!&()*+,;=%-]+$", max_length=500)
    frameworks: list[str] = Field(default=[], max_length=0)
    build: _Build
    upload: _Upload
    secateur: dict[str, Any]


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
    manifest = reading.json_file(path, largest=1 << 20, kind=TargetError)
    if not isinstance(manifest, dict) or not isinstance(manifest.get("secateur"), dict):
        raise TargetError(
            f'board manifest {path} has no "secateur" block: see docs/boards.md for its fields'
        )
    try:
        whole = _File.model_validate(manifest)
        for name in ("id", "title", "mcu", "manifest", "path", "flasher"):
            if name in whole.secateur:
                raise TargetError(
                    f"board manifest {path}, field {name}: it does not belong into the secateur "
                    "block; docs/boards.md lists the fields"
                )
        board = Board.model_validate(
            {
                **whole.secateur,
                "id": Path(path).stem,
                "title": whole.name,
                "mcu": whole.build.mcu,
                "manifest": manifest,
                "path": Path(path).resolve(),
            }
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "secateur"
        more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
        said = str(first["msg"])[:300]
        raise TargetError(
            f"board manifest {path}, field {where}: {said}{more}; docs/boards.md lists the fields"
        ) from None
    _check_platformio(path, whole, board)
    return board


def _check_platformio(path: Path, whole: _File, board: Board) -> None:
    """PlatformIO's own fields must say the same as ours."""
    wanted = {
        "build.f_cpu": (whole.build.f_cpu, f"{board.clock_hz}L"),
        "upload.maximum_size": (whole.upload.maximum_size, board.memory.flash.length),
        "upload.maximum_ram_size": (whole.upload.maximum_ram_size, board.memory.ram.length),
    }
    for field, (value, ours) in wanted.items():
        if value != ours:
            raise TargetError(
                f"board manifest {path}, field {field}: {value} contradicts the secateur block, "
                f"which says {ours}"
            )


def load(name: str) -> Board:
    """The board of this name. Raises TargetError: the nearest names, or an ESP32's way."""
    files = _files()
    if name in files:
        return check(files[name])
    if name.lower().startswith("esp32"):
        raise TargetError(
            f"board '{name}' has no manifest: an ESP32 is built with PlatformIO's platform "
            "espressif32 and flashed by it, see examples/platformio-esp32 and docs/boards.md"
        )
    near = difflib.get_close_matches(name.lower(), files, n=4, cutoff=0.4) or sorted(files)
    raise TargetError(
        f"board '{name}' is unknown: did you mean {', '.join(near)}? "
        "('secateur boards' lists all, SECATEUR_BOARDS adds folders)"
    )


def table() -> str:
    """Markdown: each board, and how far it has been tried. README.md holds it."""
    lines = [
        "| board | | builds | runs in an emulator | run on hardware by anyone |",
        "|---|---|---|---|---|",
    ]
    for board in all():
        if board.hosted:
            continue
        # Renode's files are written and checked, which is not the same as having run.
        where = [{"qemu": "QEMU", "sim": "simulator"}[e] for e in board.emulators if e != "renode"]
        real = bool(board.flasher.protocols)
        ran = measured(board.id)
        flashed = str(ran[0]) if ran else "no" if real else "emulated only"
        lines.append(f"| `{board.id}` | {board.title} | yes | {', '.join(where)} | {flashed} |")
    return "\n".join(lines) + "\n"


def all() -> list[Board]:
    """Every board, by name."""
    return [check(path) for path in _files().values()]
