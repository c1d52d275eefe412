"""What the kernels on bit planes share: weights as words, thresholds in units of their counts.

With weight planes p_i (coding.planes: w = sum of +-p_i / 2) and input planes q_k, an accumulator is

    acc = sum over i, k of p_i q_k / 2 (X_ik - n_i),   X_ik = popcount(~b_i ^ c_k)

with n_i the number of zeros in b_i: a product of a sign and a bit needs no correction by the
input's own count. Kernels compute Y = sum of p_i q_k X_ik and compare or requantize that. Where a
channel's value falls as the accumulator rises, b_i is stored in place of ~b_i, and Y falls instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...coding.planes import decompose
from ...lowering.qgraph import QConv, QDense, QTensor, Thresholds
from ..emit import CArray
from .base import Layer

SPREAD = 8  #: levels of a count that one word of four lanes takes


@dataclass(frozen=True)
class Counted:
    """A layer's numbers. `bits` is what is XORed, uint8 [planes, rows, cols]."""

    bits: np.ndarray
    p: np.ndarray  #: int64 [rows, planes]
    q: tuple[int, ...]
    zero: np.ndarray  #: int64 [rows]: Y where acc is 0 (requantized layers)
    steps: np.ndarray  #: int64 [rows, thresholds] on Y, ascending; [rows, 0] if requantized

    @property
    def pairs(self) -> int:
        """Pairs of a weight and an input plane."""
        return len(self.bits) * len(self.q)

    @property
    def doubling(self) -> tuple[bool, bool] | None:
        """Whether each weight plane, and each input plane, counts twice the one after (before) it;
        None unless all do or all count the same. Then Y is `unit` times a sum of shifted counts.
        """
        n, k = len(self.bits), len(self.q)
        full = self.p[self.p[:, 0] > 0]
        halves = full * 2 ** np.arange(n) == full[:, :1]
        alike = full == full[:, :1]
        even = all(q == self.q[0] << i for i, q in enumerate(self.q))
        if not even or not (halves.all() or alike.all()):
            return None
        return bool(n > 1 and halves.all()), k > 1

    def shifts(self) -> np.ndarray:
        """Shift of each pair's count in that sum, int [planes, inputs]."""
        assert self.doubling is not None
        weights, inputs = self.doubling
        n, k = len(self.bits), len(self.q)
        return (np.arange(n)[::-1] * weights)[:, None] + (np.arange(k) * inputs)[None, :]

    @property
    def sliced(self) -> bool:
        """Whether thresholds are taken on a sum of counts without ever leaving bit slices."""
        return self.steps.shape[1] > 0 and self.doubling is not None

    @property
    def most(self) -> int:
        """The largest sum of shifted counts."""
        return int((self.bits.shape[2] << self.shifts()).sum())

    def count_steps(self) -> np.ndarray:
        """Thresholds on the sum of shifted counts, int64 like steps: 0 (always) .. most + 1."""
        unit = self.p[:, -1:] * self.q[0]
        never = self.most + 1
        steps = -(-self.steps // np.maximum(unit, 1))
        idle = np.where(self.steps <= 0, 0, never)  # a row of zeros
        return np.clip(np.where(unit > 0, steps, idle), 0, never)


def counted(op: QConv | QDense, x: QTensor) -> Counted:
    """The numbers of `op` on the low-bit tensor `x`."""
    found = decompose(op.weight.reshape(len(op.weight), -1))
    assert found is not None
    r = op.requant
    total = found.p * sum(x.planes)  # [rows, planes]
    ones = found.bits.sum(axis=2, dtype=np.int64).T
    cols = found.bits.shape[2]
    zero = (total * (cols - ones)).sum(axis=1)
    if not isinstance(r, Thresholds):
        return Counted(1 - found.bits, found.p, x.planes, zero, np.zeros((len(zero), 0), np.int64))
    values, falls = r.values.astype(np.int64), r.flip != 0
    # acc >= T: Y >= 2 T + zero; acc <= ~T with b stored: acc = sum of p q / 2 (ones - X)
    up = 2 * values + zero[:, None]
    down = 2 * values + 2 + (total * ones).sum(axis=1)[:, None]
    bits = np.where(falls[None, :, None], found.bits, 1 - found.bits)
    return Counted(bits, found.p, x.planes, zero, np.where(falls[:, None], down, up))


def words(bits: np.ndarray) -> np.ndarray:
    """uint8 bits [..., n] as uint32 [..., ceil(n / 32)], the first in the lowest bit."""
    n = bits.shape[-1]
    pad = [(0, 0)] * (bits.ndim - 1) + [(0, -n % 32)]
    packed = np.packbits(np.pad(bits, pad), axis=-1, bitorder="little")
    return np.ascontiguousarray(packed).view("<u4")


def toggles(planes: tuple[int, ...]) -> list[list[int]]:
    """For each plane the thresholds at whose passing its bit changes, codes taken in order."""
    sums = [(sum(q for k, q in enumerate(planes) if i >> k & 1), i)
            for i in range(2 ** len(planes))]  # fmt: skip
    order = [i for _, i in sorted(sums)]
    return [
        [t for t in range(len(order) - 1) if (order[t] ^ order[t + 1]) >> k & 1]
        for k in range(len(planes))
    ]


def plane_array(layer: Layer[Any], c: Counted, rows: np.ndarray) -> CArray:
    """The weights' bits as the array PREFIX_b."""
    planes = f"{len(c.bits)} bit plane{'s' if len(c.bits) > 1 else ''}"
    return CArray(f"{layer.prefix}_b", "uint32_t", rows, f"{layer.op.name}: {planes} a row")


def step_array(prefix: str, values: np.ndarray, comment: str) -> CArray:
    """Numbers on counts as the array PREFIX_t."""
    narrow = np.abs(values).max(initial=0) <= 32767
    return CArray(f"{prefix}_t", "int16_t" if narrow else "int32_t", values, comment)


@dataclass(frozen=True)
class CountSteps:
    """What each row's Y is compared with, or its value where acc is 0."""

    array: CArray
    planes: list[int] | None  #: p of all rows; None where they differ and come first in a row
    thresholds: int  #: of a row; 0: Y is requantized

    @classmethod
    def of(cls, c: Counted, prefix: str, what: str) -> CountSteps:
        """Of a layer's numbers; what: a row's name in the comment."""
        same = bool(np.all(c.p == c.p[0]))
        thresholds = c.steps.shape[1]
        values = [] if same else [c.p]
        values.append(c.steps if thresholds else c.zero[:, None])
        note = ("" if same else "planes, ") + ("thresholds" if thresholds else "count of 0")
        array = step_array(prefix, np.concatenate(values, axis=1), f"per {what}: {note}")
        return cls(array, [int(v) for v in c.p[0]] if same else None, thresholds)
