"""Every weight as one byte."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, register


@register
class Dense(Encoding):
    """int8, row-major: stream "w"."""

    name: ClassVar[str] = "dense"
    form: ClassVar[str] = "dense"
    in_place: ClassVar[str] = "dense"
    baseline: ClassVar[bool] = True

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        stream = Stream("w", "value", w.tobytes(), 8 * w.size, "int8_t")
        return self._encoded(w, (stream,))

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        data = encoded.stream("w").data
        if len(data) != encoded.rows * encoded.cols:
            raise StreamError(f"dense layer has {len(data)} bytes for {encoded.rows} rows")
        return np.frombuffer(data, np.int8).reshape(encoded.rows, encoded.cols).copy()
