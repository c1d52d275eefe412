"""Cortex-M7: two instructions a cycle, if they are no pair that it keeps apart."""

from __future__ import annotations

import re

from .timing import MULTIPLE, Operation, Pipeline


def _apart(first: Operation, second: Operation) -> bool:
    """Pairs that do not issue in one cycle."""
    a, b = first.kind, second.kind
    if a.startswith("multiply") and b.startswith(("multiply", "store")):
        return True
    if a.startswith("store") and b.startswith(("multiply", "store")):
        return True
    if {a, b} & set(MULTIPLE) or "divide" in (a, b):
        return True
    fields = {"bitfield", "dsp"}
    if {a, b} <= fields or (fields & {a, b} and (first.shifted or second.shifted)):
        return True
    if first.shifted and second.shifted:
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


PIPELINE = Pipeline(
    latency={
        "load": (1, 2, 1, 3), "load-part": (2, 3, 1, 4), "load-double": (1, 2, 1, 3),
        "load-multiple": (1, 2, 1, 3), "pop": (1, 2, 1, 3), "bitfield": (1, 1, 1, 2),
        "dsp": (1, 1, 1, 2),
        "multiply": (2, 2, 1, 2), "multiply-add": (2, 2, 1, 2), "multiply-long": (2, 2, 1, 2),
        "multiply-long-add": (2, 2, 1, 2), "divide": (6, 6, 6, 6), "float-divide": (16,) * 4,
    },
    width=2, halves=True, apart=_apart, stores_at_once=True,
)  # fmt: skip
