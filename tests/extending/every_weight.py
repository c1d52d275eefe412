"""A row executor that the package does not know: every weight of a row on eight pixels."""

from __future__ import annotations

import numpy as np

from secateur.codegen.emit import CFunction, render_text
from secateur.codegen.kernels import Layer
from secateur.codegen.kernels.tile import (
    RowCode,
    RowExecutor,
    RowForm,
    Rows,
    RowTable,
    Slots,
    TileSchedule,
    accumulator_store,
    register_rows,
)
from secateur.lowering.qgraph import QConv

ROW = """
/* The sums of a row on eight pixels; returns the next row. */
static const uint8_t *{{ name }}(const uint8_t *row, const uint8_t *tile, int32_t *sums)
{
    static const uint16_t reads[{{ reads | length }}] = { {{- reads | join(", ") -}} };
    for (int i = 0; i < 8; i++) {
        sums[i] = 0;
    }
    for (int c = 0; c < {{ reads | length }}; c++) {
        const int32_t w = (int8_t)*row++;
{% for four in fours %}
        for (int i = 0; i < 4; i++) {
            sums[{{ 4 * loop.index0 }} + i] += w * tile[reads[c] + {{ four }} + i];
        }
{% endfor %}
    }
    return row;
}
"""


@register_rows
class EveryWeight(RowExecutor):
    """Rows of int8, one byte a weight, in the order of the operator."""

    name = "conv_every_weight"
    c_name = "every_weight"
    forms = frozenset({"dense"})
    pixels = 8

    def applies(self, layer: Layer[QConv]) -> bool:
        return True

    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        weight = layer.op.weight.astype(np.int8).reshape(-1)
        bits = {"value": 8 * weight.size}
        return Rows(RowForm(record=1), weight.view(np.uint8), 1, "every weight", bits)

    def units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        return {"instructions": 30.0 * s.g.tiles * layer.op.weight.size}

    def title(self, s: TileSchedule) -> str:
        return f"Every weight, {s.key}."

    def emit(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> RowCode:
        name = f"every_weight_row_{s.key}"
        values = {"reads": s.offsets().tolist(), "fours": s.g.word_offsets()}
        row = CFunction(name, render_text(ROW, name=name, **values))
        sums = [f"a[{i}]" for i in range(8)]
        finish = accumulator_store(layer.op, s.g, table.q, sums)
        return RowCode([row], Slots(row=f"int32_t a[8];\ns = {name}(s, tile, a);", finish=finish))
