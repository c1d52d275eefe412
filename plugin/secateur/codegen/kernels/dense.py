"""Fully connected layers, row by row."""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import table
from .base import Kernel, Layer, register
from .source import dense_source


@register
class DenseRows(Kernel):
    """Dense int8 rows, or packed codebook indices unpacked row by row."""

    name = "dense"
    forms = frozenset({"dense"})

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense)

    def scratch(self, layer: Layer) -> int:
        return dense_source(layer).row_buffer

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QDense)
        n, cols = op.weight.shape
        q = table(layer.prefix, op.requant)
        source = dense_source(layer, "scratch")
        name = f"dense_{cols}x{n}{source.suffix}"
        title = f"Fully connected, {cols} inputs, {n} outputs, every weight."
        text = render(
            "dense.c.j2", name=name, title=title, source=source, q=q, n=n, cols=cols
        )
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output]
        if source.row_buffer:
            args.append(layer.scratch)
        return Emission(
            f"{name}({', '.join(args)});", [CFunction(name, text)], [*source.arrays, q.array]
        )


class _SparseRows(Kernel):
    """Gathers the inputs a row lists."""

    values = True

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QDense)
        n, cols = op.weight.shape
        q = table(layer.prefix, op.requant)
        columns: list[np.ndarray] = []
        counts: list[int] = []
        for row in op.weight:
            lists = [np.flatnonzero(row)] if self.values else [
                np.flatnonzero(row > 0), np.flatnonzero(row < 0)
            ]
            columns += lists
            counts += [x.size for x in lists]
        elem = "uint8_t" if cols <= 256 else "uint16_t"
        count = "uint8_t" if max(counts) < 256 else "uint16_t"
        density = np.count_nonzero(op.weight) / op.weight.size
        p = layer.prefix
        arrays = [CArray(
            f"{p}_c", elem, np.concatenate(columns), f"{op.name}: columns; density {density:.1%}"
        )]
        if self.values:
            arrays.append(CArray(f"{p}_v", "int8_t", op.weight[op.weight != 0], "values"))
        note = "non-zeros per row" if self.values else "n(+1), n(-1) per row"
        arrays.append(CArray(f"{p}_n", count, np.array(counts), note))
        kind = "sparse" if self.values else "ternary"
        name = f"{kind}_{cols}x{n}"
        text = render(
            "dense_sparse.c.j2", name=name, elem=elem, count=count, q=q, n=n, values=self.values,
            title=f"Fully connected, {cols} inputs, {n} outputs, {kind}: only the non-zeros.",
        )  # fmt: skip
        args = [a.name for a in arrays] + [q.array.name, layer.inputs[0], layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)], [*arrays, q.array])


@register
class DenseSparse(_SparseRows):
    """Sparse int8 rows."""

    name = "dense_sparse"
    forms = frozenset({"sparse"})

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense)


@register
class DenseTernary(_SparseRows):
    """Rows of -1, 0, 1."""

    name = "dense_ternary"
    forms = frozenset({"ternary"})
    values = False

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense) and bool(np.all(np.abs(layer.op.weight) <= 1))
