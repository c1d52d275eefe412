"""Fully connected layers, row by row."""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import RequantTable, table
from .base import Kernel, Layer, register
from .source import dense_source
from .unpack import align4, coded, decode_cost, is_coded


@register
class DenseRows(Kernel):
    """Dense int8 rows, or packed codebook indices unpacked row by row."""

    name = "dense"
    forms = frozenset({"dense"})

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense)

    def scratch(self, layer: Layer) -> int:
        return dense_source(layer).row_buffer

    plain_factor = 2.0
    code_bytes = 150

    def cost(self, layer: Layer) -> float:
        op = layer.op
        assert isinstance(op, QDense)
        e = layer.encoded
        unpack = 10.0 * op.weight.size if e is not None and e.encoding == "codebook" else 0.0
        return 2.3 * op.weight.size + 25.0 * len(op.weight) + unpack + decode_cost(e)

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QDense)
        n, cols = op.weight.shape
        q = table(layer.prefix, op.requant)
        source = dense_source(layer, "scratch")
        name = f"dense_{cols}x{n}{source.suffix}"
        title = f"Fully connected, {cols} inputs, {n} outputs, every weight."
        text = render("dense.c.j2", name=name, title=title, source=source, q=q, n=n, cols=cols)
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output]
        if source.row_buffer:
            args.append(layer.scratch)
        return Emission(
            source.call(name, args), [CFunction(name, text)], [*source.arrays, q.array],
            source.headers, source.constants,
        )  # fmt: skip


class _SparseRows(Kernel):
    """Gathers the inputs a row lists."""

    values = True

    code_bytes = 130

    def cost(self, layer: Layer) -> float:
        op = layer.op
        assert isinstance(op, QDense)
        each = 7.2 if self.values else 5.2
        cost = each * np.count_nonzero(op.weight) + 28.0 * len(op.weight)
        return cost + decode_cost(layer.encoded)

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QDense)
        n, cols = op.weight.shape
        q = table(layer.prefix, op.requant)
        kind = "sparse" if self.values else "ternary"
        if is_coded(layer.encoded):
            return self._coded(layer, n, cols, q, kind)
        columns: list[np.ndarray] = []
        counts: list[int] = []
        for row in op.weight:
            lists = (
                [np.flatnonzero(row)]
                if self.values
                else [np.flatnonzero(row > 0), np.flatnonzero(row < 0)]
            )
            columns += lists
            counts += [x.size for x in lists]
        elem = "uint8_t" if cols <= 256 else "uint16_t"
        count = "uint8_t" if max(counts) < 256 else "uint16_t"
        density = np.count_nonzero(op.weight) / op.weight.size
        p = layer.prefix
        arrays = [
            CArray(
                f"{p}_c",
                elem,
                np.concatenate(columns),
                f"{op.name}: columns; density {density:.1%}",
                {"index": (8 if cols <= 256 else 16) * np.count_nonzero(op.weight)},
            )
        ]
        if self.values:
            arrays.append(CArray(f"{p}_v", "int8_t", op.weight[op.weight != 0], "values"))
        note = "non-zeros per row" if self.values else "n(+1), n(-1) per row"
        bits = {"count": (8 if count == "uint8_t" else 16) * len(counts)}
        arrays.append(CArray(f"{p}_n", count, np.array(counts), note, bits))
        name = f"{kind}_{cols}x{n}"
        text = render(
            "dense_sparse.c.j2", name=name, elem=elem, count=count, q=q, n=n, values=self.values,
            title=f"Fully connected, {cols} inputs, {n} outputs, {kind}: only the non-zeros.",
        )  # fmt: skip
        args = [a.name for a in arrays] + [q.array.name, layer.inputs[0], layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)], [*arrays, q.array])

    def scratch(self, layer: Layer) -> int:
        if not is_coded(layer.encoded):
            return 0
        assert layer.encoded is not None
        room = max(1, layer.encoded.meta["row_nnz"])
        return align4(2 * room) + (align4(room) if self.values else 0)

    def _coded(self, layer: Layer, n: int, cols: int, q: RequantTable, kind: str) -> Emission:
        c = coded(layer)
        name = f"{kind}_{cols}x{n}_{c.c_name}"
        text = render(
            "dense_coded.c.j2", name=name, c=c, q=q, n=n, values=self.values,
            value_offset=align4(2 * c.room),
            title=f"Fully connected, {cols} inputs, {n} outputs: rows decoded one by one.",
        )  # fmt: skip
        args = [f"&{c.name}", q.array.name, layer.inputs[0], layer.output, layer.scratch]
        call = f"if ({name}({', '.join(args)}) != 0) {{\n    return -1;\n}}"
        return Emission(
            call, [CFunction(name, text)], [*c.arrays, q.array], [c.header], [c.constant]
        )


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
