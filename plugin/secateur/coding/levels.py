"""Values of non-zeros as symbols: through a codebook where that is shorter, else as they are."""

from __future__ import annotations

import numpy as np

from ..errors import StreamError
from .base import Encoded, Stream
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
