"""Ternary rows on inputs of few bits: sixteen pixels at a time, four 8-bit lanes to an addition.

Codes of at most four bits are added as they lie in memory. A lane begins at what its -1 columns can
come to at most, so that it never falls below zero, and as many columns go in as leave it below 256:
no carry leaves a lane, and plain words do. A row of more columns is made in several parts, whose
lanes are added up in 16 bits. What lanes begin with is in the offsets of the requantization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....lowering.qgraph import QConv, QTensor
from ...emit import CArray, CFunction, by_isa
from ...requant import RequantTable, code_bits, multiplied, one_shift
from ..base import Layer
from ..tile.conv import register_rows
from ..tile.executor import RowCode, RowExecutor, Rows, RowTable, Slots
from ..tile.schedule import (
    TileSchedule,
    density,
    remembered,
    schedule,
    tile_taps,
    weight_matrix,
)
from .ternary import LANE, ColumnSteps, TileRows, ternary_rows

#: Columns of a part: at most, and at least so that bytes are worth it.
MOST, LEAST = 17, 12

_BYTE = 255


def top_code(x: QTensor) -> int:
    """The largest code that a convolution reads of `x`, padding included."""
    return max(x.top, x.zero_point)


def columns_of(x: QTensor) -> int:
    """Columns of which a sum fits a byte, MOST at most."""
    return min(MOST, _BYTE // max(1, top_code(x)))


def part_counts(weight: np.ndarray, columns: int) -> np.ndarray:
    """In how many parts of so many columns each row of int8 [rows, cols] is made, one at least."""
    return np.maximum(1, -(-np.count_nonzero(weight, axis=1) // columns))


@remembered
def part_rows(weight: np.ndarray, offsets: np.ndarray, unit: int, columns: int) -> np.ndarray:
    """Executable form: rows as of `ternary_rows`; in front of one in several parts columns + 1 and
    how many, then each as if it were a row."""
    out: list[np.ndarray] = []
    for row in weight:
        columns_in = np.flatnonzero(row)
        parts = -(-columns_in.size // columns)
        if parts > 1:
            out.append(np.array([columns + 1, parts]))
        for part in np.array_split(columns_in, max(1, parts)):
            alone = np.zeros_like(row)
            alone[part] = row[part]
            out.append(ternary_rows(alone[None], offsets, unit))
    return np.concatenate(out)


@dataclass(frozen=True)
class ByteRows(TileRows):
    """The same where inputs have few bits."""

    top: int  #: the largest code of the inputs
    most: int  #: columns of a part
    parts: bool  #: there are rows in several

    @property
    def pattern(self) -> int:
        """The largest code in every byte of a word."""
        return 0x01010101 * self.top


def _tile_function(t: ColumnSteps, rows: ByteRows) -> CFunction:
    """All rows of a layer on one tile."""
    name = f"ternary_bytes{rows.top}_{t.key}_{rows.co}"
    together = t.offsets == rows.out_offsets == (0, 4, 8, 12)
    isas = ("dsp", "helium") if together else ("dsp",)
    return by_isa(name, "rows/ternary_bytes", *isas, t=t, rows=rows)


@register_rows
class TernaryBytes(RowExecutor):
    """Rows of -1, 0, 1 on inputs of at most four bits."""

    name = "conv_ternary_bytes"
    c_name = "ternary_bytes"
    forms = frozenset({"ternary"})
    gathers = True
    plain_factor = 3.0
    assembler = frozenset({"dsp"})

    def applies(self, layer: Layer[QConv]) -> bool:
        op = layer.op
        x = layer.graph.tensors[op.inputs[0]]
        if x.wide or columns_of(x) < LEAST or op.residual is not None:
            return False
        whole = not schedule(layer, self.pixels, self.gathers).g.partial
        weight = weight_matrix(op)
        ternary = bool(np.abs(weight).max(initial=0) <= 1)
        sums = top_code(x) * np.count_nonzero(weight, axis=1).max(initial=0)
        return whole and ternary and sums <= LANE and one_shift(op.requant)

    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        op = layer.op
        weight, columns = weight_matrix(op), columns_of(layer.graph.tensors[op.inputs[0]])
        parts = part_counts(weight, columns)
        comment = (
            f"{op.name}: per output channel n(-1), steps to them, n(+1), steps to them; of more "
            f"than {columns} columns in parts, {columns + 1} and their number first; density "
            f"{density(weight):.1%}"
        )
        values = part_rows(weight, s.offsets(), s.unit, columns)
        return Rows.of_steps(values, int(2 * parts.sum() + 2 * np.sum(parts > 1)), comment)

    def requant(self, layer: Layer[QConv]) -> RequantTable:
        """Offsets that take away what lanes begin with."""
        r, weight = multiplied(layer.op.requant), weight_matrix(layer.op)
        assert r is not None
        most = top_code(layer.graph.tensors[layer.op.inputs[0]]) * (weight < 0).sum(axis=1)
        m = r.multiplier.astype(np.int64)
        values = np.stack([m, r.offset - m * most], axis=1)
        note = "per output channel: multiplier, offset from the least sum on"
        array = CArray(f"{layer.prefix}_q", "int32_t", values, note, {"requant": 32 * values.size})
        bits = code_bits(layer.op.requant)
        return RequantTable(array, ("*q++", "*q++"), 0, r.shift, 0, bits=bits)

    def units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        columns = columns_of(layer.graph.tensors[layer.op.inputs[0]])
        parts = part_counts(weight_matrix(layer.op), columns)
        return {
            "taps" if s.g.pointwise else "window_taps": tile_taps(layer.op, s.g),
            "stores": float(s.g.tiles * s.g.co),
            "parts": float(s.g.tiles * parts[parts > 1].sum()),
        }

    def title(self, s: TileSchedule) -> str:
        size = f"{s.g.tw}x{s.g.th}"
        return f"Ternary convolution {s.key} on few bits: all rows of weights per {size} tile."

    def emit(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> RowCode:
        g, x = s.g, layer.graph.tensors[layer.op.inputs[0]]
        steps = ColumnSteps.of(table.rows.form.elem, s, not layer.small)
        several = bool(part_counts(weight_matrix(layer.op), columns_of(x)).max() > 1)
        rows = ByteRows(
            g.co, g.out_plane, table.q, tuple(g.out_offsets()),
            top=top_code(x), most=columns_of(x), parts=several,
        )  # fmt: skip
        made = _tile_function(steps, rows)
        return RowCode([made], Slots(whole=f"{made.name}(rows, tile, requant, o);"))
