"""Fully connected layers column by column, as in EIE (Han et al. 2016): inputs of 0 cost nothing.

A column is applied to the sums of all outputs, which lie in scratch, and only if its input's code
is not 0. acc = sum(w * u) is the same in any order, so this holds for every zero point; behind a
ReLU code 0 is a zero activation.
"""

from __future__ import annotations

import numpy as np

from ...coding.bits import int_array
from ...lowering.qgraph import QDense
from ..emit import CFunction, Emission, render
from ..requant import requantization
from ..tables import RequantizedTable, stream_array
from .base import Kernel, Layer, register

#: C parameters of the streams beside the steps.
_PARAMETERS = {"v": "const int8_t *v", "b": "const int8_t *book"}


@register
class DenseColumns(Kernel[QDense, RequantizedTable]):
    """Sparse columns: int8 values, or entries of four bits of run and four of codebook."""

    name = "dense_columns"
    forms = frozenset({"columns", "column_entries"})
    skips_zeros = True
    plain_factor = 1.3

    @staticmethod
    def _book(layer: Layer[QDense]) -> bool:
        """Whether entries index a codebook."""
        return any(s.name == "b" for s in layer.weights.streams)

    def scratch(self, layer: Layer[QDense]) -> int:
        return 4 * len(layer.op.weight)

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        n, cols = layer.op.weight.shape
        live = layer.live_inputs()
        stream = layer.weights.stream("n")
        counts = int_array(stream.data, stream.ctype, "stream n")
        return {
            "columns": float(cols),
            "live_columns": float(live.sum()),
            "book_nonzeros" if self._book(layer) else "nonzeros": float((live * counts).sum()),
            "rows": float(n),
        }

    def table(self, layer: Layer[QDense]) -> RequantizedTable:
        w = layer.op.weight
        density = np.count_nonzero(w) / w.size
        what = "run, index" if self._book(layer) else "rows from non-zero to non-zero"
        notes = {
            "s": f"{layer.op.name}: by column, {what}; density {density:.1%}",
            "v": "values",
            "b": "codebook",
            "n": "entries per column",
        }
        streams = (stream_array(layer.prefix, s, notes[s.name]) for s in layer.weights.streams)
        return RequantizedTable.of(requantization(layer.prefix, layer.op.requant), *streams)

    def emit(self, layer: Layer[QDense], table: RequantizedTable) -> Emission:
        n, cols = layer.op.weight.shape
        book = self._book(layer)
        name = f"fc_columns_{'book_' if book else ''}{cols}x{n}"
        ctypes = {s.name: s.ctype for s in layer.weights.streams}
        parameters = {"s": f"const {ctypes['s']} *s", **_PARAMETERS}
        order = [s for s in ctypes if s != "n"]

        def text(early: bool) -> str:
            return render(
                "dense_columns.c.j2", name=name, q=table.q, n=n, cols=cols, book=book, early=early,
                parameters=", ".join(parameters[s] for s in order), count=ctypes["n"],
                title=f"Fully connected, {cols} inputs, {n} outputs: sparse, column by column.",
            )  # fmt: skip

        # with many registers GCC orders them better than that (benchmarks.bench, AD, LeNet-300-100)
        args = [f"{layer.prefix}_{s}" for s in [*order, "n"]]
        args += [table.q.array.name, layer.inputs[0], layer.output, layer.scratch]
        return Emission(
            f"{name}({', '.join(args)});", [CFunction(name, text(True), {"dsp": text(False)})]
        )
