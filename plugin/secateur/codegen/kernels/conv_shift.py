"""Convolution of powers of two: sums by magnitude, sixteen pixels at a time, doubled in between.

A chain of magnitudes (see `coding.powers`) is walked from the largest down: double the lanes, add
the inputs of the next magnitude. Lanes have 16 bits and wrap, which does no harm as long as the
chain's result fits; where it might not, the chain is cut into segments and these are joined in
32 bits. Nothing is multiplied before requantization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...coding.base import Encoding
from ...coding.powers import chains
from ...lowering.qgraph import QConv
from ..emit import CArray, CFunction, Emission, render
from ..geometry import Geometry
from ..requant import table
from .base import Layer, register
from .conv_ternary import Steps
from .convtile import (
    Rows,
    TiledConv,
    accumulator_store,
    band_function,
    band_work,
    copy_tile,
    in_memory_order,
    keep_rows,
    remembered,
    residual_work,
    shape_key,
    tile_store,
    tile_taps,
)
from .unpack import (
    Unpacking,
    align4,
    coded,
    decode_work,
    is_coded,
    map_function,
    pointer,
)

_LANE = 32767


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
            if alone.max() > _LANE:
                return ()
            grown = most + (alone << (p - low))
            if grown.max() > _LANE:
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


def times(x: str, factor: int) -> str:
    """C that multiplies an int32 by a constant of one or two bits, by shifting."""
    low = (factor & -factor).bit_length() - 1
    rest = factor - (1 << low)
    terms = [f"sc_shl({x}, {n})" if n else x for n in (rest.bit_length() - 1, low)]
    return " + ".join(terms if rest else terms[1:])


def accumulators(parts: tuple[Segment, ...]) -> list[str]:
    """C of the sixteen 32-bit sums, pixel by pixel, from the lanes a0[8], a1[8] ... of segments."""
    out = []
    for word in range(4):
        for pixel in range(4):
            lane = f"sc_lane_{'hi' if pixel & 2 else 'lo'}(a%d[{2 * word + pixel % 2}])"
            terms = [times(lane % i, s.odd << s.low) for i, s in enumerate(parts)]
            out.append(" + ".join(terms))
    return out


@register
class ConvShift(TiledConv):
    """Direct sparse convolution of powers of two (groups == 1)."""

    name = "conv_shift"
    forms = frozenset({"shift", "sparse"})
    pixels = 16

    def applies(self, layer: Layer) -> bool:
        op = layer.op
        if not isinstance(op, QConv) or op.groups != 1:
            return False
        return bool(segments(self._matrix(layer)))

    def takes(self, encoding: Encoding) -> bool:
        """The direct form is `shift`; sparse rows only where they are unpacked anyway."""
        return encoding.form == "shift" or encoding.decoder is not None

    @staticmethod
    def _matrix(layer: Layer) -> np.ndarray:
        assert isinstance(layer.op, QConv)
        return layer.op.weight.reshape(layer.op.weight.shape[0], -1)

    def rows(self, layer: Layer) -> Rows:
        g, weight = self.geometry(layer), self._matrix(layer)
        unit = 4 if g.pointwise else 0
        return Rows.of_steps(shift_rows(weight, g.offsets(), unit, segments(weight)))

    def kept(self, layer: Layer) -> int:  # its unpacker writes no more than the layer has
        return align4(self.rows(layer).size) if is_coded(layer.encoded) else 0

    plain_factor = 4.0
    code_bytes = 900
    plain_code = 2.3

    def work(self, layer: Layer) -> dict[str, float]:
        assert isinstance(layer.op, QConv)
        g, weight = self.geometry(layer), self._matrix(layer)
        parts = segments(weight)
        groups = float(sum(s.groups for s in parts))
        tiles = float(g.tiles * g.co)
        unpack: dict[str, float] = {}
        if is_coded(layer.encoded):
            nonzeros = float(np.count_nonzero(weight))
            unpack = {"unpacked": nonzeros, "unpacked_groups": groups * g.co}
        return {
            "taps" if g.pointwise else "window_taps": tile_taps(layer.op, g),
            "groups": tiles * groups,
            "stores": tiles,
            "parts": tiles * (len(parts) - 1),
            **residual_work(layer),
            **band_work(g),
            **unpack,
            **decode_work(layer.encoded),
        }

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QConv)
        g, weight = self.geometry(layer), self._matrix(layer)
        keep = keep_rows(g, layer.inputs[0] == layer.output)
        q = table(layer.prefix, op.requant)
        parts = segments(weight)
        made = self.rows(layer)
        values, elem = made.values, made.elem
        unit = 4 if g.pointwise else 0
        unroll = not layer.small and g.tiles * np.count_nonzero(op.weight) >= 6000
        steps = Steps(elem, unit, tuple(g.word_offsets()), g.pointwise, bool(unroll))
        row_name = f"shift_row{steps.key}"
        row = CFunction(row_name, render("shift_row.c.j2", name=row_name, t=steps))
        functions = [row]
        band = band_function(g, keep)
        if band:
            functions.append(band)
        name = f"shift_{shape_key(g)}"
        if len(parts) == 1 and parts[0].odd << parts[0].low == 1:
            lanes = [(f"a0[{2 * i}]", f"a0[{2 * i + 1}]") for i in range(4)]
            store = tile_store(op, g, q, lanes)
        else:
            store = accumulator_store(op, g, q, accumulators(parts))
        text = render(
            "conv_shift.c.j2",
            name=name,
            title=f"Powers of two, {shape_key(g)}: one row of weights per {g.tw}x{g.th} tile.",
            elem=elem,
            g=g,
            q=q,
            row=row_name,
            segments=parts,
            band_name=band.name if band else "",
            residual=op.residual is not None,
            tile_copy=copy_tile(g),
            store=store,
        )
        functions.append(CFunction(name, text))
        density = np.count_nonzero(op.weight) / op.weight.size
        counts = len(slots(parts)) * g.co
        rows = CArray(
            f"{layer.prefix}_rows", elem, values,
            f"{op.name}: per output channel, for each of {slots(parts)} the number of columns "
            f"and the steps to them; density {density:.1%}",
            {"count": 8 * made.each * counts, "gap": 8 * made.each * (values.size - counts)},
        )  # fmt: skip
        return self.emission(
            layer, name, functions, rows, [q.array],
            lambda: _unpack(layer, g, elem, parts, layer.kept, layer.scratch),
        )  # fmt: skip


def _unpack(
    layer: Layer, g: Geometry, elem: str, parts: tuple[Segment, ...], out: str, work: str
) -> Unpacking:
    """Unpack coded rows to `out`, with scratch at `work` (C expressions)."""
    c = coded(layer)
    column_map = map_function(g)
    name = f"unpack_shift_{c.c_name}_{shape_key(g)}"
    text = render(
        "unpack_shift.c.j2", name=name, c=c, g=g, elem=elem, room=c.room, values=slots(parts),
        map_bytes=align4(2 * c.encoded.cols) if column_map else 0,
        map_name=column_map.name if column_map else "",
    )  # fmt: skip
    functions = [column_map] if column_map else []
    call = f"if ({name}(&{c.name}, {pointer(elem, out)}, {work}) != 0) {{\n    return -1;\n}}"
    return Unpacking([*functions, CFunction(name, text)], call, c.arrays, [c.header], [c.constant])
