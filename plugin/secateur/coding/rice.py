"""Golomb-Rice codes (S. W. Golomb, 1966; R. F. Rice, 1979) for the gaps between ternary weights.

The gaps between randomly placed non-zeros follow a geometric distribution, for which these codes
come within a few hundredths of a bit of the entropy and need neither table nor multiplication: a
gap is its upper bits in unary (so many zeros, then a one) and its lowest "k" bits as they are.
Sixteen zeros are a code of their own, which only moves on by 16 * 2**k: no code is longer than what
is left of a 32-bit word that begins anywhere in its first byte.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, is_ternary, register
from .bits import pack
from .gaps import split

#: Zeros that stand for themselves; most low bits behind fewer zeros and a one (25 bits in all).
FILLER, MOST_BITS = 16, 9
#: Bytes behind the last code, so that it, too, can be read as a word.
_PADDING = 3


def _lists(weight: np.ndarray) -> np.ndarray:
    """Every row as two lists, its -1s and its +1s: bool [2 * rows, cols]."""
    return np.stack([weight < 0, weight > 0], axis=1).reshape(-1, weight.shape[1])


def _gaps(weight: np.ndarray) -> np.ndarray:
    """Zeros before each entry of the lists, which follow each other, and behind the last."""
    flat = _lists(weight).ravel()
    return np.diff(np.append(np.flatnonzero(flat), flat.size), prepend=-1) - 1


def _pack(gaps: np.ndarray, k: int) -> tuple[bytes, int]:
    """Rice codes of the gaps, padded, and their length in bits."""
    zeros, last = split(gaps >> k, FILLER)
    codes, widths = np.zeros_like(zeros), zeros.copy()
    codes[last] = (1 | (gaps & ((1 << k) - 1)) << 1) << zeros[last]
    widths[last] += 1 + k
    data, bits = pack(codes, widths)
    return data + bytes(_PADDING), bits


@register
class RiceTernary(Encoding):
    """Stream "g": gaps in a row's list of -1 columns, then in its list of +1 columns, row by row.

    Gaps run on from list to list, so nothing marks a list's end; the last gap ends with the last
    list. Meta: "k" (low bits of a code).
    """

    name: ClassVar[str] = "rice_ternary"
    form: ClassVar[str] = "ternary"
    decoder: ClassVar[str | None] = "sc_rice.h"
    c_name: ClassVar[str] = "rice_ternary"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1."""
        return is_ternary(weight)

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        if not self.applies(w):
            raise ValueError(f"{self.name} does not hold this matrix")
        gaps = _gaps(w)
        k = min(range(MOST_BITS + 1), key=lambda k: int((gaps >> k).sum()) + (1 + k) * gaps.size)
        return self._encoded(w, (Stream("g", "gap", *_pack(gaps, k)),), k=k)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        data, k = encoded.stream("g").data, encoded.meta["k"]
        bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
        ones = np.flatnonzero(bits)
        weights = 1 << np.arange(k)
        flat = np.zeros(2 * encoded.rows * encoded.cols, bool)
        at, position, left = 0, 0, encoded.meta["nnz"]
        for _ in range(left + 1):
            end = np.searchsorted(ones, at)
            stop = int(ones[end]) if end < ones.size else bits.size
            if stop + k >= bits.size:
                raise StreamError(f"stream g is truncated at bit {at} of {bits.size}")
            position += ((stop - at) << k) + int(bits[stop + 1 : stop + 1 + k] @ weights)
            at = stop + 1 + k
            if position >= flat.size:
                break
            flat[position] = True
            position += 1
        if position != flat.size or int(flat.sum()) != left:
            raise StreamError(f"stream g does not end with the layer's {left} non-zeros")
        lists = flat.reshape(encoded.rows, 2, encoded.cols)
        return lists[:, 1].astype(np.int8) - lists[:, 0].astype(np.int8)

    def cost(self, encoded: Encoded) -> float:
        """See the base class."""
        return 20 + 38.0 * encoded.meta["nnz"] + 60.0 * encoded.rows

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        return (
            f"{{.gaps = {arrays['g']}, .gaps_size = {len(encoded.stream('g').data)}, "
            f".nnz = {encoded.meta['nnz']}, .rows = {encoded.rows}, .cols = {encoded.cols}, "
            f".k = {encoded.meta['k']}}}"
        )

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 36
