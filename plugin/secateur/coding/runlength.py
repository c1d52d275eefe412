"""Runs of zeros and runs of non-zeros, one byte each: for weights pruned in blocks."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Encoding, Stream, as_matrix, register

LONGEST = 255


def _split(zeros: np.ndarray, filled: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs cut so that each fits a byte: (255, 0) skips on, (0, 255) goes on with non-zeros."""
    skips, more = np.maximum(zeros - 1, 0) // LONGEST, np.maximum(filled - 1, 0) // LONGEST
    pieces = skips + 1 + more
    first = np.cumsum(pieces) - pieces
    out = np.zeros((2, int(pieces.sum())), np.int64)
    kind = np.arange(out.shape[1]) - np.repeat(first + skips, pieces)  # < 0: skip, 0: the run
    out[0, kind < 0] = LONGEST
    out[1, kind > 0] = LONGEST
    out[0, kind == 0] = zeros - LONGEST * skips
    out[1, kind == 0] = filled - LONGEST * more
    return out[0], out[1]


@register
class RunLength(Encoding):
    """Streams "g" (zeros), "n" (non-zeros behind them), "v" (int8 values).

    The matrix is taken as one row after the other; zeros at its end are left out.
    """

    name: ClassVar[str] = "runlength"
    form: ClassVar[str] = "sparse"
    decoder: ClassVar[str | None] = "sc_runlength.h"
    family: ClassVar[str] = "runlength"
    c_name: ClassVar[str] = "runlength"

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        present = np.concatenate([[0], (w.ravel() != 0).astype(np.int8), [0]])
        edges = np.nonzero(np.diff(present))[0]
        starts, ends = edges[0::2], edges[1::2]
        zeros = starts - np.concatenate([[0], ends[:-1]])[: starts.size]
        gaps, runs = _split(zeros, ends - starts)
        values = w[w != 0].tobytes()
        streams = (
            Stream("g", "gap", gaps.astype(np.uint8).tobytes(), 8 * gaps.size),
            Stream("v", "value", values, 8 * len(values), "int8_t"),
            Stream("n", "count", runs.astype(np.uint8).tobytes(), 8 * runs.size),
        )
        return self._encoded(w, streams)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        gaps = np.frombuffer(encoded.stream("g").data, np.uint8).astype(np.int64)
        runs = np.frombuffer(encoded.stream("n").data, np.uint8).astype(np.int64)
        values = np.frombuffer(encoded.stream("v").data, np.int8)
        if gaps.size != runs.size or values.size != runs.sum():
            raise StreamError(f"{gaps.size} gaps, {runs.size} runs and {values.size} values")
        out = np.zeros(encoded.rows * encoded.cols, np.int8)
        if int(gaps.sum() + runs.sum()) > out.size:
            raise StreamError("runs go beyond the matrix")
        where = np.repeat(np.cumsum(gaps), runs) + np.arange(values.size)
        out[where] = values
        return out.reshape(encoded.rows, encoded.cols)

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        runs, nnz = float(len(encoded.stream("n").data)), float(encoded.meta["nnz"])
        return {"runs": runs, "nonzeros": nnz, "rows": float(encoded.rows)}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        sizes = {n: len(encoded.stream(n).data) for n in ("g", "v")}
        return (
            f"{{.gaps = {arrays['g']}, .gaps_size = {sizes['g']}, .runs = {arrays['n']}, "
            f".values = {arrays['v']}, .values_size = {sizes['v']}, "
            f".nnz = {encoded.meta['nnz']}, .rows = {encoded.rows}, .cols = {encoded.cols}}}"
        )

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 44
