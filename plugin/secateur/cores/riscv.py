"""RISC-V cores."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture, Core
from .timing import CycleTable, Pipeline, Rule, between, latency

RISCV = Architecture(
    name="riscv", prefix="riscv64-unknown-elf-", linker_script="rv32.ld", debug="JTAG",
    disassembler="CS_ARCH_RISCV",
)  # fmt: skip

_MANUAL = "SiFive FE310-G000 manual, 3.2 and 3.3"
_HAZARD3 = "RP2350 datasheet, 3.8.7; Hazard3's instruction_timings.adoc"

#: SiFive's E31, as in the FE310.
_E31 = Pipeline(
    latency={
        "alu": latency(1, _MANUAL),
        "load": latency(2, _MANUAL), "load-part": latency(3, _MANUAL),
        "multiply": latency(5, _MANUAL), "divide": latency(between(2, 33, _MANUAL)),
        "system": latency(3, _MANUAL),
    },
    because={"blocking": f"{_MANUAL}: one multiplication at a time"},
    blocking=frozenset({"multiply", "divide"}),
)  # fmt: skip

_RV32IMAC = Core(
    "rv32imac", RISCV,
    ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany", "--specs=picolibc.specs"),
    timers=("mcycle",),
    unicorn="", disassembler_modes=("CS_MODE_RISCV32", "CS_MODE_RISCVC"),
    renode="rv32imac_zicsr_zifencei", alike=(1.015, 1.01),
    cycles=CycleTable(
        _MANUAL, Rule(1, _MANUAL),
        refill=Rule(0, f"{_MANUAL}: if it is foretold"),
        refill_indirect=Rule(0, f"{_MANUAL}: if it is foretold"), pipeline=_E31,
    ),
)  # fmt: skip

CORES = (
    _RV32IMAC,
    # The RP2350's: the same instructions for compiler and planner, other times.
    replace(
        _RV32IMAC, name="hazard3", prices="rv32imac",
        cycles=CycleTable(
            _HAZARD3, Rule(1, _HAZARD3),
            costs={"divide": between(18, 19, _HAZARD3)},
            refill=Rule(1, _HAZARD3), refill_indirect=Rule(1, _HAZARD3),
            load_use=Rule(1, _HAZARD3), unaligned_target=Rule(1, _HAZARD3),
            predicts_last=Rule(1, _HAZARD3), error=0.01,
            error_source="three programs counted in the core's logic: 0.2 to 0.7%",
        ),
    ),
    # GD32VF103's: nothing is published of how long its instructions take, so no cycles.
    replace(_RV32IMAC, name="bumblebee", prices="rv32imac", cycles=None),
)  # fmt: skip
