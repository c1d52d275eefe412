"""Fully connected layers that visit the non-zeros only, row by row."""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import RequantTable, table
from .base import Kernel, Layer, register
from .unpack import align4, coded, decode_work, is_coded


class _SparseRows(Kernel):
    """Gathers the inputs a row lists."""

    values = True

    code_bytes = 130

    def work(self, layer: Layer) -> dict[str, float]:
        op = layer.op
        assert isinstance(op, QDense)
        coded = "coded_" if is_coded(layer.encoded) else ""
        return {
            f"{coded}nonzeros": float(np.count_nonzero(op.weight)),
            f"{coded}rows": float(len(op.weight)),
            **decode_work(layer.encoded),
        }

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
        # four a turn take 100 bytes more; a few weights never make up for them
        unroll = layer.weight < 0.5 or np.count_nonzero(op.weight) > 4000
        text = render(
            "dense_sparse.c.j2", name=name, elem=elem, count=count, q=q, n=n, values=self.values,
            unroll=unroll,
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
