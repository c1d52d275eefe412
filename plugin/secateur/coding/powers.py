"""Weights that are powers of two, or powers of two times one of two odd numbers.

The magnitudes of a layer form *chains*: odd << low, ... odd << high. Powers of two are one chain
with odd = 1; steps of the square root of two, 12 * 2^p and 17 * 2^p, are two. A kernel sums the
inputs of each magnitude and walks down a chain by doubling, so no weight is multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, is_ternary, register
from .bits import pack_rows, unpack_rows
from .positions import column_stream, count_stream, read_positions

MOST_CHAINS = 2


@dataclass(frozen=True)
class ShiftChain:
    """Magnitudes odd << p, p = low..high; `odd` is 1 or has two bits set."""

    odd: int
    low: int
    high: int

    @property
    def magnitudes(self) -> list[int]:
        """The largest first."""
        return [self.odd << p for p in range(self.high, self.low - 1, -1)]


def chains(weight: np.ndarray) -> tuple[ShiftChain, ...]:
    """The chains of an int8 matrix, least odd part first; () where it has no such form.

    Ternary weights are left to ternary kernels, and so have none.
    """
    if is_ternary(weight):
        return ()
    exponents: dict[int, list[int]] = {}
    for m in np.unique(np.abs(weight.astype(np.int64))).tolist():
        if m:
            p = (m & -m).bit_length() - 1
            exponents.setdefault(m >> p, []).append(p)
    if len(exponents) > MOST_CHAINS or any(odd.bit_count() > 2 for odd in exponents):
        return ()
    return tuple(ShiftChain(odd, min(ps), max(ps)) for odd, ps in sorted(exponents.items()))


def magnitudes(found: tuple[ShiftChain, ...]) -> list[int]:
    """All magnitudes, chain by chain, each chain's largest first."""
    return [m for chain in found for m in chain.magnitudes]


def _chain_meta(found: tuple[ShiftChain, ...]) -> dict[str, int]:
    out = {"chains": len(found)}
    for i, c in enumerate(found):
        out |= {f"odd{i}": c.odd, f"low{i}": c.low, f"high{i}": c.high}
    return out


def chains_of(encoded: Encoded) -> tuple[ShiftChain, ...]:
    """The chains an encoded layer was stored with."""
    m = encoded.meta
    return tuple(ShiftChain(m[f"odd{i}"], m[f"low{i}"], m[f"high{i}"]) for i in range(m["chains"]))


class _Powers(Encoding):
    def applies(self, weight: np.ndarray) -> bool:
        """Not ternary, and of the form above."""
        return bool(chains(weight))

    def _checked(self, weight: np.ndarray) -> tuple[np.ndarray, tuple[ShiftChain, ...]]:
        w = as_matrix(weight)
        found = chains(w)
        if not found:
            raise ValueError("the weights are not powers of two")
        return w, found


@register
class Shift(_Powers):
    """Streams "n" (counts) and "c" (columns): by row and magnitude the negative, then the positive.

    Magnitudes in the order of `magnitudes`. Meta: "chains", and "odd", "low", "high" of each.
    """

    name: ClassVar[str] = "shift"
    form: ClassVar[str] = "shift"
    in_place: ClassVar[str] = "shift"

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w, found = self._checked(weight)
        signed = [s * m for m in magnitudes(found) for s in (-1, 1)]
        lists = np.stack([w == v for v in signed], axis=1)  # [rows, 2 * magnitudes, cols]
        streams = (
            count_stream(lists.sum(axis=2).ravel()),
            column_stream(np.nonzero(lists)[2], w.shape[1]),
        )
        return self._encoded(w, streams, **_chain_meta(found))

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        each = np.repeat(magnitudes(chains_of(encoded)), 2) * np.tile([-1, 1], self._size(encoded))
        rows, which, cols = read_positions(encoded, lists=each.size)
        out = np.zeros((encoded.rows, encoded.cols), np.int8)
        out[rows, cols] = each[which]
        if np.count_nonzero(out) != cols.size:
            raise StreamError("a column is in two lists of its row")
        return out

    @staticmethod
    def _size(encoded: Encoded) -> int:
        return len(magnitudes(chains_of(encoded)))


@register
class PowerCodes(_Powers):
    """Streams "w" (a code of "width" bits a weight, rows start at a byte), "b" (magnitudes, int8).

    A code is rank << 1 | negative, rank 0 for zero, else 1 for the first of the magnitudes, which
    lie chain by chain, each ascending: for powers of two, sign and exponent.
    Meta: "width", and the chains as in `shift`.
    """

    name: ClassVar[str] = "power_codes"
    form: ClassVar[str] = "sparse"
    in_place: ClassVar[str] = "power_codes"
    decoder: ClassVar[str | None] = "sc_power_codes.h"
    family: ClassVar[str] = "power"
    c_name: ClassVar[str] = "power_codes"

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w, found = self._checked(weight)
        book = self._book(found)
        rank = np.zeros(128, np.int64)
        rank[book] = np.arange(1, book.size + 1)
        codes = rank[np.abs(w.astype(np.int64))] << 1 | (w < 0)
        width = (2 * book.size + 1).bit_length()
        data, bits = pack_rows(codes, width)
        streams = (
            Stream("w", "value", data, bits),
            Stream("b", "codebook", book.astype(np.int8).tobytes(), 8 * book.size, "int8_t"),
        )
        return self._encoded(w, streams, width=width, **_chain_meta(found))

    @staticmethod
    def _book(found: tuple[ShiftChain, ...]) -> np.ndarray:
        return np.concatenate([c.magnitudes[::-1] for c in found])

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        width = encoded.meta["width"]
        codes = unpack_rows(encoded.stream("w").data, width, encoded.rows, encoded.cols, "stream w")
        book = np.frombuffer(encoded.stream("b").data, np.int8).astype(np.int64)
        rank = codes >> 1
        if rank.max(initial=0) > book.size or np.any(codes == 1):
            raise StreamError("a code that stands for no weight")
        values = np.append(0, book)[rank] * (1 - 2 * (codes & 1))
        return values.astype(np.int8)

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        size, rows = float(encoded.rows * encoded.cols), float(encoded.rows)
        return {"weights": size, "nonzeros": float(encoded.meta["nnz"]), "rows": rows}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        return (
            f"{{.data = {arrays['w']}, .size = {len(encoded.stream('w').data)}, "
            f".book = {arrays['b']}, .cols = {encoded.cols}, .width = {encoded.meta['width']}, "
            f".levels = {len(encoded.stream('b').data)}}}"
        )

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 20
