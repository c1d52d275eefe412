"""Ternary rows as one list of columns each, of those that are added and the mirrors of those that
are taken off: column 2c is input c, column 2c + 1 its mirror (codegen/kernels/rows/mirror.py).

Of each row: how many columns there are behind its first, how many of all are mirrors, then the
steps from column to column, the first from 0. A row of zeros adds an input and its mirror, 0 and 1.
"""

from __future__ import annotations

import numpy as np

from ..errors import StreamError


def numbers_of(weight: np.ndarray) -> np.ndarray:
    """These numbers of all rows, int64, of int8 [rows, cols] of -1, 0 and 1."""
    present = np.stack([weight > 0, weight < 0], axis=2).reshape(len(weight), -1)
    present[~present.any(axis=1), :2] = True
    rows, columns = np.nonzero(present)
    count = present.sum(axis=1)
    out = np.zeros(2 * len(weight) + columns.size, np.int64)
    starts = np.cumsum(count + 2) - count - 2
    out[starts] = count - 1
    out[starts + 1] = present[:, 1::2].sum(axis=1)
    first = np.diff(rows, prepend=-1) != 0
    steps = np.diff(columns, prepend=0)
    out[2 * (rows + 1) + np.arange(columns.size)] = np.where(first, columns, steps)
    return out


def weights_of(numbers: np.ndarray, rows: int, cols: int) -> np.ndarray:
    """The matrix again, int8 [rows, cols]. Raises StreamError where numbers are not of one."""
    out = np.zeros((rows, 2 * cols), np.int8)
    at = 0
    for row in range(rows):
        if at + 2 > numbers.size or (end := at + 3 + int(numbers[at])) > numbers.size:
            raise StreamError(f"the list of row {row} ends behind the stream's numbers")
        columns = np.cumsum(numbers[at + 2 : end])
        if columns[-1] >= 2 * cols or np.any(np.diff(columns) <= 0):
            raise StreamError(f"columns of row {row} do not ascend, or leave it")
        if np.count_nonzero(columns % 2) != numbers[at + 1]:
            raise StreamError(f"row {row} has not {numbers[at + 1]} mirrors")
        out[row, columns] = 1
        at = end
    if at != numbers.size:
        raise StreamError(f"{numbers.size - at} numbers behind the last row")
    return out[:, ::2] - out[:, 1::2]
