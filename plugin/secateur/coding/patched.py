"""Patched nibbles (M. Zukowski et al., "Super-scalar RAM-CPU cache compression", 2006): numbers cut
to four bits, and beside them the places where 16 is missing.

A layer is the sequence of numbers that a convolution over mirrored tiles reads (mirrored.py). Most
of them are below 16, so that eight come out of a word at once; the others are mended one by one.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, is_ternary, register
from .gaps import split
from .mirrored import numbers_of, weights_of

#: A step of so much in stream "f" mends nothing: it only moves on.
FILLER = 15
#: Numbers of a word of stream "g".
_GROUP = 8
#: Numbers behind the last one that unpacking may write: a damaged byte of "f" moves on twice.
SLACK = 2 * FILLER


def _nibbles(low: np.ndarray, high: np.ndarray) -> bytes:
    return (low | high << 4).astype(np.uint8).tobytes()


@register
class PatchedTernary(Encoding):
    """Streams "g" (lower four bits of each number, word by word of eight: the first four in the
    lower halves of its bytes) and "f" (numbers to move on by to the next one of which 16 is
    missing, 0 where it is the same again; two a byte, the lower half first; 15 only moves on).
    """

    name: ClassVar[str] = "patched_ternary"
    form: ClassVar[str] = "mirrored ternary"
    family: ClassVar[str] = "patched"
    unpacker: ClassVar[str] = "patched"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1."""
        return is_ternary(weight)

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = self._matrix(weight)
        numbers = numbers_of(w)
        low = np.zeros(-(-numbers.size // _GROUP) * _GROUP, np.int64)
        low[: numbers.size] = numbers & 15
        halves = low.reshape(-1, 2, _GROUP // 2)
        places = np.repeat(np.arange(numbers.size), numbers >> 4)
        far, _ = split(np.diff(places, prepend=0), FILLER)
        pairs = np.append(far, np.full(far.size % 2, FILLER)).reshape(-1, 2)
        streams = (
            Stream("g", "gap", _nibbles(halves[:, 0], halves[:, 1]), 4 * numbers.size),
            Stream("f", "gap", _nibbles(pairs[:, 0], pairs[:, 1]), 4 * far.size),
        )
        return self._encoded(w, streams, far=far.size, numbers=numbers.size)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        count = encoded.meta["numbers"]
        data = np.frombuffer(encoded.stream("g").data, np.uint8)
        if 2 * data.size != -(-count // _GROUP) * _GROUP:
            raise StreamError(f"stream g holds {2 * data.size} numbers, not {count}")
        words = data.reshape(-1, 1, _GROUP // 2)
        numbers = np.concatenate([words & 15, words >> 4], axis=1).reshape(-1).astype(np.int64)
        numbers = numbers[:count]
        pairs = np.frombuffer(encoded.stream("f").data, np.uint8)
        far = np.stack([pairs & 15, pairs >> 4], axis=1).reshape(-1).astype(np.int64)
        places = np.cumsum(far)[far != FILLER]
        if places.size and places[-1] >= count:
            raise StreamError(f"stream f mends number {places[-1]} of {count}")
        np.add.at(numbers, places, 16)
        return weights_of(numbers, encoded.rows, encoded.cols)

    def unpacking(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        m = encoded.meta
        return {"far": float(m["far"]), "nonzeros": float(m["nnz"]), "rows": float(encoded.rows)}

    def most_nonzeros(self, encoded: Encoded) -> int:
        """See the base class: so much is written behind the last number."""
        return encoded.meta["nnz"] + SLACK
