"""Cortex-M7: two instructions a cycle, if they are no pair that it keeps apart."""

from __future__ import annotations

import re

from .timing import MULTIPLE, Operation, Pipeline, Rule, between, latency

QUINAPALUS = "measured on STM32H730, quinapalus.com/cm7cycles.html"
JNK0LE = "measured on STM32H743, github.com/jnk0le/random, cortex_m7.md"


def _apart(first: Operation, second: Operation) -> bool:
    """Pairs that do not issue in one cycle."""
    a, b = first.kind, second.kind
    if a.startswith("multiply") and b.startswith(("multiply", "store")):
        return True
    if a.startswith("store") and b.startswith(("multiply", "store")):
        return True
    if {a, b} & set(MULTIPLE) or "divide" in (a, b):
        return True
    if b in ("bitfield", "dsp"):  # they go first
        return True
    if second.shifted and (first.shifted or first.early == "shift" or a in ("bitfield", "dsp")):
        return True
    return a.startswith("load") and b.startswith("load") and not _other_bank(first, second)


def _other_bank(first: Operation, second: Operation) -> bool:
    """Whether two loads go to an even and an odd word: the same base, offsets that tell."""
    found = [re.fullmatch(r"(\w+)(?:, #(-?(?:0x)?[0-9a-f]+))?", op.address)
             for op in (first, second)]  # fmt: skip
    if not found[0] or not found[1] or found[0][1] != found[1][1]:
        return False
    offsets = [int(f[2] or "0", 0) for f in found if f]
    return (offsets[0] // 4 + offsets[1] // 4) % 2 == 1


#: A second ALU stands behind a first one. What the second computes cannot be shifted, or address
#: memory, in the next cycle; what the first one does, the second can read in the same cycle.
_WORD = latency(1, f"{JNK0LE}: loads", factor=2, address=3, shifted=2, beside=2)
_PRODUCT = latency(2, f"{JNK0LE}: multiplication, MAC", addend=1, address=3, shifted=3)
_LATE = latency(1, f"{JNK0LE}: early and late ALU", addend=0, address=2, shifted=2)
_EARLY = f"{JNK0LE}: early ALU"

PIPELINE = Pipeline(
    latency={
        "alu": _LATE, "bitfield": _LATE, "dsp": _LATE,
        "load": _WORD, "load-double": _WORD, "load-multiple": _WORD, "pop": _WORD,
        "load-part": latency(2, f"{JNK0LE}: loads", factor=3, addend=1, address=4, shifted=3),
        "multiply": _PRODUCT, "multiply-add": _PRODUCT, "multiply-long": _PRODUCT,
        "multiply-long-add": _PRODUCT,
        "divide": latency(between(
            4, 7, "GCC's cortex-m7.md: 4, all units; LLVM's ARMScheduleM7.td: 7, nothing beside it",
        )),
        "float-divide": latency(16, f"{JNK0LE}: vdiv.f; vsqrt.f takes 14"),
    },
    because={
        "width": f"two additions in a cycle, {QUINAPALUS}",
        "apart": f"{QUINAPALUS}; {JNK0LE}; a division: LLVM's ARMScheduleM7.td",
        "stores_at_once": f"{JNK0LE}: stores",
    },
    width=2, apart=_apart, stores_at_once=True,
    each=Rule(0.5, f"{JNK0LE}: load/store pair/multiple, half of the registers, rounded up"),
    early={
        "sum": latency(0, _EARLY, address=1, shifted=1),
        "shift": latency(0, _EARLY, address=1, shifted=1),
        "field": latency(0, _EARLY, address=2, shifted=2),
    },
)  # fmt: skip
