"""Ternary rows of pointwise layers over a tile and its mirror.

Beside each plane of a tile lies its mirror, 255 less every code: to take a code off is to add its
mirror, and 255 too much. So a row is one list of columns to add (coding/mirrored.py), in lanes that
begin at what its mirrors add too much: half as many lists as of -1s and of +1s, and no sign to turn
between them.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ....coding.mirrored import numbers_of
from ....lowering.qgraph import QConv
from ...emit import CFunction, by_isa, render
from ...geometry import Geometry
from ...requant import RequantTable
from ..base import Layer
from ..tile.conv import register_rows
from ..tile.executor import Rows
from ..tile.schedule import TileSchedule, density, remembered, weight_matrix
from ..tile.store import start_tile
from .ternary import SHARED, UNROLLED, ColumnSteps, TernaryRows, TileRows

#: Bytes of a plane of a tile and its mirror, each half of them.
PITCH = 32


@remembered
def _numbers(weight: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    return numbers_of(weight[:, np.argsort(offsets)])


def _copy_function(pixels: int, again: int) -> CFunction:
    """The routine that makes a tile; `again` of its pixels are kept from the one before."""
    name = f"mirror_tile{pixels}" + (f"_again{again}" if again else "")
    text = render("rows/mirror_tile.c.j2", name=name, pixels=pixels, pitch=PITCH, again=again)
    return CFunction(name, text)


def _alone(g: Geometry, planes: int, pitch: int) -> int:
    """How many of so many planes, `pitch` bytes apart, a partial tile at their begin leaves."""
    return min(planes, -(-(g.tw - g.ow) // pitch))


@register_rows
class MirrorRows(TernaryRows):
    """Rows of -1, 0, 1 over mirrored tiles."""

    name = "conv_ternary_mirror"
    c_name = "ternary_mirror"
    forms = frozenset({"ternary", "coded mirrored ternary"})
    narrow = 0
    pitch = PITCH
    mirror: ClassVar[bool] = True

    def applies(self, layer: Layer[QConv]) -> bool:
        return super().applies(layer) and self.schedule(layer).g.pointwise

    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        weight = weight_matrix(layer.op)
        comment = (
            f"{layer.op.name}: per output channel columns behind the first, mirrors, steps; "
            f"density {density(weight):.1%}"
        )
        values = _numbers(weight, s.offsets())
        return Rows.of_steps(values, 2 * len(weight), comment, mirror=True)

    def dsp_units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        columns = np.maximum(1, np.count_nonzero(weight_matrix(layer.op), axis=1))
        steps = self.steps(layer, s, "uint8_t")
        taps, stores = float(s.g.tiles * columns.sum()), float(s.g.tiles * s.g.co)
        if not steps.unroll:
            return {"looped_taps": taps, "stores": stores}
        more = np.maximum(0, -(-(columns - 1) // steps.turn) - 1)
        return {"taps": taps, "stores": stores, "turns": float(s.g.tiles * more.sum())}

    def shortens(self, layer: Layer[QConv], s: TileSchedule) -> bool:
        return False

    def title(self, s: TileSchedule) -> str:
        return f"Ternary convolution {s.key}: rows over {s.g.tw} pixels and their mirrors."

    def pays(self, layer: Layer[QConv], s: TileSchedule) -> bool:
        weight = weight_matrix(layer.op)
        first = np.count_nonzero(weight.any(axis=1))
        return bool(s.g.tiles * (np.count_nonzero(weight) + first) >= UNROLLED)

    def copy(self, layer: Layer[QConv], s: TileSchedule) -> tuple[list[CFunction], str]:
        g = s.g
        if s.gathered:
            return [], ""
        made = [_copy_function(g.tw, 0)]
        name = made[0].name
        if g.partial:
            copy = render(
                "rows/mirror_partial_copy.c.j2", name=name, g=g, pitch=PITCH,
                direct=g.ci - _alone(g, g.ci, g.in_plane),
            )  # fmt: skip
            return made, copy.rstrip()
        arguments = f"(band, in + x, {g.in_plane}, {g.ci});"
        again = -g.ow % g.tw
        # where its inputs may have been overwritten
        if again and (layer.in_place or layer.stripe is not None):
            made.append(_copy_function(g.tw, again))
            last = f"{made[1].name}{arguments}"
            calls = [f"if (x == xt) {{\n    {name}{arguments}\n}} else {{\n    {last}\n}}"]
        else:
            calls = [f"{name}{arguments}"]
        return made, "\n".join([start_tile(g), *calls])

    def tile(
        self, layer: Layer[QConv], s: TileSchedule, q: RequantTable, steps: ColumnSteps
    ) -> tuple[CFunction, str]:
        g = s.g
        told = layer.weight >= SHARED
        # how many rows there are is always told
        rows = TileRows(0, 0 if told else g.out_plane, q, tuple(g.out_offsets()))
        name = f"ternary_tile{steps.key}" + ("" if told else f"_{g.out_plane}")
        made = by_isa(name, "rows/ternary_tile", *steps.isas, t=steps, rows=rows)
        step = f", {g.out_plane}" if told else ""
        if not g.partial:
            return made, f"{name}(rows, tile, requant, o, requant + {2 * g.co}{step});"
        # others' rows, in a chain, may lie behind a plane's
        alone = _alone(g, g.co, g.out_plane) if g.out_plane == g.ow else g.co
        call = render(
            "rows/mirror_partial.c.j2", name=name, elem=steps.elem, g=g, direct=g.co - alone,
            step=step,
        )  # fmt: skip
        return made, call.rstrip()


@register_rows
class MirrorRows12(MirrorRows):
    """The same by twelve pixels: planes of 36 need three tiles, not two and a quarter."""

    name = "conv_ternary_mirror12"
    c_name = "ternary_mirror12"
    gathers = False
    pixels = 12
