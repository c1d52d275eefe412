"""Non-zeros column by column, for kernels that pass over columns whose input is zero (EIE)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, register
from .bits import int_array, uint_array
from .codebook import book_of, book_stream, look_up
from .positions import count_stream

#: C type -> NumPy dtype of the streams here.
STEPS = {"uint8_t": "<u1", "uint16_t": "<u2", "int8_t": "<i1"}

#: A run of EIE's entries holds up to this many zeros.
RUN = 15


def _by_column(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(column, row) of every non-zero, columns ascending, rows ascending within each."""
    cols, rows = np.nonzero(w.T)
    return cols, rows


def _first(cols: np.ndarray) -> np.ndarray:
    """Whether an entry is the first of its column."""
    return np.diff(cols, prepend=-1) != 0


@register
class Columns(Encoding):
    """Streams "s" (rows from non-zero to non-zero, first from 0), "v" (int8), "n" (per column)."""

    name: ClassVar[str] = "columns"
    form: ClassVar[str] = "columns"
    in_place: ClassVar[str] = "columns"

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        cols, rows = _by_column(w)
        steps = np.where(_first(cols), rows, np.diff(rows, prepend=0))
        data, ctype = uint_array(steps, int(steps.max(initial=0)))
        values = w[rows, cols].tobytes()
        streams = (
            Stream("s", "index", data, 8 * len(data), ctype),
            Stream("v", "value", values, 8 * len(values), "int8_t"),
            count_stream(np.count_nonzero(w, axis=0)),
        )
        return self._encoded(w, streams)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        s, v, n = (encoded.stream(k) for k in "svn")
        steps = int_array(s.data, s.ctype, "stream s")
        values = np.frombuffer(v.data, np.int8)
        cols, rows = _positions(encoded, int_array(n.data, n.ctype, "stream n"), steps)
        if values.size != cols.size:
            raise StreamError(f"{values.size} values for {cols.size} non-zeros")
        out = np.zeros((encoded.rows, encoded.cols), np.int8)
        out[rows, cols] = values
        return out


@register
class ColumnsCodebook(Encoding):
    """EIE's entries: the low four bits count zeros before it, the high four index a codebook.

    A run of more than 15 zeros takes entries of value 0 in between. Streams "s" (uint8 entries),
    "b" (codebook, 0 among it if such entries occur), "n" (entries per column).
    """

    name: ClassVar[str] = "columns_codebook"
    form: ClassVar[str] = "columns"
    in_place: ClassVar[str] = "column_entries"

    def applies(self, weight: np.ndarray) -> bool:
        """At most 15 distinct non-zero values: the sixteenth is 0, for long runs."""
        return np.unique(weight[weight != 0]).size <= RUN

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        if not self.applies(w):
            raise ValueError("more than 15 distinct non-zero values")
        cols, rows = _by_column(w)
        runs = np.where(_first(cols), rows, np.diff(rows, prepend=0) - 1)
        fill = runs // (RUN + 1)
        book, index = book_of(w[rows, cols])
        if fill.any():
            book = np.append(book, np.int8(0))
        # every non-zero behind its fillers, each a run of 15 and the 0 itself
        last = np.cumsum(fill + 1) - 1
        entries = np.full(int((fill + 1).sum()), RUN | (book.size - 1) << 4, np.int64)
        entries[last] = runs % (RUN + 1) | index << 4
        data = entries.astype(np.uint8).tobytes()
        counts = np.bincount(cols, fill + 1, w.shape[1]).astype(np.int64)
        streams = (
            Stream("s", "value", data, 8 * len(data), "uint8_t"),
            book_stream(book),
            count_stream(counts),
        )
        return self._encoded(w, streams)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        n = encoded.stream("n")
        entries = np.frombuffer(encoded.stream("s").data, np.uint8).astype(np.int64)
        counts = int_array(n.data, n.ctype, "stream n")
        cols, ends = _positions(encoded, counts, (entries & RUN) + 1, 0)
        values = look_up(encoded.stream("b"), entries >> 4)
        out = np.zeros((encoded.rows, encoded.cols), np.int8)
        out[ends - 1, cols] = values
        return out


def _positions(
    encoded: Encoded, counts: np.ndarray, steps: np.ndarray, least: int = -1
) -> tuple[np.ndarray, np.ndarray]:
    """(column, sum of the column's steps so far) of every entry; StreamError if that is no place.

    Sums lie in least + 1 .. rows + least, and rise within a column.
    """
    if counts.size != encoded.cols or counts.sum() != steps.size:
        raise StreamError(
            f"{counts.size} counts that add up to {counts.sum()}, {steps.size} entries"
        )
    cols = np.repeat(np.arange(counts.size), counts)
    total = np.cumsum(steps)
    start = np.concatenate([[0], total])[np.cumsum(counts) - counts]
    sums: np.ndarray = total - start[cols]
    if sums.size and (sums.min() <= least or sums.max() > encoded.rows + least):
        raise StreamError(f"an entry beyond the last of {encoded.rows} rows")
    if np.any((steps <= 0) & ~_first(cols)):
        raise StreamError("rows of a column are not ascending")
    return cols, sums
