"""Ternary depthwise convolution: four columns by a few rows at a time, two lanes to an addition.

A channel has few taps and many outputs, so its requantization costs more than its sums, and most
channels have taps of one sign only. Those are summed without sign; where the sign is minus, the
channel's multiplier takes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ...lowering.qgraph import QConv
from ..emit import CArray, CFunction, Emission, by_isa, not_with_vectors, render
from ..geometry import Geometry, Stripe, align4
from ..requant import RequantTable, code_bits, multiplied, requantization
from ..tables import RequantizedTable, counter_type
from .base import Kernel, Layer, register
from .depthwise import depthwise_name, is_depthwise, plane_over_plane
from .helium_depthwise import pieces
from .rows.ternary import lists_fit
from .rows.ternary_bytes import top_code
from .tile.schedule import band_halves, band_phases

#: Most rows whose lanes fit in registers.
ROWS = 5


def _rows(oh: int) -> int:
    """Rows of a strip: of all the cheapest, where a row costs as much as starting a strip does."""
    return min(range(1, min(oh, ROWS) + 1), key=lambda r: (-(-oh // r) * (r + 1.5), -r))


def strip_geometry(layer: Layer[QConv]) -> Geometry:
    """One padded plane, its columns split by phase, and strips of four columns; in a chain of the
    plane the rows that a call reads."""
    op = layer.op
    _, h, w = layer.graph.tensors[op.inputs[0]].shape
    c, oh, ow = layer.graph.tensors[op.output].shape
    s = layer.stripe or Stripe(oh, 1, (h,), oh)
    oh, held = s.rows, s.held[0]
    kh, kw = op.weight.shape[2:]
    sy, sx = op.stride
    rows, phases = (oh - 1) * sy + kh, min(sx, kw)
    pitch = align4(ow + (kw - 1) // sx)
    return Geometry(
        1, h, w, c, oh, ow, kh, kw, sy, sx, op.pads, layer.graph.tensors[op.inputs[0]].zero_point,
        4, _rows(oh), False, False, oh, rows, sy, phases, pitch, pitch * phases,
        rows * pitch * phases, held * w, s.out * ow, s.out * ow, held, s.calls,
        layer.stripe is not None,
    )  # fmt: skip


@dataclass(frozen=True)
class Taps:
    """Lists of taps as the kernel reads them, and the constants that go with them."""

    values: np.ndarray  #: int64: a channel's lists
    flipped: np.ndarray  #: bool [channels]: its taps are all -1 and listed as if they were +1


@dataclass(frozen=True)
class Bytes:
    """How sums of few bits are held, four bytes to a word: no carry leaves a byte."""

    most: int  #: from which what the -1 taps of a channel with both signs come to is taken

    @property
    def turn(self) -> int:
        """That in every byte of a word."""
        return 0x01010101 * self.most

    @classmethod
    def of(cls, weight: np.ndarray, top: int) -> Bytes | None:
        """Of int8 [channels, taps] on codes up to `top`; None where they do not fit."""
        minus, plus = (weight < 0).sum(axis=1), (weight > 0).sum(axis=1)
        both = (minus > 0) & (plus > 0)
        most = top * int(minus[both].max(initial=0))
        last = most + top * int(plus[both].max(initial=0))
        fits = max(last, top * int((minus + plus).max(initial=0))) <= 255
        return cls(most) if fits else None


def tap_lists(weight: np.ndarray, offsets: np.ndarray) -> Taps:
    """Executable form of int8 [channels, taps] of -1, 0, 1.

    Per channel lists of 1 + where in the plane a tap reads, a 0 behind each: of its -1s and then of
    its +1s, or of the only sign it has; behind the last another 0. A channel without taps is one 0.
    """
    out: list[int] = []
    flipped = []
    for row in weight:
        lists = [[int(o) + 1 for o in offsets[row == sign]] for sign in (-1, 1)]
        some = [x for x in lists if x]
        flipped.append(bool(lists[0]) and not lists[1])
        out += [v for x in some for v in (*x, 0)] + [0]
    return Taps(np.array(out), np.array(flipped))


@register
class DepthwiseTernary(Kernel[QConv, RequantizedTable]):
    """Depthwise convolution of -1, 0, 1 weights."""

    name = "depthwise_ternary"
    forms = frozenset({"ternary"})

    def applies(self, layer: Layer[QConv]) -> bool:
        op, r = layer.op, multiplied(layer.op.requant)
        return (
            is_depthwise(op)
            and lists_fit(op.weight)
            and r is not None
            and int(r.multiplier.min()) > -32768  # its negative fits, too
            and layer.graph.tensors[op.output].shape[2] >= 4
        )

    def scratch(self, layer: Layer[QConv]) -> int:
        return strip_geometry(layer).band_bytes

    def overwrites(self, layer: Layer[QConv]) -> tuple[int, ...]:
        return plane_over_plane(layer)

    def chains(self, layer: Layer[QConv]) -> bool:
        return True

    plain_factor = 4.0

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        g = strip_geometry(layer)
        down, alone = float(g.calls * -(-g.oh // g.th)), _alone(g, layer.compact)
        strips = down * -(-(g.ow - alone) // 4)
        taps, live, both = _counts(layer.op.weight)
        made = {
            "taps": strips * taps,
            "words": strips * g.th * taps,
            "changes": strips * g.th * both,
            "strips": strips * live,
            "stores": strips * g.th * live,
        }
        if _bytes(layer):
            made = {f"byte_{unit}": n for unit, n in made.items()}
        if alone:
            made |= {
                "columns": down * live,
                "column_taps": down * g.th * taps,
                "column_stores": down * g.th * live,
            }
        return {**made, **self._planes(g)}

    def _planes(self, g: Geometry) -> dict[str, float]:
        """Units of filling planes."""
        planes = float(g.calls * g.co)
        rows = planes * (g.in_rows if g.chained else g.h)
        return {
            "copied" if g.phases == 1 else "split": rows * g.w,
            "planes": planes,
            "ring_rows": rows if g.ring else 0.0,
        }

    def vector_work(self, layer: Layer[QConv]) -> dict[str, float]:
        g = strip_geometry(layer)
        if not _has_vectors(self.table(layer).q):
            return self.work(layer)
        taps, live, both = _counts(layer.op.weight)
        kind, columns = ("byte", 16) if _bytes(layer) else ("lane", 8)
        strips = float(g.calls * -(-g.oh // g.th) * -(-g.ow // columns))
        return {
            f"{kind}_vectors": strips * g.th * (taps + both),
            f"{kind}_vector_stores": strips * g.th * live,
            "vector_taps": strips * taps,
            "vector_strips": strips * live,
            **self._planes(g),
        }

    def table(self, layer: Layer[QConv]) -> RequantizedTable:
        r = multiplied(layer.op.requant)
        assert r is not None
        weight = layer.op.weight.reshape(len(layer.op.weight), -1)
        taps = tap_lists(weight, strip_geometry(layer).offsets())
        multiplier = (r.multiplier * np.where(taps.flipped, -1, 1)).astype(np.int16)
        offset, sums = r.offset.astype(np.int64), _bytes(layer)
        if sums:
            offset = offset - np.where(_of_both_signs(weight), sums.most, 0) * multiplier.astype(
                np.int64
            )
        turned = replace(r, multiplier=multiplier, offset=offset)
        q = requantization(layer.prefix, turned, code_bits(layer.op.requant))
        elem = counter_type(int(taps.values.max()))
        width, zeros = (8 if elem == "uint8_t" else 16), int((taps.values == 0).sum())
        lists = CArray(
            f"{layer.prefix}_taps", elem, taps.values,
            f"{layer.op.name}: per channel 1 + where its -1 taps read, 0, the same of its +1 taps, "
            f"0, 0; density {np.count_nonzero(weight) / weight.size:.1%}",
            {"count": width * zeros, "index": width * (taps.values.size - zeros)},
        )  # fmt: skip
        return RequantizedTable.of(q, lists)

    def emit(self, layer: Layer[QConv], table: RequantizedTable) -> Emission:
        g, q, elem = strip_geometry(layer), table.q, table.arrays[0].ctype
        alone, sums = _alone(g, layer.compact), _bytes(layer)
        strip = _strip_function(g, q, elem, layer.compact, sums, g.ow - alone)
        columns = [_column_function(g, q, elem, sums)] if alone else []
        vectors = _vector_function(g, q, elem, sums)
        name = f"{depthwise_name(layer.op, g.co, g.oh, g.ow)}_ternary{'_ring' if g.ring else ''}"
        form = partial(
            render, "depthwise_ternary.c.j2", name=name, g=g, q=q, elem=elem,
            phases=band_phases(g), halves=band_halves(g),
            copied=min(g.h, g.in_rows - g.pads[0]),
            title=f"Ternary depthwise {g.kh}x{g.kw} convolution, {g.co} channels of {g.oh}x{g.ow}.",
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        args += [layer.first] if g.numbered else []
        text = form(strip=strip.name, column=columns and columns[0].name, pieces=[])
        forms, functions = {}, [strip, *columns]
        if vectors:
            forms = {"helium": form(strip=vectors.name, column=[], pieces=pieces(g.w))}
            functions = [*(not_with_vectors(f) for f in functions), vectors]
        return Emission(f"{name}({', '.join(args)});", [*functions, CFunction(name, text, forms)])


def _of_both_signs(weight: np.ndarray) -> np.ndarray:
    """bool [channels]: whether a channel of [channels, taps] has taps of either sign."""
    return np.any(weight > 0, axis=1) & np.any(weight < 0, axis=1)


def _counts(weight: np.ndarray) -> tuple[float, float, float]:
    """Taps, channels that have some, and channels that have some of either sign."""
    w = weight.reshape(len(weight), -1)
    live, both = np.any(w, axis=1), _of_both_signs(w)
    return float(np.count_nonzero(w)), float(live.sum()), float(both.sum())


def _bytes(layer: Layer[QConv]) -> Bytes | None:
    """How a layer's sums are held in bytes; None: in 16-bit lanes."""
    x, weight = layer.graph.tensors[layer.op.inputs[0]], layer.op.weight
    return Bytes.of(weight.reshape(len(weight), -1), top_code(x))


