"""Cortex-M cores. Costs are those of the reference manuals for memory without wait states."""

from __future__ import annotations

from . import cortex_m7, cortex_m55
from .base import Architecture, Core, TimerKind
from .timing import CycleTable, Pipeline, latency

ARM = Architecture(
    name="arm", prefix="arm-none-eabi-", linker_script="cortexm.ld", link=("--specs=nano.specs",),
    debug="SWD", disassembler="CS_ARCH_ARM",
)  # fmt: skip

_M = ("CS_MODE_THUMB", "CS_MODE_MCLASS")
_V8 = (*_M, "CS_MODE_V8")
_DWT: tuple[TimerKind, ...] = ("systick", "dwt", "nrf", "none")


def _machine(cpu: str, *more: str) -> tuple[str, ...]:
    return (f"-mcpu={cpu}", "-mthumb", *more)


_M0 = {"load": 2, "store": 2, "system": 4}
#: `table` is tbb, which takes 6 with its refill.
_M4 = {
    "load": 2, "divide": 6, "system": 2, "table": 4,
    "float-divide": 14, "float-multiply-add": 3, "store-float": 2,
}  # fmt: skip
#: A call needs a cycle less, a load to the program counter takes 5 in all.
_M4_REFILL = {"call": -1, "load": 1}
#: Calls and returns take a cycle more than other branches.
_M0_CALLS = {"call": 1, "pop": 1}

#: One instruction a cycle; n registers in n cycles; a late result for multiplications, DSP and
#: shifted operands, of which sums are forwarded to the next sum.
_LATE = latency(2, addend=1)
_M33 = Pipeline(
    latency={
        "load": latency(2), "load-part": latency(2), "load-double": latency(2),
        "load-multiple": latency(2), "pop": latency(2),
        "multiply": _LATE, "multiply-add": _LATE, "multiply-long": _LATE,
        "multiply-long-add": _LATE, "dsp": _LATE, "divide": latency(6), "system": latency(2),
        "float-divide": latency(14),
    },
    blocking=frozenset({"divide"}), shifted=_LATE,
)  # fmt: skip

CORES = (
    Core(
        "cortex-m0", ARM, _machine("cortex-m0", "-mfloat-abi=soft"),
        prices="cortex-m0plus", unicorn="CORTEX_M0", disassembler_modes=_M, renode="cortex-m0",
        cycles=CycleTable(
            "Arm DDI 0432C, table 3-1", _M0, refill=2, refill_indirect=2, refill_more=_M0_CALLS,
        ),
    ),
    Core(
        "cortex-m0plus", ARM, _machine("cortex-m0plus", "-mfloat-abi=soft"),
        # unicorn has no M0+, which executes the M0's instructions
        unicorn="CORTEX_M0", disassembler_modes=_M, renode="cortex-m0+",
        cycles=CycleTable(
            "Arm DDI 0484C, table 3-1", {**_M0, "system": 3},
            refill=1, refill_indirect=1, refill_more=_M0_CALLS, error=0.001,
        ),
    ),
    Core(
        "cortex-m3", ARM, _machine("cortex-m3", "-mfloat-abi=soft"),
        timers=_DWT,
        unicorn="CORTEX_M3", disassembler_modes=_M, renode="cortex-m3",
        cycles=CycleTable(
            "Arm DDI 0337I, tables 3-1 and 3-2",
            {**_M4, "multiply-add": 2, "multiply-long": 4, "multiply-long-add": 5},
            refill=2, refill_indirect=2, refill_more=_M4_REFILL, pipelined=True,
            unaligned_target=1, address=1, register_offset=1, literal=1, base_update=1, wide_run=1,
            error=0.05,
        ),
    ),
    Core(
        "cortex-m4", ARM, _machine("cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
        isa="dsp", timers=_DWT,
        unicorn="CORTEX_M4", disassembler_modes=_M, renode="cortex-m4f",
        cycles=CycleTable(
            "Arm DDI 0439D, tables 3-1 and 7-1", _M4,
            refill=2, refill_indirect=2, refill_more=_M4_REFILL, pipelined=True,
            unaligned_target=1, address=1, register_offset=1, literal=1, base_update=1, wide_run=1,
            error=0.05,
        ),
    ),
    Core(
        "cortex-m7", ARM, _machine("cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
        isa="dsp", timers=_DWT,
        unicorn="CORTEX_M7", disassembler_modes=_M, renode="cortex-m7",
        code_in_ram=False,  # 0x20000000 is its tightly coupled memory for data
        cycles=CycleTable(
            "approximate: Arm publishes no table; measured by others on STM32H7",
            pipeline=cortex_m7.PIPELINE, error=0.05,
        ),
    ),
    Core(
        "cortex-m33", ARM, _machine("cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
        isa="dsp", timers=_DWT,
        unicorn="CORTEX_M33", disassembler_modes=_V8, renode="cortex-m33",
        cycles=CycleTable(
            "approximate: Arm 100230 has no table; measured by others on RP2350",
            refill=1, refill_indirect=1, pipeline=_M33,
        ),
    ),
    Core(
        "cortex-m55", ARM, _machine("cortex-m55", "-mfloat-abi=hard"),
        isa="helium", timers=_DWT, disassembler_modes=_V8, renode="cortex-m55",
        cycles=CycleTable(
            "approximate: dual-beat vectors as SLOTHY models them; taken branches as a guess",
            refill=1, refill_indirect=1, refill_more={"loop-end": -1},
            pipeline=cortex_m55.PIPELINE, error=0.3,
        ),
    ),
    # Compiled as a Cortex-M55, whose code it executes: GCC knows its name from version 13 on.
    Core(
        "cortex-m85", ARM, _machine("cortex-m55", "-mfloat-abi=hard"),
        isa="helium", prices="cortex-m55", timers=_DWT, disassembler_modes=_V8,
        cycles=CycleTable(
            "approximate: as SLOTHY's cortex_m85r1.py, which has the M55's units; taken branches "
            "as a guess; no emulator has the core",
            refill=1, refill_indirect=1, refill_more={"loop-end": -1},
            pipeline=cortex_m55.PIPELINE,
        ),
    ),
)  # fmt: skip
