"""Non-zeros as a walk through the flattened matrix: how many zeros before each.

Gaps run on from row to row, so nothing marks the end of a row. Nothing is stored behind the last
non-zero: the decoder knows how many there are. A gap of `escape` or more is written as fillers
("skip `escape` zeros, no non-zero here") and a remainder.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..errors import StreamError

#: Gaps at or above one of these become fillers; encodings pick the one that is smallest.
ESCAPES = (3, 7, 15, 31, 63, 127)
#: A filler takes time to decode and gives nothing; this many avoided are worth a stored bit.
FILLER_WORTH = 16


def gaps_of(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Zeros before each non-zero, int64 [nnz], and the non-zeros, int8 [nnz]."""
    flat = weight.ravel()
    where = np.nonzero(flat)[0]
    return np.diff(where, prepend=-1) - 1, flat[where]


def split(gaps: np.ndarray, escape: int) -> tuple[np.ndarray, np.ndarray]:
    """Fillers inserted: codes (0..escape, `escape` = filler) and the positions of non-fillers."""
    fillers = gaps // escape
    last = np.cumsum(fillers + 1) - 1
    out = np.full(int(last[-1]) + 1 if gaps.size else 0, escape, np.int64)
    out[last] = gaps % escape
    return out, last


def walk(
    rows: int, cols: int, nnz: int, step: Callable[[], tuple[int, int]], filler: int = -1
) -> np.ndarray:
    """Rebuild a matrix from `step() -> (gap, value)`; a gap of `filler` has no value.

    StreamError if a non-zero falls behind the last row.
    """
    flat = np.zeros(rows * cols, np.int8)
    position, left = 0, nnz
    while left:
        gap, value = step()
        position += gap
        if position >= flat.size:  # a filler, too, is followed by a non-zero
            raise StreamError(f"{left} of {nnz} non-zeros lie behind the matrix")
        if gap != filler:
            flat[position] = value
            position += 1
            left -= 1
    return flat.reshape(rows, cols)
