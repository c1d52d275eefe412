"""RISC-V cores."""

from __future__ import annotations

from dataclasses import replace

from .base import Architecture, Core
from .timing import CycleTable, Pipeline, latency

RISCV = Architecture(
    name="riscv", prefix="riscv64-unknown-elf-", linker_script="rv32.ld", debug="JTAG",
    disassembler="CS_ARCH_RISCV",
)  # fmt: skip

#: SiFive's E31, as in the FE310.
_E31 = Pipeline(
    latency={
        "load": latency(2), "load-part": latency(3), "multiply": latency(5),
        "divide": latency(18), "system": latency(3),
    },
    blocking=frozenset({"multiply", "divide"}),
)  # fmt: skip

_RV32IMAC = Core(
    "rv32imac", RISCV,
    ("-march=rv32imac", "-mabi=ilp32", "-mcmodel=medany", "--specs=picolibc.specs"),
    timers=("mcycle",),
    unicorn="", disassembler_modes=("CS_MODE_RISCV32", "CS_MODE_RISCVC"),
    renode="rv32imac_zicsr_zifencei",
    cycles=CycleTable("SiFive E31 core complex manual, chapter 3", pipeline=_E31),
)  # fmt: skip

CORES = (
    _RV32IMAC,
    # The RP2350's: the same instructions for compiler and planner, other times.
    replace(
        _RV32IMAC, name="hazard3", prices="rv32imac",
        cycles=CycleTable(
            "RP2350 datasheet, 3.8.7; counted in the core's logic",
            {"divide": 18}, refill=1, refill_indirect=1, load_use=1, unaligned_target=1,
            predicts_last=True, error=0.01,
        ),
    ),
)  # fmt: skip
