"""Golomb-Rice codes (S. W. Golomb, 1966; R. F. Rice, 1979) for the gaps between weights.

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


def _gaps(present: np.ndarray) -> np.ndarray:
    """Zeros before each True, taken row after row, and behind the last; int64 [count + 1]."""
    flat = present.ravel()
    return np.diff(np.append(np.flatnonzero(flat), flat.size), prepend=-1) - 1


def _pack(gaps: np.ndarray, k: int) -> tuple[bytes, int]:
    """Rice codes of the gaps, padded, and their length in bits."""
    zeros, last = split(gaps >> k, FILLER)
    codes, widths = np.zeros_like(zeros), zeros.copy()
    codes[last] = (1 | (gaps & ((1 << k) - 1)) << 1) << zeros[last]
    widths[last] += 1 + k
    data, bits = pack(codes, widths)
    return data + bytes(_PADDING), bits


def _unpack(data: bytes, k: int, count: int, size: int) -> np.ndarray:
    """The inverse of `_pack(_gaps(...), k)`: bool [size], of which `count` are True."""
    bits = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")
    ones = np.flatnonzero(bits)
    weights = 1 << np.arange(k)
    flat = np.zeros(size, bool)
    at = position = 0
    for _ in range(count + 1):
        end = np.searchsorted(ones, at)
        stop = int(ones[end]) if end < ones.size else bits.size
        if stop + k >= bits.size:
            raise StreamError(f"stream g is truncated at bit {at} of {bits.size}")
        position += ((stop - at) << k) + int(bits[stop + 1 : stop + 1 + k] @ weights)
        at = stop + 1 + k
        if position >= size:
            break
        flat[position] = True
        position += 1
    if position != size or int(flat.sum()) != count:
        raise StreamError(f"stream g does not end with the layer's {count} non-zeros")
    return flat


class _Rice(Encoding):
    decoder: ClassVar[str | None] = "sc_rice.h"
    family: ClassVar[str] = "rice"
    unpacker: ClassVar[str] = "rice"

    def _gaps(self, w: np.ndarray, *others: Stream) -> Encoded:
        """`w` with the gaps of its lists in stream "g"."""
        gaps = _gaps(self._lists(w))
        k = min(range(MOST_BITS + 1), key=lambda k: int((gaps >> k).sum()) + (1 + k) * gaps.size)
        return self._encoded(w, (Stream("g", "gap", *_pack(gaps, k)), *others), k=k)

    def _lists(self, w: np.ndarray) -> np.ndarray:
        """Where the weights of each list are, bool [lists, cols]."""
        raise NotImplementedError

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class; "zeros": of the unary parts."""
        m = encoded.meta
        zeros = max(0, encoded.stream("g").bits - m["nnz"] * (m["k"] + 1))
        return {"zeros": float(zeros), "nonzeros": float(m["nnz"]), "rows": float(encoded.rows)}

    def unpacking(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        values = {"values": float(encoded.meta["nnz"])} if self.form == "sparse" else {}
        return self.work(encoded) | values

    def most_nonzeros(self, encoded: Encoded) -> int:
        """See the base class: a code has at least `k` + 1 bits."""
        return -(-encoded.stream("g").bits // (encoded.meta["k"] + 1))

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 44


@register
class RiceTernary(_Rice):
    """Stream "g": gaps in a row's list of -1 columns, then in its list of +1 columns, row by row.

    Gaps run on from list to list, so nothing marks a list's end; the last gap ends with the last
    list. Meta: "k" (low bits of a code).
    """

    name: ClassVar[str] = "rice_ternary"
    form: ClassVar[str] = "ternary"
    c_name: ClassVar[str] = "rice_ternary"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1."""
        return is_ternary(weight)

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = self._matrix(weight)
        return self._gaps(w)

    def _lists(self, w: np.ndarray) -> np.ndarray:
        return np.stack([w < 0, w > 0], axis=1)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        m, shape = encoded.meta, (encoded.rows, 2, encoded.cols)
        flat = _unpack(encoded.stream("g").data, m["k"], m["nnz"], int(np.prod(shape)))
        lists = flat.reshape(shape).astype(np.int8)
        return lists[:, 1] - lists[:, 0]

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        return (
            f"{{.gaps = {arrays['g']}, .gaps_size = {len(encoded.stream('g').data)}, "
            f".nnz = {encoded.meta['nnz']}, .rows = {encoded.rows}, .cols = {encoded.cols}, "
            f".k = {encoded.meta['k']}}}"
        )


@register
class RiceSparse(_Rice):
    """Streams "g" (gaps, running on from row to row and to the end), "v" (int8 values).

    Meta: "k" (low bits of a code).
    """

    name: ClassVar[str] = "rice_sparse"
    form: ClassVar[str] = "sparse"
    c_name: ClassVar[str] = "rice_sparse"

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        values = w[w != 0].tobytes()
        return self._gaps(w, Stream("v", "value", values, 8 * len(values), "int8_t"))

    def _lists(self, w: np.ndarray) -> np.ndarray:
        return w != 0

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        m, size = encoded.meta, encoded.rows * encoded.cols
        values = np.frombuffer(encoded.stream("v").data, np.int8)
        if values.size != m["nnz"]:
            raise StreamError(f"stream v has {values.size} of {m['nnz']} values")
        out = np.zeros(size, np.int8)
        out[_unpack(encoded.stream("g").data, m["k"], m["nnz"], size)] = values
        return out.reshape(encoded.rows, encoded.cols)

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        sizes = {n: len(encoded.stream(n).data) for n in ("g", "v")}
        return (
            f"{{.gaps = {arrays['g']}, .values = {arrays['v']}, .gaps_size = {sizes['g']}, "
            f".values_size = {sizes['v']}, .nnz = {encoded.meta['nnz']}, "
            f".rows = {encoded.rows}, .cols = {encoded.cols}, .k = {encoded.meta['k']}}}"
        )
