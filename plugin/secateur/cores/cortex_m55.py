"""Cortex-M55: one instruction a cycle; a vector keeps its unit for two, those of two overlap."""

from __future__ import annotations

from .timing import Pipeline, Rule, between, latency

SLOTHY = "SLOTHY's model (github.com/slothy-optimizer/slothy, cortex_m55r1.py)"
LLVM = "LLVM's ARMScheduleM55.td"

#: Two beats of 64 bits: 128 bits keep a unit for two cycles.
_BEATS = Rule(2, f"{SLOTHY}: inverse throughput; {LLVM}: two beats of 64 bits")
_PRODUCT = latency(2, f"{LLVM}: CX")

PIPELINE = Pipeline(
    latency={
        "alu": latency(1, f"{SLOTHY}; {LLVM}: DX"),
        "load": latency(Rule(1, f"{SLOTHY}: 1; {LLVM}: 2", 1, 2)),
        "load-part": latency(2, f"{LLVM}: CX"), "load-double": latency(2, SLOTHY),
        "multiply": _PRODUCT, "multiply-add": _PRODUCT, "multiply-long": _PRODUCT,
        "multiply-long-add": _PRODUCT,
        "divide": latency(between(
            2, 12, f"{LLVM}: 2 or more, and much like the M4, whose manual says 2 to 12 (Arm "
            "100166, table 3-1)",
        )),
        "float-divide": latency(16, f"{LLVM}: WriteFPDIV32"),
        "vector-multiply": latency(2, SLOTHY), "vector-float": latency(2, SLOTHY),
        # sums over lanes come in a register; the next of its kind goes on with it
        "vector-multiply-sum": latency(3, SLOTHY, addend=2),
    },
    because={"blocking": f"{LLVM}: M55UnitALU is one"},
    blocking=frozenset({"divide"}),
    each=between(
        0.5, 1, f"{SLOTHY}: ldrd and strd move two registers in a cycle; {LLVM}: much like the "
        "M33, which moves one (github.com/jnk0le/random, measured)",
    ),
    pair=Rule(1, f"{SLOTHY}: inverse throughput of ldrd and strd"),
    shifted=latency(2, f"{LLVM}: WriteALUsi"),
    units={
        "vector-load": ("load", _BEATS), "vector-store": ("store", _BEATS),
        "vector-integer": ("integer", _BEATS), "vector-multiply": ("multiply", _BEATS),
        "vector-multiply-sum": ("multiply", _BEATS), "vector-float": ("float", _BEATS),
    },
)  # fmt: skip
