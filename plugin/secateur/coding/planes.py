"""Weights as bit planes: binary, and sums of +- a few numbers of each row's own (LQ-Nets)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, register
from .bits import pack_rows, unpack_rows

MOST = 4  #: planes


@dataclass(frozen=True)
class Planes:
    """w = sum over planes of p / 2 where the bit is set, -p / 2 where not.

    bits: uint8 [planes, rows, cols]; p: int64 [rows, planes], descending, 0 for a plane that a row
    does without (its bits are 0).
    """

    bits: np.ndarray
    p: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        """The matrix again, int64 [rows, cols]."""
        signs = 2 * self.bits.astype(np.int64) - 1
        return np.einsum("prc,rp->rc", signs, self.p) // 2


def _basis(sizes: np.ndarray) -> list[int] | None:
    """The numbers p of a row whose |w| are `sizes` (ascending, distinct), fewest first."""
    top = [int(v) for v in sizes[::-1]]
    unit = np.gcd.reduce(sizes) if top[0] else 1
    if len(top) == 1:
        return [2 * top[0]] if top[0] else []
    if len(top) == 2:
        return [top[0] + top[1], top[0] - top[1]]
    odd = sizes // unit
    if np.all(odd % 2 == 1) and odd.max() < 2**MOST:  # an even grid around zero
        return [int(unit) * 2 ** (i + 1) for i in reversed(range(int(odd.max()).bit_length()))]
    a, b, c = top[:3]
    p = sorted((a - b, a - c, b + c), reverse=True)
    return p if set(top) <= {abs(v) for v in _sums(p)} else None


def _sums(p: list[int]) -> np.ndarray:
    signs = 2 * (np.arange(2 ** len(p))[:, None] >> np.arange(len(p)) & 1) - 1
    sums: np.ndarray = signs @ np.array(p, np.int64) // 2
    return sums


def decompose(weight: np.ndarray) -> Planes | None:
    """Planes of an integer matrix [rows, cols], or None where its rows need more than MOST."""
    w = np.asarray(weight, np.int64)
    found = []
    for row in w:
        p = _basis(np.unique(np.abs(row)))
        if p is None:
            return None
        found.append(p)
    count = max(1, max(len(p) for p in found))
    bits = np.zeros((count, *w.shape), np.uint8)
    table = np.zeros((len(w), count), np.int64)
    for i, (row, p) in enumerate(zip(w, found, strict=True)):
        table[i, : len(p)] = p
        sums = _sums(p)
        order = np.argsort(sums, kind="stable")
        code = order[np.searchsorted(sums[order], row)]
        for k in range(len(p)):
            bits[k, i] = code >> k & 1
    return Planes(bits, table)


@register
class BitPlanes(Encoding):
    """Streams "w" (one bit a weight and plane; every plane of every row starts at a byte) and "p"
    (int16, planes a row). Meta "planes".
    """

    name: ClassVar[str] = "planes"
    form: ClassVar[str] = "planes"
    in_place: ClassVar[str] = "planes"

    def applies(self, weight: np.ndarray) -> bool:
        """Every row is a sum of +- at most four numbers of its own."""
        return weight.size > 0 and decompose(weight) is not None

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        found = decompose(w)
        if found is None:
            raise ValueError("not a sum of few planes")
        count = found.p.shape[1]
        data, bits = pack_rows(found.bits.transpose(1, 0, 2).reshape(-1, w.shape[1]), 1)
        table = found.p.astype("<i2").tobytes()
        streams = (
            Stream("w", "value", data, bits),
            Stream("p", "codebook", table, 8 * len(table), "int16_t"),
        )
        return self._encoded(w, streams, planes=count)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        count, rows, cols = encoded.meta["planes"], encoded.rows, encoded.cols
        raw = unpack_rows(encoded.stream("w").data, 1, rows * count, cols, "stream w")
        table = encoded.stream("p").data
        if len(table) != 2 * rows * count:
            raise StreamError(f"stream p has {len(table)} bytes for {rows} rows")
        p = np.frombuffer(table, "<i2").astype(np.int64).reshape(rows, count)
        bits = raw.reshape(rows, count, cols).transpose(1, 0, 2)
        return Planes(bits, p).weights.astype(np.int8)
