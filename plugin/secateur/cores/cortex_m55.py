"""Cortex-M55: one instruction a cycle; a vector takes its unit two, so those of two units overlap.

Figures are those of SLOTHY's model (github.com/slothy-optimizer/slothy, cortex_m55r1.py), whose
authors drew them from Arm's software optimization guide; nobody has compared ours with a device.
"""

from __future__ import annotations

from .timing import Pipeline, latency

#: Two beats of 32 bits a cycle: 128 bits keep a unit for two cycles.
_TICKS = 2

PIPELINE = Pipeline(
    latency={
        "load-part": latency(2), "load-double": latency(2),
        "multiply": latency(2), "multiply-add": latency(2), "multiply-long": latency(2),
        "multiply-long-add": latency(2), "divide": latency(6), "float-divide": latency(14),
        "vector-multiply": latency(2), "vector-float": latency(2),
        # sums over lanes come in a register; the next of its kind goes on with it
        "vector-multiply-sum": latency(3, addend=_TICKS),
    },
    blocking=frozenset({"divide"}), halves=True, shifted=latency(2),
    units={
        "vector-load": ("load", _TICKS), "vector-store": ("store", _TICKS),
        "vector-integer": ("integer", _TICKS), "vector-multiply": ("multiply", _TICKS),
        "vector-multiply-sum": ("multiply", _TICKS), "vector-float": ("float", _TICKS),
    },
)  # fmt: skip
