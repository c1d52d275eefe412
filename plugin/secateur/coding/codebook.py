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


class Indexed(Encoding):
    """What has an index of `width_of` the levels' number for every weight, rows from a byte on, and
    a codebook. Meta: "k" (bits of an index)."""

    form: ClassVar[str] = "dense"
    most: ClassVar[int]  #: levels, zero included
    stored: ClassVar[tuple[str, str]]  #: name and kind of the stream of indices

    def applies(self, weight: np.ndarray) -> bool:
        """At most `most` distinct values."""
        return np.unique(weight).size <= self.most

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        book, index = book_of(w)
        if book.size > self.most:
            raise ValueError(f"{book.size} distinct values, {self.name} holds {self.most}")
        k = width_of(book.size)
        data, bits = pack_rows(index, k)
        return self._encoded(w, (Stream(*self.stored, data, bits), book_stream(book)), k=k)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        name = self.stored[0]
        data, k = encoded.stream(name).data, encoded.meta["k"]
        index = unpack_rows(data, k, encoded.rows, encoded.cols, f"stream {name}")
        return look_up(encoded.stream("b"), index)


@register
class Codebook(Indexed):
    """Streams "i" (k-bit indices, k = 1..6), "b" (codebook)."""

    name: ClassVar[str] = "codebook"
    in_place: ClassVar[str] = "indices"
    most: ClassVar[int] = 64
    stored: ClassVar[tuple[str, str]] = ("i", "value")

    def index_bits(self, encoded: Encoded) -> int:
        """See the base class."""
        return encoded.meta["k"]
