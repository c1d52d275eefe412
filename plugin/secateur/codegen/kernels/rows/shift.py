"""Rows of powers of two: sums by magnitude, sixteen pixels at a time, doubled in between.

A chain of magnitudes (see `coding.powers`) is walked from the largest down: double the lanes, add
the inputs of the next magnitude. Lanes have 16 bits and wrap, which does no harm as long as the
chain's result fits; where it might not, the chain is cut into segments and these are joined in
32 bits. Nothing is multiplied before requantization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....coding.powers import chains
from ....lowering.qgraph import QConv
from ...emit import by_isa
from ..base import Layer
from ..tile.conv import register_rows
from ..tile.executor import RowCode, RowExecutor, Rows, RowTable, Slots
from ..tile.schedule import (
    TileSchedule,
    density,
    in_memory_order,
    remembered,
    tile_taps,
    weight_matrix,
)
from ..tile.store import accumulator_store, tile_store
from .powers import times
from .ternary import LANE, ColumnSteps


@dataclass(frozen=True)
class Segment:
    """Magnitudes odd << p, p = low..high, whose sums, over odd << low, fit a 16-bit lane."""

    odd: int
    low: int
    high: int

    @property
    def groups(self) -> int:
        """Number of magnitudes."""
        return self.high - self.low + 1

    @property
    def signs(self) -> list[int]:
        """Sign of the weights in each of its lists, from the largest magnitude down.

        The lanes change sign between a magnitude's two lists, so that they need to do so but once,
        and end up positive.
        """
        first = 1 if self.groups % 2 == 0 else -1
        return [first * s for i in range(self.groups) for s in ((-1) ** i, -((-1) ** i))]


def segments(weight: np.ndarray) -> tuple[Segment, ...]:
    """How the chains of int8 [rows, cols] are cut; () if one magnitude alone can leave a lane."""
    size = np.abs(weight.astype(np.int64))
    out: list[Segment] = []
    for chain in chains(weight):
        low = chain.low
        most = np.zeros((len(weight), 2), np.int64)  # of a lane, by row and sign
        for p in range(chain.low, chain.high + 1):
            here = size == chain.odd << p
            signs = (here & (weight > 0), here & (weight < 0))
            alone = 255 * np.stack([s.sum(axis=1) for s in signs], axis=1)
            if alone.max() > LANE:
                return ()
            grown = most + (alone << (p - low))
            if grown.max() > LANE:
                out.append(Segment(chain.odd, low, p - 1))
                low, grown = p, alone
            most = grown
        out.append(Segment(chain.odd, low, chain.high))
    return tuple(out)


@remembered
def shift_rows(
    weight: np.ndarray, offsets: np.ndarray, unit: int, parts: tuple[Segment, ...]
) -> np.ndarray:
    """Executable form: per row and segment, per magnitude twice a count and the steps to columns.

    Returns int64; a step is in units of 2**unit bytes.
    """
    out: list[np.ndarray] = []
    for row in weight:
        for value in slots(parts):
            columns = np.flatnonzero(row == value)
            out.append(np.array([columns.size]))
            out.append(in_memory_order(columns, offsets)[1] >> unit)
    return np.concatenate(out)


def slots(parts: tuple[Segment, ...]) -> list[int]:
    """The weight of each list of a row, in order."""
    return [sign * (s.odd << (s.high - i // 2)) for s in parts for i, sign in enumerate(s.signs)]


def accumulators(parts: tuple[Segment, ...]) -> list[str]:
    """C of the sixteen 32-bit sums, pixel by pixel, from the lanes a0[8], a1[8] ... of segments."""
    out = []
    for word in range(4):
        for pixel in range(4):
            lane = f"sc_lane_{'hi' if pixel & 2 else 'lo'}(a%d[{2 * word + pixel % 2}])"
            terms = [times(lane % i, s.odd << s.low) for i, s in enumerate(parts)]
            out.append(" + ".join(terms))
    return out


@register_rows
class ShiftRows(RowExecutor):
    """Rows of powers of two; sparse ones only where they are unpacked anyway."""

    name = "conv_shift"
    c_name = "shift"
    forms = frozenset({"shift", "coded sparse"})
    plain_factor = 4.0
    assembler = frozenset({"dsp"})

    def applies(self, layer: Layer[QConv]) -> bool:
        return bool(segments(weight_matrix(layer.op)))

    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        weight = weight_matrix(layer.op)
        parts = segments(weight)
        lists = slots(parts)
        comment = (
            f"{layer.op.name}: per output channel, for each of {lists} the number of columns "
            f"and the steps to them; density {density(weight):.1%}"
        )
        values = shift_rows(weight, s.offsets(), s.unit, parts)
        return Rows.of_steps(values, len(lists) * len(weight), comment, tuple(lists))

    def units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        parts = segments(weight_matrix(layer.op))
        tiles = float(s.g.tiles * s.g.co)
        return {
            "taps" if s.g.pointwise else "window_taps": tile_taps(layer.op, s.g),
            "groups": tiles * sum(p.groups for p in parts),
            "stores": tiles,
            "parts": tiles * (len(parts) - 1),
        }

    def title(self, s: TileSchedule) -> str:
        return f"Powers of two, {s.key}: one row of weights per {s.g.tw}x{s.g.th} tile."

    def emit(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> RowCode:
        op, parts = layer.op, segments(weight_matrix(layer.op))
        unroll = bool(not layer.small and s.g.tiles * np.count_nonzero(op.weight) >= 6000)
        steps = ColumnSteps.of(table.rows.form.elem, s, unroll)
        row = by_isa(f"shift_row{steps.key}", "rows/shift_row", "dsp", t=steps)
        lines = []
        for i, p in enumerate(parts):
            lines.append(f"uint32_t a{i}[8]; /* over {p.odd << p.low} */")
            lines.append(f"s = {row.name}(s, tile, a{i}, {p.groups});")
        if len(parts) == 1 and parts[0].odd << parts[0].low == 1:
            lanes = [(f"a0[{2 * i}]", f"a0[{2 * i + 1}]") for i in range(4)]
            finish = tile_store(op, s.g, table.q, lanes)
        else:
            finish = accumulator_store(op, s.g, table.q, accumulators(parts))
        return RowCode([row], Slots(row="\n".join(lines), finish=finish))