def _alone(g: Geometry, compact: bool) -> bool:
    """Whether one column is made byte by byte: it alone would be left over for another four."""
    return g.ow % 4 == 1 and not compact


def _name(g: Geometry, elem: str, sums: Bytes | None, columns: int) -> str:
    return f"taps{elem[4:-2]}_{g.th}x{columns}{'_bytes' if sums else ''}"


def _row_offsets(g: Geometry) -> list[int]:
    """Where in the plane the rows of a strip lie, from the first."""
    return [r * g.step * g.row_pitch for r in range(g.th)]


def _column_function(g: Geometry, q: RequantTable, elem: str, sums: Bytes | None) -> CFunction:
    """The routine that makes one column of `g.th` output rows of a channel."""
    name = _name(g, elem, sums, 1)
    text = render(
        "depthwise_column.c.j2", name=name, g=g, q=q, elem=elem, offsets=_row_offsets(g), bytes=sums
    )  # fmt: skip
    return CFunction(name, text)


def _has_vectors(q: RequantTable) -> bool:
    """Whether vectors make codes: of products that fit 32 bits."""
    return q.pre_shift == 0


def _vector_function(
    g: Geometry, q: RequantTable, elem: str, sums: Bytes | None
) -> CFunction | None:
    """The routine that makes `g.th` output rows of a channel with vectors, only called by cores
    that have them; None where there is none."""
    if not _has_vectors(q):
        return None
    name = f"{_name(g, elem, sums, g.ow)}_vectors"
    text = render(
        "depthwise_taps.helium.c.j2", name=name, g=g, q=q, elem=elem, offsets=_row_offsets(g),
        bytes=sums,
    )  # fmt: skip
    return CFunction(name, "", {"dsp": "", "helium": text})


def _strip_function(
    g: Geometry, q: RequantTable, elem: str, compact: bool, sums: Bytes | None, cols: int
) -> CFunction:
    """The routine that makes `cols` columns of `g.th` output rows of a channel; `compact`: codes
    of four columns a turn, less code for a tenth more instructions."""
    offsets = _row_offsets(g)
    # reach of a load and of a store; one multiplication makes a code of a lane
    assembler = max(offsets[-1], g.th * g.ow) < 4096 and q.pre_shift == 0 and 0 < q.shift < 32
    return by_isa(
        _name(g, elem, sums, cols), "depthwise_taps", *(["dsp"] if assembler else []), g=g, q=q,
        elem=elem, offsets=offsets, cols=cols, looped=compact and g.th > 1 and not sums, bytes=sums,
    )  # fmt: skip
