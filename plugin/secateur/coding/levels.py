"""Values of non-zeros as symbols: through a codebook where that is shorter, else as they are."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, is_ternary
from .codebook import book_of, book_stream

#: Beyond this many levels a table over all 256 bytes is smaller than codebook plus table.
MOST = 64


def value_symbols(values: np.ndarray) -> tuple[np.ndarray, int, tuple[Stream, ...]]:
    """(symbol of every value, size of the alphabet, codebook stream or nothing)."""
    if np.unique(values).size > MOST:
        return values.astype(np.int64) + 128, 256, ()
    book, index = book_of(values)
    return index, int(book.size), (book_stream(book),)


def value_table(encoded: Encoded, size: int) -> list[int]:
    """The value each symbol stands for. StreamError if the codebook has another size."""
    if size == 256:
        return list(range(-128, 128))
    book = np.frombuffer(encoded.stream("b").data, np.int8)
    if book.size != size:
        raise StreamError(f"codebook of {book.size} levels where {size} are expected")
    return [int(v) for v in book]


class Levels(Encoding):
    """An encoding of gaps that tells values apart by a small number each, their level."""

    @abstractmethod
    def _levels(self, values: np.ndarray) -> tuple[np.ndarray, int, tuple[Stream, ...]]:
        """(level of each of `values` int8 [n], number of levels, codebook stream or nothing)."""

    @abstractmethod
    def _table(self, encoded: Encoded) -> list[int]:
        """The value each level stands for."""


class ValueLevels(Levels):
    """Any values: levels are `value_symbols`."""

    form: ClassVar[str] = "sparse"

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def _levels(self, values: np.ndarray) -> tuple[np.ndarray, int, tuple[Stream, ...]]:
        return value_symbols(values)

    def _table(self, encoded: Encoded) -> list[int]:
        return value_table(encoded, encoded.meta["levels"])


class SignLevels(Levels):
    """Signs: level 1 is -1; there is one level only where no weight is negative."""

    form: ClassVar[str] = "ternary"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1."""
        return is_ternary(weight)

    def _levels(self, values: np.ndarray) -> tuple[np.ndarray, int, tuple[Stream, ...]]:
        negative = (values < 0).astype(np.int64)
        return negative, 1 + int(negative.any()), ()

    def _table(self, encoded: Encoded) -> list[int]:
        return [1, -1][: encoded.meta["levels"]]
