"""Two values a row: the sum of all inputs once a tile, then the rarer value's.

With a row of b, and a in a few places, the accumulator is (a - b) * few + b * all, exactly.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ....coding.two_level import TwoLevels, two_levels
from ....lowering.qgraph import QConv
from ...emit import CArray, CFunction, render
from ..base import Layer
from ..tile.conv import register_rows
from ..tile.executor import RowCode, RowExecutor, Rows, RowTable, Slots
from ..tile.schedule import TileSchedule, weight_matrix
from ..tile.store import accumulator_store
from .ternary import LANE, ColumnSteps, row_function, ternary_rows


def split_of(layer: Layer[Any]) -> TwoLevels:
    """Mask and levels of a layer's weights that have them."""
    split = two_levels(weight_matrix(layer.op))
    assert split is not None
    return split


def levels_array(layer: Layer[Any]) -> CArray:
    """int8 pairs: a row's frequent value and its rarer one."""
    levels = split_of(layer).levels
    note = f"{layer.op.name}: by row the frequent value and the rarer one"
    return CArray(f"{layer.prefix}_l", "int8_t", levels, note, {"codebook": levels.size * 8})


@register_rows
class TwoLevelRows(RowExecutor):
    """Rows of a mask, 1 for the rarer value."""

    name = "conv_two_level"
    c_name = "two_level"
    forms = frozenset({"two_level", "coded two_level"})
    plain_factor = 3.5

    def applies(self, layer: Layer[QConv]) -> bool:
        split = two_levels(weight_matrix(layer.op))
        return split is not None and 255 * int(split.mask.sum(axis=1).max()) <= LANE

    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        mask = split_of(layer).mask
        comment = (
            f"{layer.op.name}: per output channel 0, the number of columns with the rarer value, "
            f"steps to them; density {mask.mean():.1%}"
        )
        return Rows.of_steps(ternary_rows(mask, s.offsets(), s.unit), 2 * len(mask), comment)

    def others(self, layer: Layer[QConv]) -> tuple[CArray, ...]:
        return (levels_array(layer),)

    def units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        mask, tiles = split_of(layer).mask, float(s.g.tiles)
        window = "" if s.g.pointwise else "window_"
        return {
            f"{window}taps": tiles * np.count_nonzero(mask), "stores": tiles * s.g.co,
            f"{window}inputs": tiles * mask.shape[1], "tiles": tiles,
        }  # fmt: skip

    def title(self, s: TileSchedule) -> str:
        return f"Two values a row, {s.key}: the rarer one's inputs per {s.g.tw}x{s.g.th} tile."

    def emit(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> RowCode:
        op, g = layer.op, s.g
        nonzeros = np.count_nonzero(split_of(layer).mask)
        unroll = bool(not layer.small and g.tiles * nonzeros >= 6000)
        row = row_function(ColumnSteps.of(table.rows.form.elem, s, unroll))
        taps = [
            y * g.row_pitch + (x % g.sx) * g.phase_pitch + x // g.sx
            for y in range(g.kh) for x in range(g.kw)
        ]  # fmt: skip
        name = f"all_inputs_{s.key}"
        text = render(
            "rows/all_inputs.c.j2", name=name, g=g, taps=taps, offsets=g.word_offsets(),
            most=max(1, 128 // len(taps)),
        )  # fmt: skip
        sums = [
            f"sc_mac_{'hi' if i & 2 else 'lo'}(a[{i // 4 * 2 + i % 2}], more, base * all[{i}])"
            for i in range(16)
        ]
        return RowCode(
            [row, CFunction(name, text)],
            Slots(
                parameters=("const int8_t *levels",),
                prologue=f"const int8_t *level = levels;\nint32_t all[16];\n{name}(tile, all);",
                row=(
                    f"uint32_t a[8];\ns = {row.name}(s, tile, a);\n"
                    "const int32_t base = level[0], more = level[1] - base;\nlevel += 2;"
                ),
                finish=accumulator_store(op, g, table.q, sums),
            ),
        )
