"""Cortex-M cores. Costs are those of the reference manuals for memory without wait states."""

from __future__ import annotations

from dataclasses import replace

from . import cortex_m7, cortex_m55
from .base import Architecture, Core, TimerKind
from .timing import NONE, CycleTable, Pipeline, Rule, between, latency

ARM = Architecture(
    name="arm", prefix="arm-none-eabi-", linker_script="cortexm.ld", link=("--specs=nano.specs",),
    debug="SWD", disassembler="CS_ARCH_ARM",
)  # fmt: skip

_M = ("CS_MODE_THUMB", "CS_MODE_MCLASS")
_V8 = (*_M, "CS_MODE_V8")
_DWT: tuple[TimerKind, ...] = ("systick", "dwt", "nrf", "none")


def _machine(cpu: str, *more: str) -> tuple[str, ...]:
    return (f"-mcpu={cpu}", "-mthumb", *more)


_M0_TABLE, _M0PLUS_TABLE = "Arm DDI 0432C, table 3-1", "Arm DDI 0484C, table 3-1"
_M3_TABLE, _M3_TIMING = "Arm DDI 0337I, table 3-1", "Arm DDI 0337I, 3-9"
_M4_TABLE, _M4_FLOATS = "Arm 100166 (DDI 0439D), table 3-1", "Arm DDI 0439D, table 7-1"
_JNK0LE = "measured on STM32F103 and F407, github.com/jnk0le/random, cortex_m3m4.md"
_M33 = "measured on RP2350, github.com/jnk0le/random, cortex_m33.md"
_SLOTHY = "measured on RP2350, github.com/slothy-optimizer/slothy, cortex_m33.py"
#: What LLVM takes the M33 for, which has no table of its own.
_AS_M4 = "LLVM schedules the M33 by its model of the M4 (ARMProcessors.td)"
#: P of the manuals' tables: between 1 and 3 cycles.
_REFILL = f"{_M3_TIMING}, and {_M4_TABLE}: 1 to 3; of these "


def _m0(table: str, system: float, taken: float) -> CycleTable:
    """Cortex-M0 and M0+, with the fast one of the two multipliers that the manuals name.

    `taken`: more for a taken branch; calls and returns take a cycle more than others.
    """
    more, called = Rule(taken, table), Rule(taken + 1, table)
    return CycleTable(
        table, Rule(1, table),
        costs={
            "load": Rule(2, table), "store": Rule(2, table), "system": Rule(system, table),
            "multiply": Rule(1, f"{table}: the fast multiplier"),
        },
        refill=more, refill_indirect=more, refills={"call": called, "pop": called},
        multiple=Rule(1, table),
    )  # fmt: skip


def _m3(table: str, costs: dict[str, Rule], measured: str, double: Rule = NONE) -> CycleTable:
    """What Cortex-M3 and M4 have in common. `measured`: what they were compared with."""
    two = Rule(2, f"{_REFILL}2 gives published totals of M4 programs best")
    return CycleTable(
        table, Rule(1, table),
        costs={
            "load": Rule(2, table), "divide": between(2, 12, table),
            "system": between(1, 2, table), "table": Rule(2, f"{table}: 2 + P"), **costs,
        },
        refill=two, refill_indirect=two,
        refills={"call": Rule(1, f"{_REFILL}1 gives published totals of M4 programs best")},
        multiple=Rule(1, f"{table}: 1 + n"),
        pipelined=Rule(1, _M3_TIMING), address=Rule(1, f"{_M3_TIMING}; {_JNK0LE}"),
        register_offset=Rule(1, f"{_M3_TIMING}; {_JNK0LE}"),
        literal=Rule(1, f"{_M3_TIMING}: may add one"),
        base_update=Rule(1, _JNK0LE), wide_run=Rule(1, "measured, compendium.i-0.nl"),
        unaligned_target=Rule(1, _M3_TIMING), double=double,
        error=0.05, error_source=measured,
    )  # fmt: skip


#: A late result for multiplications, DSP and shifted operands, of which sums are forwarded to the
#: next sum.
_LATE = latency(2, f"{_M33}; {_SLOTHY}", addend=1)
_LOADED = latency(2, f"{_M33}; {_SLOTHY}")
_M33_PIPELINE = Pipeline(
    latency={
        "alu": latency(1, f"{_SLOTHY}: 1.00 of nearly every instruction"),
        "load": _LOADED, "load-part": _LOADED, "load-double": _LOADED, "load-multiple": _LOADED,
        "pop": _LOADED,
        "multiply": _LATE, "multiply-add": _LATE, "multiply-long": _LATE,
        "multiply-long-add": _LATE, "dsp": _LATE,
        "divide": latency(between(2, 12, f"{_AS_M4}, whose manual says so ({_M4_TABLE})")),
        "float-divide": latency(14, f"{_AS_M4}: 14"),
        "float-multiply-add": latency(3, f"{_M33}: fpu"),
    },
    because={"blocking": f"{_AS_M4}, which has one unit"},
    blocking=frozenset({"divide"}), shifted=_LATE,
    each=Rule(1, f"{_M33}: load/store multiple"),
)  # fmt: skip
_M33_TAKEN = Rule(
    1, f"2 in all behind what sets flags, else 1: {_M33}; 3 in all: {_SLOTHY}", low=0, high=2
)

_HELIUM_LOOP = Rule(0, "Arm DDI 0553 (Armv8.1-M), low-overhead loops: known from the second turn")
_M55_TAKEN = between(0, 3, f"{cortex_m55.LLVM}: 1 in all if it is foretold, 3 more if not")
_M85 = "LLVM's ARMScheduleM85.td"
_M85_TAKEN = between(
    0, 1, f"measured on RA8D1, github.com/jnk0le/random, cortex_m85.md: 1 in all; {_M85}: 2"
)

