"""Fully connected ternary layers of one list: a code names a column (or row) and the sign.

`DenseSigned` first makes x and -x of every input, so that a weight costs a load of its code, one of
what it names, and an addition, whatever its sign. `DenseSignedColumns` applies an input to the sums
of all outputs and passes over inputs of code 0, as in EIE (Han et al. 2016).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...coding.base import is_ternary
from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import requantization
from ..tables import RequantizedTable
from .base import Kernel, Layer, register
from .dense_sparse import count_array

COLUMNS = 128  #: that a byte names with their signs
ROWS = 256  #: that a byte names


@dataclass(frozen=True, kw_only=True)
class SignedTable(RequantizedTable):
    """Codes and counts of lists; so many weights are applied in a run of code without a loop."""

    unroll: int


def _table(
    layer: Layer[QDense], codes: np.ndarray, counts: np.ndarray, note: str, unroll: int
) -> SignedTable:
    w, q = layer.op.weight, requantization(layer.prefix, layer.op.requant)
    comment = f"{layer.op.name}: {note}; density {np.count_nonzero(w) / w.size:.1%}"
    lists = CArray(
        f"{layer.prefix}_c", "uint8_t", codes.astype(np.uint8), comment, {"index": 8 * codes.size}
    )
    arrays = (lists, count_array(layer.prefix, counts, "their numbers"), q.array)
    return SignedTable(arrays=arrays, q=q, unroll=unroll)


class _Signed(Kernel[QDense, SignedTable]):
    """Lists of bytes, one after the other, by group."""

    forms = frozenset({"ternary"})

    def applies(self, layer: Layer[QDense]) -> bool:
        return is_ternary(layer.op.weight)

    def _emission(
        self, layer: Layer[QDense], table: SignedTable, template: str, title: str, span: int
    ) -> Emission:
        n, cols = layer.op.weight.shape
        name = f"{self.name.replace('dense', 'fc')}_{cols}x{n}"
        blocks = -(-(cols if span == COLUMNS else n) // span)
        text = render(
            template, name=name, n=n, cols=cols, blocks=blocks, q=table.q, unroll=table.unroll,
            title=f"Fully connected, {cols} inputs, {n} outputs, ternary: {title}",
            count=table.arrays[1].ctype, span=span,
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])


@register
class DenseSigned(_Signed):
    """Row by row: columns with their signs, by blocks of 128 columns."""

    name = "dense_signed"
    plain_factor = 1.3

    @staticmethod
    def _unroll(layer: Layer[QDense]) -> int:
        if layer.small:
            return 4
        w = layer.op.weight  # a list longer than this goes once more through a loop
        mean = np.count_nonzero(w) / len(w) / -(-w.shape[1] // COLUMNS)
        return 32 if mean > 20 and np.count_nonzero(w) > 2000 else 16 if mean > 6 else 8

    def scratch(self, layer: Layer[QDense]) -> int:
        return 4 * layer.op.weight.shape[1]

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        n, cols = layer.op.weight.shape
        lists = n * -(-cols // COLUMNS)
        count, unroll = float(np.count_nonzero(layer.op.weight)), self._unroll(layer)
        return {
            "inputs": float(cols),
            "nonzeros": count,
            "turns": count / unroll,
            "lists": float(lists),
            "rows": float(n),
        }

    def table(self, layer: Layer[QDense]) -> SignedTable:
        w = layer.op.weight
        codes, counts = [], []
        for row in w:
            for first in range(0, w.shape[1], COLUMNS):
                part = row[first : first + COLUMNS]
                (at,) = np.nonzero(part)
                codes.append(2 * at + (part[at] < 0))
                counts.append(at.size)
        note = "by row, 2 x column, and 1 where it is subtracted"
        return _table(layer, np.concatenate(codes), np.array(counts), note, self._unroll(layer))

    def emit(self, layer: Layer[QDense], table: SignedTable) -> Emission:
        title = "inputs, or what they are negated, are added."
        return self._emission(layer, table, "dense_signed.c.j2", title, COLUMNS)


@register
class DenseSignedColumns(_Signed):
    """Column by column: rows to add to, then rows to subtract from, by blocks of 256 rows."""

    name = "dense_signed_columns"
    skips_zeros = True
    plain_factor = 1.3

    @staticmethod
    def _unroll(layer: Layer[QDense]) -> int:
        if layer.small:
            return 2
        w = layer.op.weight
        mean = np.count_nonzero(w) / w.shape[1] / (2 * -(-len(w) // ROWS))
        return 16 if mean > 10 and np.count_nonzero(w) > 2000 else 8 if mean > 4 else 4

    def scratch(self, layer: Layer[QDense]) -> int:
        return 4 * len(layer.op.weight)

    def _counts(self, layer: Layer[QDense]) -> np.ndarray:
        w = layer.op.weight
        signs = np.stack([w > 0, w < 0])  # [2, rows, cols]
        parts = [signs[:, i : i + ROWS].sum(axis=1) for i in range(0, len(w), ROWS)]
        return np.stack(parts).transpose(2, 0, 1)  # [cols, blocks, 2]

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        n, cols = layer.op.weight.shape
        live = layer.live_inputs()
        counts = self._counts(layer)
        nonzeros = float((live * counts.sum(axis=(1, 2))).sum())
        return {
            "columns": float(cols),
            "lists": float(live.sum() * counts[0].size),
            "nonzeros": nonzeros,
            "turns": nonzeros / self._unroll(layer),
            "rows": float(n),
        }

    def table(self, layer: Layer[QDense]) -> SignedTable:
        w = layer.op.weight
        codes = [
            np.nonzero(w[first : first + ROWS, j] == sign)[0]
            for j in range(w.shape[1])
            for first in range(0, len(w), ROWS)
            for sign in (1, -1)
        ]
        note = "by column, rows that it is added to, then those it is subtracted from"
        counts = self._counts(layer).reshape(-1)
        return _table(layer, np.concatenate(codes), counts, note, self._unroll(layer))

    def emit(self, layer: Layer[QDense], table: SignedTable) -> Emission:
        title = "column by column.\n * Time depends on the input: codes of 0 are passed over."
        return self._emission(layer, table, "dense_signed_columns.c.j2", title, ROWS)
