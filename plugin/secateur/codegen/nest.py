"""Loops over tensors as C: counters, and the element of each operand they have come to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..lowering.strided import Loop


@dataclass(frozen=True)
class CLoop:
    """A loop with its C variable."""

    counter: str
    count: int
    steps: tuple[int, ...]


def c_loops(loops: Sequence[Loop], prefix: str = "i") -> list[CLoop]:
    """`loops` with counters PREFIX0, PREFIX1 ..."""
    return [CLoop(f"{prefix}{i}", loop.count, loop.steps) for i, loop in enumerate(loops)]


def element(loops: Sequence[CLoop], k: int, start: int = 0) -> str:
    """C expression of operand k's element that `loops` have come to, from `start` on."""
    terms = [str(start)] if start else []
    text = "".join(terms)
    for loop in loops:
        step = loop.steps[k]
        if not step:
            continue
        size = f"{loop.counter} * {abs(step)}" if abs(step) != 1 else loop.counter
        if not text:
            text = size if step > 0 else f"-{size}"
        else:
            text += f" {'+' if step > 0 else '-'} {size}"
    return text or "0"
