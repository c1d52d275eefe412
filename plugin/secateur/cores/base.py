"""What a core is: one row that compilers, emulators, planner and estimates read.

A row states facts; what is done with them stands where it is done (targets, codegen). Rows hold
data only, so any layer may read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .timing import CycleTable

#: Instruction sets that kernels are written for: C alone, the DSP extension, vectors as well.
Isa = Literal["plain", "dsp", "helium"]

#: Counters behind an inference's time (firmware/src/harness_timer_*.c).
TimerKind = Literal["systick", "dwt", "mcycle", "nrf", "none"]


@dataclass(frozen=True)
class Architecture:
    """What cores of one family share."""

    name: str
    prefix: str  #: of the tool chain's programs, "" for the computer's own
    linker_script: str = ""  #: in firmware/ld
    link: tuple[str, ...] = ()  #: for the linker only, besides the core's machine flags
    debug: str = ""  #: what probes talk to it
    disassembler: str = ""  #: capstone's name of it


@dataclass(frozen=True)
class Core:
    """One core, made known by `register`; `dataclasses.replace` makes a relative of a known one."""

    name: str  #: as in a manifest's `secateur.core`
    architecture: Architecture
    machine: tuple[str, ...]  #: flags of compiler and linker
    isa: Isa = "plain"
    timers: tuple[TimerKind, ...] = ("systick", "nrf", "none")
    prices: str = ""  #: the row of codegen/costs.json it is planned with; its own name if empty
    unicorn: str | None = None  #: the simulator's model ("" its usual one), None if there is none
    disassembler_modes: tuple[str, ...] = ()  #: capstone's names
    renode: str | None = None  #: Renode's cpuType, None if it has none
    #: Whether RAM, where boards have it, is memory that code can run from.
    code_in_ram: bool = True
    cycles: CycleTable | None = None  #: None where no estimate of cycles exists
    #: Plans whose cycles, or instructions, differ by smaller factors are taken for equally fast:
    #: its prices, and those of cores that have them, tell no better (benchmarks.promises).
    alike: tuple[float, float] = (1.015, 1.005)

    @property
    def priced_as(self) -> str:
        """The core whose prices it is planned with."""
        return self.prices or self.name

    @property
    def hosted(self) -> bool:
        """Whether code for it runs on this computer, without start-up code or linker script."""
        return not self.architecture.linker_script

    @property
    def riscv(self) -> bool:
        """Whether it executes RISC-V instructions; the others execute Thumb."""
        return self.architecture.name == "riscv"

    @property
    def compiler(self) -> str:
        """The compiler's name."""
        return self.architecture.prefix + ("cc" if self.hosted else "gcc")

    def toolchain(self) -> dict[str, object]:
        """What firmware/platform/flags.py and upload.py read of it, as JSON."""
        a = self.architecture
        return {
            "prefix": a.prefix, "machine": list(self.machine), "link": list(a.link),
            "script": a.linker_script, "debug": a.debug,
        }  # fmt: skip
