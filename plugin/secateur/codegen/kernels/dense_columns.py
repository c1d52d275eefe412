"""Fully connected layers column by column, as in EIE (Han et al. 2016): inputs of 0 cost nothing.

A column is applied to the sums of all outputs, which lie in scratch, and only if its input's code
is not 0. acc = sum(w * u) is the same in any order, so this holds for every zero point; behind a
ReLU code 0 is a zero activation.
"""

from __future__ import annotations

import numpy as np

from ...coding.columns import STEPS
from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import table
from .base import Kernel, Layer, register


@register
class DenseColumns(Kernel):
    """Sparse columns: int8 values, or four bits of run and four of codebook."""

    name = "dense_columns"
    skips_zeros = True
    forms = frozenset({"columns"})
    code_bytes = 220
    plain_factor = 1.3

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense)

    def scratch(self, layer: Layer) -> int:
        assert isinstance(layer.op, QDense)
        return 4 * len(layer.op.weight)

    def _book(self, layer: Layer) -> bool:
        return layer.encoded is not None and layer.encoded.encoding == "columns_codebook"

    def work(self, layer: Layer) -> dict[str, float]:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        n, cols = op.weight.shape
        live = layer.live_inputs()
        counts = np.frombuffer(e.stream("n").data, STEPS[e.stream("n").ctype])
        book = "book_" if self._book(layer) else ""
        return {
            "columns": float(cols),
            "live_columns": float(live.sum()),
            f"{book}nonzeros": float((live * counts).sum()),
            "rows": float(n),
        }

    def emit(self, layer: Layer) -> Emission:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        n, cols = op.weight.shape
        q = table(layer.prefix, op.requant)
        book = self._book(layer)
        density = np.count_nonzero(op.weight) / op.weight.size
        what = "run, index" if book else "rows from non-zero to non-zero"
        notes = {
            "s": f"{op.name}: by column, {what}; density {density:.1%}",
            "v": "values",
            "b": "codebook",
            "n": "entries per column",
        }
        arrays = []
        for stream in e.streams:
            values = np.frombuffer(stream.data, STEPS[stream.ctype])
            arrays.append(
                CArray(
                    f"{layer.prefix}_{stream.name}", stream.ctype, values, notes[stream.name],
                    {stream.kind: stream.bits},
                )
            )  # fmt: skip
        steps = e.stream("s").ctype
        names = {"s": f"const {steps} *s", "v": "const int8_t *v", "b": "const int8_t *book"}
        order = [s.name for s in e.streams if s.name != "n"]
        name = f"columns_{'book_' if book else ''}{cols}x{n}"
        text = render(
            "dense_columns.c.j2", name=name, q=q, n=n, cols=cols, book=book,
            parameters=", ".join(names[k] for k in order), count=e.stream("n").ctype,
            title=f"Fully connected, {cols} inputs, {n} outputs: sparse, column by column.",
        )  # fmt: skip
        args = [f"{layer.prefix}_{k}" for k in [*order, "n"]]
        args += [q.array.name, layer.inputs[0], layer.output, layer.scratch]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)], [*arrays, q.array])
