"""Fully connected, two values a row: the sum of all inputs once, then the rarer value's by row."""

from __future__ import annotations

import numpy as np

from ...coding.two_level import two_levels
from ...lowering.qgraph import QDense
from ..emit import CFunction, Emission, checked_call, render
from ..geometry import align4
from ..requant import requantization
from .base import Kernel, Layer, register
from .coded import coded, decode_work, is_coded, room, rows_of
from .dense_sparse import ListTable, column_array, count_array
from .rows.two_level import levels_array, split_of


@register
class DenseTwoLevel(Kernel[QDense, ListTable]):
    """Rows of a mask, 1 for the rarer value."""

    name = "dense_two_level"
    forms = frozenset({"two_level", "coded two_level"})
    plain_factor = 1.1

    def applies(self, layer: Layer[QDense]) -> bool:
        return two_levels(layer.op.weight) is not None

    def scratch(self, layer: Layer[QDense]) -> int:
        return align4(2 * room(rows_of(layer))) if is_coded(layer.encoded) else 0

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        mask = split_of(layer).mask
        rows, cols = mask.shape
        sums = 5.0 * np.count_nonzero(mask) + 32.0 * rows + 4.0 * cols
        decode = decode_work(rows_of(layer)) if layer.encoded else {}
        return {"instructions": sums, **decode}

    def table(self, layer: Layer[QDense]) -> ListTable:
        q, levels = requantization(layer.prefix, layer.op.requant), levels_array(layer)
        if is_coded(layer.encoded):
            c = coded(layer)
            return ListTable(
                arrays=(*c.arrays, levels, q.array), constants=(c.constant,), q=q, coded=c
            )  # fmt: skip
        mask, p = split_of(layer).mask, layer.prefix
        note = f"{layer.op.name}: columns of the rarer value; density {mask.mean():.1%}"
        columns = column_array(p, np.nonzero(mask)[1], mask.shape[1], note)
        counts = count_array(p, mask.sum(axis=1), "their number by row")
        return ListTable(arrays=(columns, counts, levels, q.array), q=q, coded=None)

    def emit(self, layer: Layer[QDense], table: ListTable) -> Emission:
        n, cols = layer.op.weight.shape
        c = table.coded
        name = f"fc_two_level_{cols}x{n}" + (f"_{c.c_name}" if c else "")
        text = render(
            "dense_two_level.c.j2", name=name, n=n, cols=cols, q=table.q, c=c, arrays=table.arrays,
        )  # fmt: skip
        first = [f"&{c.name}", *table.names[-2:]] if c else table.names
        args = [*first, layer.inputs[0], layer.output, *([layer.scratch] if c else [])]
        call = f"{name}({', '.join(args)})"
        return Emission(
            checked_call(call) if c else f"{call};", [CFunction(name, text)],
            [c.header] if c else [],
        )  # fmt: skip
