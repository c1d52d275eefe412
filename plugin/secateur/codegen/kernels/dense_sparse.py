"""Fully connected layers that visit the non-zeros only, row by row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...coding.base import is_ternary
from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, checked_call, render
from ..geometry import align4
from ..requant import requantization
from ..tables import RequantizedTable, counter_type
from .base import Kernel, Layer, register
from .coded import Coded, coded, decode_work, is_coded, room


@dataclass(frozen=True, kw_only=True)
class ListTable(RequantizedTable):
    """Columns, values and counts of rows, or what a decoder makes them of."""

    coded: Coded | None


def column_array(prefix: str, columns: np.ndarray, cols: int, comment: str) -> CArray:
    """The columns of lists as the array `prefix`_c."""
    elem = counter_type(cols - 1)
    bits = {"index": (8 if elem == "uint8_t" else 16) * columns.size}
    return CArray(f"{prefix}_c", elem, columns, comment, bits)


def count_array(prefix: str, counts: np.ndarray, comment: str) -> CArray:
    """The lengths of lists as the array `prefix`_n."""
    elem = counter_type(int(counts.max()))
    bits = {"count": (8 if elem == "uint8_t" else 16) * counts.size}
    return CArray(f"{prefix}_n", elem, counts, comment, bits)


class _Lists(Kernel[QDense, ListTable]):
    """Gathers the inputs a row lists."""

    values: ClassVar[bool]  #: whether each column has a value; else lists are of +1s, then of -1s
    kind: ClassVar[str]

    def _looped(self, layer: Layer[QDense]) -> bool:
        """Whether a turn is one weight: four take 100 bytes more; a few never make up for them."""
        return layer.weight >= 0.5 and int(np.count_nonzero(layer.op.weight)) <= 4000

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        rows, nonzeros = float(len(layer.op.weight)), float(np.count_nonzero(layer.op.weight))
        if is_coded(layer.encoded):
            decoding = decode_work(layer.encoded)
            return {"coded_nonzeros": nonzeros, "coded_rows": rows, **decoding}
        if self._looped(layer):
            return {"looped_nonzeros": nonzeros, "looped_rows": rows}
        turns = float((self._lists(layer.op.weight).sum(axis=2) // 4).sum())
        return {"turns": turns, "nonzeros": nonzeros - 4 * turns, "rows": rows}

    def _lists(self, w: np.ndarray) -> np.ndarray:
        """Where the weights of each row's lists are, bool [rows, lists, cols]."""
        return np.stack((w != 0,) if self.values else (w > 0, w < 0), axis=1)

    def scratch(self, layer: Layer[QDense]) -> int:
        if not is_coded(layer.encoded):
            return 0
        n = room(layer.weights)
        return align4(2 * n) + (align4(n) if self.values else 0)

    def table(self, layer: Layer[QDense]) -> ListTable:
        q = requantization(layer.prefix, layer.op.requant)
        if is_coded(layer.encoded):
            c = coded(layer)
            return ListTable(
                arrays=(*c.arrays, q.array), constants=(c.constant,), q=q, coded=c
            )  # fmt: skip
        w, p = layer.op.weight, layer.prefix
        lists = self._lists(w)
        density = np.count_nonzero(w) / w.size
        comment = f"{layer.op.name}: columns; density {density:.1%}"
        arrays = [column_array(p, np.nonzero(lists)[2], w.shape[1], comment)]
        if self.values:
            arrays.append(CArray(f"{p}_v", "int8_t", w[w != 0], "values"))
        note = "non-zeros per row" if self.values else "n(+1), n(-1) per row"
        arrays.append(count_array(p, lists.sum(axis=2).reshape(-1), note))
        return ListTable(arrays=(*arrays, q.array), q=q, coded=None)

    def emit(self, layer: Layer[QDense], table: ListTable) -> Emission:
        n, cols = layer.op.weight.shape
        if table.coded:
            return self._coded(layer, table, table.coded)
        name = f"fc_{self.kind}_{cols}x{n}"
        text = render(
            "dense_sparse.c.j2", name=name, elem=table.arrays[0].ctype,
            count=table.arrays[-2].ctype, q=table.q, n=n, values=self.values,
            unroll=not self._looped(layer),
            title=f"Fully connected, {cols} inputs, {n} outputs, {self.kind}: only the non-zeros.",
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])

    def _coded(self, layer: Layer[QDense], table: ListTable, c: Coded) -> Emission:
        n, cols = layer.op.weight.shape
        name = f"fc_{self.kind}_{cols}x{n}_{c.c_name}"
        text = render(
            "dense_coded.c.j2", name=name, c=c, q=table.q, n=n, values=self.values,
            value_offset=align4(2 * c.room),
            title=f"Fully connected, {cols} inputs, {n} outputs: rows decoded one by one.",
        )  # fmt: skip
        args = [f"&{c.name}", table.q.array.name, layer.inputs[0], layer.output, layer.scratch]
        call = checked_call(f"{name}({', '.join(args)})")
        return Emission(call, [CFunction(name, text)], [c.header])


@register
class DenseSparse(_Lists):
    """Sparse int8 rows."""

    name = "dense_sparse"
    kind = "sparse"
    forms = frozenset({"sparse", "coded sparse"})
    values = True


@register
class DenseTernary(_Lists):
    """Rows of -1, 0, 1."""

    name = "dense_ternary"
    kind = "ternary"
    forms = frozenset({"ternary", "coded ternary"})
    values = False

    def applies(self, layer: Layer[QDense]) -> bool:
        return is_ternary(layer.op.weight)
