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


@dataclass
class QLogSoftmax(QOp):
    """u = clamp((offset - (max - x) * step - ((L * unit) >> 16)) >> shift) along rows.

    L = log2(sum of the softmax's exponentials) - 16 in units of 2^-16: see log2_16.
    """

    beta: int
    step_size: int
    unit: int
    offset: int
    shift: int
    length: int
    stride: int
    step: int
    kind: ClassVar[str] = "log_softmax"


def log2_16(s: np.ndarray) -> np.ndarray:
    """log2 of uint64 values 1..2^32 - 1 in units of 2^-16, floor, bit by bit: int64."""
    s = s.astype(np.uint64)
    n = np.zeros(s.shape, np.int64)
    for bit in (16, 8, 4, 2, 1):
        n = np.where((s >> (n + bit).astype(np.uint64)) > 0, n + bit, n)
    x = (s << (np.uint64(31) - n.astype(np.uint64))).astype(np.uint64)  # 1 <= x / 2^31 < 2
    out = n << 16
    for bit in range(15, -1, -1):
        x = (x * x) >> np.uint64(31)
        over = x >= np.uint64(1 << 32)
        out = np.where(over, out + (1 << bit), out)
        x = np.where(over, x >> np.uint64(1), x)
    return out


@executes(QLogSoftmax)
def _log_rows(qgraph: QGraph, op: QLogSoftmax, inputs: list[np.ndarray]) -> np.ndarray:
    u = inputs[0].reshape(len(inputs[0]), -1, op.length, op.stride)
    total = exponentials(u, op.beta, 2).sum(axis=2, keepdims=True)
    log = log2_16(total) - (16 << 16)
    d = u.max(axis=2, keepdims=True).astype(np.int64) - u
    v = op.offset - d * op.step_size - ((log * op.unit) >> 16)
    return np.clip(v >> op.shift, 0, 255).astype(np.uint8)
