"""What the kernels on bit planes share: weights as words, thresholds in units of their counts.

With weight planes p_i (coding.planes: w = sum of +-p_i / 2) and input planes q_k, an accumulator is

    acc = sum over i, k of p_i q_k / 2 (X_ik - n_i),   X_ik = popcount(~b_i ^ c_k)

with n_i the number of zeros in b_i: a product of a sign and a bit needs no correction by the
input's own count. Kernels compute Y = sum of p_i q_k X_ik and compare or requantize that. Where a
channel's value falls as the accumulator rises, b_i is stored in place of ~b_i, and Y falls instead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...coding.planes import Planes, decompose
from ...lowering.qgraph import QConv, QDense, QTensor, Thresholds

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
    def plain(self) -> bool:
        """One count and one threshold: Y is a multiple of the count."""
        return self.pairs == 1 and self.steps.shape[1] == 1

    def count_steps(self) -> np.ndarray:
        """Thresholds on X itself where `plain`, int64 [rows], 0 (always) .. cols + 1 (never)."""
        unit = self.p[:, 0] * self.q[0]
        steps = -(-self.steps[:, 0] // np.maximum(unit, 1))
        never = self.bits.shape[2] + 1
        idle = np.where(self.steps[:, 0] <= 0, 0, never)  # a row of zeros
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


def shared(table: Planes | Counted) -> list[int] | None:
    """The p of every row, if they are all alike."""
    rows = table.p
    return [int(v) for v in rows[0]] if np.all(rows == rows[0]) else None
