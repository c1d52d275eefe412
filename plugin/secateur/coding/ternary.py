"""Ternary weights as two column lists a row: additions, then subtractions."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, as_matrix, is_ternary, register
from .positions import column_stream, count_stream, read_positions


@register
class Ternary(Encoding):
    """Streams "n" (counts of +1 and of -1, per row) and "c" (columns of +1, then of -1).

    Both lists ascend.
    """

    name: ClassVar[str] = "ternary"
    form: ClassVar[str] = "ternary"
    in_place: ClassVar[str] = "ternary"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1."""
        return is_ternary(weight)

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        if not is_ternary(w):
            raise ValueError("not a ternary matrix")
        signs = np.stack([w > 0, w < 0], axis=1)  # [rows, 2, cols]
        streams = (
            count_stream(signs.sum(axis=2).ravel()),
            column_stream(np.nonzero(signs)[2], w.shape[1]),
        )
        return self._encoded(w, streams)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        rows, which, cols = read_positions(encoded, lists=2)
        out = np.zeros((encoded.rows, encoded.cols), np.int8)
        np.add.at(out, (rows, cols), (1 - 2 * which).astype(np.int8))
        if np.count_nonzero(out) != cols.size:
            raise StreamError("a column is in both lists of its row")
        return out
