"""Non-zeros with absolute columns (compressed sparse rows with counts in place of offsets)."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, register
from .positions import column_stream, count_stream, read_positions


@register
class Sparse(Encoding):
    """Streams "n" (count per row), "c" (ascending columns), "v" (int8 values)."""

    name: ClassVar[str] = "sparse"
    form: ClassVar[str] = "sparse"
    in_place: ClassVar[str] = "sparse"

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        rows, cols = np.nonzero(w)
        values = w[rows, cols].tobytes()
        streams = (
            count_stream(np.count_nonzero(w, axis=1)),
            column_stream(cols, w.shape[1]),
            Stream("v", "value", values, 8 * len(values), "int8_t"),
        )
        return self._encoded(w, streams)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        rows, _, cols = read_positions(encoded)
        values = np.frombuffer(encoded.stream("v").data, np.int8)
        if values.size != cols.size:
            raise StreamError(f"{values.size} values for {cols.size} columns")
        out = np.zeros((encoded.rows, encoded.cols), np.int8)
        out[rows, cols] = values
        return out
