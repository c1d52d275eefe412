"""Softmax along any axis: docs/integer-spec.md, "Softmax"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.lowering.qgraph import QGraph, QOp
from secateur.lowering.registry import executes


@dataclass
class QSoftmaxRows(QOp):
    """A softmax over each row of `length` elements that lie `stride` apart; see rows_along."""

    beta: int
    length: int
    stride: int
    step: int
    kind: ClassVar[str] = "softmax_rows"


def exponentials(u: np.ndarray, beta: int, axis: int) -> np.ndarray:
    """uint64: 2**((u - max) * beta / 2**16) * 2**16 by a parabola, as the specification says."""
    u = u.astype(np.uint64)
    t = (u.max(axis=axis, keepdims=True) - u) * np.uint64(beta)
    n, x = t >> np.uint64(16), t & np.uint64(65535)
    sixteen = np.uint64(16)
    p = np.uint64(65536) - ((np.uint64(44012) * x) >> sixteen)
    p = p + ((((x * x) >> sixteen) * np.uint64(11244)) >> sixteen)
    return np.where(n > sixteen, np.uint64(0), p >> np.minimum(n, np.uint64(63)))


def shares(u: np.ndarray, beta: int, axis: int) -> np.ndarray:
    """uint8 codes of scale 1/256: each element's share of the exponentials along an axis."""
    e = exponentials(u, beta, axis)
    s = e.sum(axis=axis, keepdims=True)
    return np.minimum((e * np.uint64(256) + s // np.uint64(2)) // s, np.uint64(255)).astype(
        np.uint8
    )


@executes(QSoftmaxRows)
def _rows(qgraph: QGraph, op: QSoftmaxRows, inputs: list[np.ndarray]) -> np.ndarray:
    u = inputs[0].reshape(len(inputs[0]), -1, op.length, op.stride)
    return shares(u, op.beta, 2)
