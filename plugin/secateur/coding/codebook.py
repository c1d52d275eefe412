"""Few distinct values: packed indices into a codebook of int8 levels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, register
from .bits import pack_rows, unpack_rows


def book_of(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, most frequent first (ties ascending), and every element's index.

    Shapes: int8 [levels], int64 like `values`.
    """
    used, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    order = np.lexsort((used, -counts))
    rank = np.empty_like(order)
    rank[order] = np.arange(order.size)
    return used[order].astype(np.int8), rank[inverse].reshape(values.shape)


def book_stream(book: np.ndarray) -> Stream:
    """Stream "b": the codebook, int8."""
    return Stream("b", "codebook", book.tobytes(), 8 * book.size, "int8_t")


def look_up(book: Stream, index: np.ndarray) -> np.ndarray:
    """Values of `index`; StreamError if an index lies outside the codebook."""
    levels = np.frombuffer(book.data, np.int8)
    if index.size and index.max() >= levels.size:
        raise StreamError(f"index {index.max()} into a codebook of {levels.size}")
    return levels[index] if index.size else np.zeros(index.shape, np.int8)


def width_of(levels: int) -> int:
    """Bits of an index into `levels` levels, at least 1."""
    return max(1, (levels - 1).bit_length())


@register
class Codebook(Encoding):
    """Streams "i" (k-bit indices, k = 1..6, rows start at a byte), "b" (codebook). Meta "k"."""

    name: ClassVar[str] = "codebook"
    form: ClassVar[str] = "dense"
    in_place: ClassVar[str] = "indices"

    def applies(self, weight: np.ndarray) -> bool:
        """At most 64 distinct values, zero included."""
        return np.unique(weight).size <= 64

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        book, index = book_of(w)
        if book.size > 64:
            raise ValueError(f"{book.size} distinct values, a codebook holds 64")
        k = width_of(book.size)
        data, bits = pack_rows(index, k)
        streams = (Stream("i", "value", data, bits), book_stream(book))
        return self._encoded(w, streams, k=k)

    def index_bits(self, encoded: Encoded) -> int:
        """See the base class."""
        return encoded.meta["k"]

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        data = encoded.stream("i").data
        index = unpack_rows(data, encoded.meta["k"], encoded.rows, encoded.cols, "stream i")
        return look_up(encoded.stream("b"), index)