CORES = (
    Core(
        "cortex-m0", ARM, _machine("cortex-m0", "-mfloat-abi=soft"),
        prices="cortex-m0plus", unicorn="CORTEX_M0", disassembler_modes=_M, renode="cortex-m0",
        cycles=_m0(_M0_TABLE, system=4, taken=2),
    ),
    Core(
        "cortex-m0plus", ARM, _machine("cortex-m0plus", "-mfloat-abi=soft"),
        # unicorn has no M0+, which executes the M0's instructions
        unicorn="CORTEX_M0", disassembler_modes=_M, renode="cortex-m0+", alike=(1.045, 1.03),
        cycles=replace(
            _m0(_M0PLUS_TABLE, system=3, taken=1), error=0.001,
            error_source="X25519 of 2.7 million instructions on a SAMD20 (pornin/x25519-cm0): "
            "0.0004% off when tried with this table elsewhere; the functions we tried are exact",
        ),
    ),
    Core(
        "cortex-m3", ARM, _machine("cortex-m3", "-mfloat-abi=soft"),
        timers=_DWT,
        unicorn="CORTEX_M3", disassembler_modes=_M, renode="cortex-m3",
        cycles=_m3(
            _M3_TABLE,
            {
                "multiply-add": Rule(2, _M3_TABLE), "multiply-long": between(3, 5, _M3_TABLE),
                "multiply-long-add": between(4, 7, _M3_TABLE),
            },
            "programs in assembly are at most 3.1% off; in C, tried elsewhere with an older "
            "table, more",
        ),
    ),
    Core(
        "cortex-m4", ARM, _machine("cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"),
        isa="dsp", timers=_DWT,
        unicorn="CORTEX_M4", disassembler_modes=_M, renode="cortex-m4f",
        cycles=_m3(
            _M4_TABLE,
            {
                "float-divide": Rule(14, _M4_FLOATS), "float-multiply-add": Rule(3, _M4_FLOATS),
                "store-float": Rule(2, _M4_FLOATS),
            },
            "programs in assembly are at most 1.6% off; in C, tried elsewhere with an older "
            "table, more",
            double=Rule(1, f"{_M4_FLOATS}: vldr, vstr of two words"),
        ),
    ),
    Core(
        "cortex-m7", ARM, _machine("cortex-m7", "-mfpu=fpv5-d16", "-mfloat-abi=hard"),
        isa="dsp", timers=_DWT,
        unicorn="CORTEX_M7", disassembler_modes=_M, renode="cortex-m7",
        code_in_ram=False,  # 0x20000000 is its tightly coupled memory for data
        cycles=CycleTable(
            "measured by others on STM32H7 (Arm publishes no table)",
            other=cortex_m7.PIPELINE.latency["alu"][0],
            refill=Rule(0, f"{cortex_m7.JNK0LE}: branching, if it is foretold"),
            refill_indirect=Rule(0, f"{cortex_m7.JNK0LE}: branching, if it is foretold"),
            pipeline=cortex_m7.PIPELINE, error=0.05,
            error_source="Keccak-f[1600] in three codes (slothy-optimizer/slothy, pull request "
            "140): -0.1, -1.5, +0.4%; they hardly branch, so more is taken",
        ),
    ),
    Core(
        "cortex-m33", ARM, _machine("cortex-m33", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"),
        isa="dsp", timers=_DWT,
        unicorn="CORTEX_M33", disassembler_modes=_V8, renode="cortex-m33",
        cycles=CycleTable(
            "measured by others on RP2350 (Arm 100230 has no table)",
            other=_M33_PIPELINE.latency["alu"][0],
            refill=_M33_TAKEN, refill_indirect=_M33_TAKEN, pipeline=_M33_PIPELINE,
        ),
    ),
    Core(
        "cortex-m55", ARM, _machine("cortex-m55", "-mfloat-abi=hard"),
        isa="helium", timers=_DWT, disassembler_modes=_V8, renode="cortex-m55", alike=(1.05, 1.05),
        cycles=CycleTable(
            "SLOTHY's and LLVM's models of the core, approximate",
            other=cortex_m55.PIPELINE.latency["alu"][0],
            refill=_M55_TAKEN, refill_indirect=_M55_TAKEN, refills={"loop-end": _HELIUM_LOOP},
            pipeline=cortex_m55.PIPELINE,
        ),
    ),
    # Compiled as a Cortex-M55, whose code it executes: GCC knows its name from version 13 on.
    Core(
        "cortex-m85", ARM, _machine("cortex-m55", "-mfloat-abi=hard"),
        isa="helium", prices="cortex-m55", timers=_DWT, disassembler_modes=_V8,
        cycles=CycleTable(
            "SLOTHY's model of it, with the M55's units, approximate; no emulator has the core",
            other=cortex_m55.PIPELINE.latency["alu"][0],
            refill=_M85_TAKEN, refill_indirect=_M85_TAKEN, refills={"loop-end": _HELIUM_LOOP},
            pipeline=replace(
                cortex_m55.PIPELINE,
                latency={
                    **cortex_m55.PIPELINE.latency,
                    "divide": latency(7, f"{_M85}: WriteDIV"),
                    "float-divide": latency(14, f"{_M85}: WriteFPDIV32"),
                },
                because={"blocking": f"{_M85}: M85UnitDiv is one"},
            ),
        ),
    ),
)  # fmt: skip
