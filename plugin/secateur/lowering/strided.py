"""Loops over stored tensors: counts and steps, the way kernels and the reference walk them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from secateur.lowering.lowerer import stored_shape


@dataclass(frozen=True)
class Loop:
    """`count` turns, each of which moves on by steps[k] elements in operand k."""

    count: int
    steps: tuple[int, ...]


Loops = tuple[Loop, ...]


def strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Elements from one index to the next, for each axis of a float shape, as stored."""
    stored = stored_shape(shape)
    steps = [int(np.prod(stored[i + 1 :])) for i in range(len(stored))]
    return (*steps[1:], steps[0])


def broadcast_strides(shape: tuple[int, ...], out: tuple[int, ...]) -> tuple[int, ...]:
    """The same of an operand, for each axis of what it is broadcast to (0 where it repeats)."""
    shape = (1,) * (len(out) - len(shape)) + shape
    return tuple(0 if n == 1 else s for n, s in zip(shape, strides(shape), strict=True))


def order(rank: int) -> list[int]:
    """Axes of a float shape as they lie, slowest first."""
    return [rank - 1, *range(rank - 1)]


def merged(loops: Sequence[Loop]) -> Loops:
    """Fewer loops, outermost first, of the same walk."""
    out: list[Loop] = []
    for loop in loops:
        if loop.count == 1:
            continue
        if out and all(a == loop.count * b for a, b in zip(out[-1].steps, loop.steps, strict=True)):
            out[-1] = Loop(out[-1].count * loop.count, loop.steps)
        else:
            out.append(loop)
    return tuple(out)


def walk(loops: Loops, k: int) -> np.ndarray:
    """Element of operand k at every turn, in order, int64 [turns]."""
    at = np.zeros(1, np.int64)
    for loop in loops:
        at = (at[:, None] + np.arange(loop.count) * loop.steps[k]).reshape(-1)
    return at


def over(axes: Sequence[int], shape: tuple[int, ...], operands: Sequence[tuple[int, ...]]) -> Loops:
    """Loops over some axes of a float shape, as it lies; operands: strides for each axis."""
    return merged(
        [Loop(shape[a], tuple(s[a] for s in operands)) for a in order(len(shape)) if a in axes]
    )
