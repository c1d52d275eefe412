"""Absolute columns row by row: the part `sparse` and `ternary` share."""

from __future__ import annotations

import numpy as np

from ..errors import StreamError
from .base import Encoded, Stream
from .bits import int_array, uint_array


def count_stream(counts: np.ndarray) -> Stream:
    """Stream "n": non-zeros per row (or any table of counts, row-major)."""
    data, ctype = uint_array(counts, int(counts.max()))
    return Stream("n", "count", data, 8 * len(data), ctype)


def column_stream(cols: np.ndarray, width: int) -> Stream:
    """Stream "c": columns; uint8_t where the layer has at most 256 columns."""
    data, ctype = uint_array(cols, width - 1)
    return Stream("c", "index", data, 8 * len(data), ctype)


def read_positions(encoded: Encoded, lists: int = 1) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(row, list, column) of every entry, where each row has `lists` ascending lists.

    Raises StreamError where counts and columns disagree or a column is out of order or range.
    """
    n, c = encoded.stream("n"), encoded.stream("c")
    counts = int_array(n.data, n.ctype, "stream n")
    cols = int_array(c.data, c.ctype, "stream c")
    if counts.size != encoded.rows * lists or counts.sum() != cols.size:
        raise StreamError(
            f"{counts.size} counts that add up to {counts.sum()}, {cols.size} columns"
        )
    which = np.repeat(np.arange(counts.size), counts)
    if cols.size and cols.max() >= encoded.cols:
        raise StreamError(f"column {cols.max()} in a layer of {encoded.cols}")
    if np.any((np.diff(cols) <= 0) & (np.diff(which) == 0)):
        raise StreamError("columns of a row are not ascending")
    return which // lists, which % lists, cols
