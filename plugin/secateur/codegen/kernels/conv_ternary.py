"""Ternary convolution: sixteen pixels at a time, two 16-bit lanes to an addition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...lowering.qgraph import QConv
from ..emit import CArray, CFunction, Emission, render
from ..geometry import Geometry
from ..requant import RequantTable, table
from .base import Layer, register
from .convtile import (
    Rows,
    TiledConv,
    band_function,
    band_work,
    copy_tile,
    in_memory_order,
    keep_rows,
    may_overwrite,
    remembered,
    residual_work,
    shape_key,
    start_tile,
    tile_store,
    tile_taps,
)
from .gather import gather_function, gathered, tile_bytes
from .unpack import memory_order, unpack_rows, unpack_work


@remembered
def ternary_rows(weight: np.ndarray, offsets: np.ndarray, unit: int) -> np.ndarray:
    """Executable form: per row n_minus, steps of the -1 columns, n_plus, steps of the +1 columns.

    weight: int8 [rows, cols] of -1, 0, 1. Returns int64; a step is in units of 2**unit bytes.
    """
    out: list[np.ndarray] = []
    for row in weight:
        for columns in (np.flatnonzero(row < 0), np.flatnonzero(row > 0)):
            out.append(np.array([columns.size]))
            out.append(in_memory_order(columns, offsets)[1] >> unit)
    return np.concatenate(out)


@register
class ConvTernary(TiledConv):
    """Direct sparse convolution of -1, 0, 1 weights (groups == 1)."""

    name = "conv_ternary"
    forms = frozenset({"ternary"})
    pixels = 16

    def applies(self, layer: Layer) -> bool:
        op = layer.op
        if not isinstance(op, QConv) or op.groups != 1 or np.any(np.abs(op.weight) > 1):
            return False
        w = op.weight.reshape(op.weight.shape[0], -1)
        most = max(int((w > 0).sum(axis=1).max()), int((w < 0).sum(axis=1).max()))
        return 255 * most <= 32767  # the sum of a row's +1s or -1s fits a lane

    def window(self, layer: Layer) -> Geometry:
        """Tiles and band of the layer as it is."""
        return super().geometry(layer)

    def geometry(self, layer: Layer) -> Geometry:
        """The same as it is executed: pointwise where its columns are gathered."""
        assert isinstance(layer.op, QConv)
        window = self.window(layer)
        return (layer.stripe is None and gathered(layer.op, window)) or window

    def order(self, layer: Layer) -> np.ndarray | None:
        return memory_order(self.window(layer))  # of gathered columns, too

    def straight(self, layer: Layer) -> bool:
        window = self.window(layer)
        return window.pointwise or window.direct

    def _offsets(self, layer: Layer) -> np.ndarray:
        """Where each weight column reads, in the band or among the gathered ones."""
        g, window = self.geometry(layer), self.window(layer)
        if g == window:
            return g.offsets()
        offsets = np.empty(g.ci, np.int64)
        offsets[memory_order(window)] = g.offsets()
        return offsets

    def band_bytes(self, layer: Layer) -> int:
        g, window = self.geometry(layer), self.window(layer)
        return g.band_bytes if g == window else tile_bytes(g) + window.band_bytes

    def rows(self, layer: Layer) -> Rows:
        assert isinstance(layer.op, QConv)
        weight = layer.op.weight.reshape(layer.op.weight.shape[0], -1)
        unit = 4 if self.geometry(layer).pointwise else 0
        return Rows.of_steps(ternary_rows(weight, self._offsets(layer), unit))

    def overwrites(self, layer: Layer) -> tuple[int, ...]:
        over = may_overwrite(layer.op, self.geometry(layer))
        # each tile of a gathered layer reads the input
        same = self.geometry(layer) == self.window(layer)
        return over if same else tuple(i for i in over if i)

    plain_factor = 4.5
    code_bytes = 750
    plain_code = 2.3

    def code(self, layer: Layer) -> int:
        return 500 if self.geometry(layer).pointwise else self.code_bytes

    def work(self, layer: Layer) -> dict[str, float]:
        assert isinstance(layer.op, QConv)
        g, window = self.geometry(layer), self.window(layer)
        gathers = {} if g == window else {"gathered": float(g.tiles * g.ci)}
        return {
            **gathers,
            "taps" if g.pointwise else "window_taps": tile_taps(layer.op, g),
            "stores": float(g.tiles * g.co),
            **residual_work(layer),
            **band_work(window),
            **unpack_work(layer.encoded),
        }

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QConv)
        g, window = self.geometry(layer), self.window(layer)
        in_place = layer.inputs[0] == layer.output
        keep = keep_rows(g, in_place)
        q = table(layer.prefix, op.requant)
        unit = 4 if g.pointwise else 0
        made = self.rows(layer)
        values, elem = made.values, made.elem
        density = np.count_nonzero(op.weight) / op.weight.size
        rows = CArray(
            f"{layer.prefix}_rows", elem, values,
            f"{op.name}: per output channel n(-1), steps to them, n(+1), steps to them; "
            f"density {density:.1%}",
            {
                "count": 8 * made.each * 2 * g.co,
                "gap": 8 * made.each * (values.size - 2 * g.co),
            },
        )  # fmt: skip
        # four columns a turn where it pays; elsewhere the code is worth more
        columns = g.tiles * np.count_nonzero(op.weight)
        unroll = not layer.small and columns >= 4000
        shared = layer.weight >= 0.5
        steps = Steps(elem, unit, tuple(g.word_offsets()), g.pointwise, bool(unroll), shared)
        # codes straight from the routine where a row needs nothing but its two int16 constants
        plain = q.ctype == "int16_t" and q.array.values.shape[1] == 2
        whole = (
            plain and 0 < q.shift < 32 and q.pre_shift == 0
            and not g.partial and op.residual is None
        )  # fmt: skip
        if whole:
            looped = layer.weight >= 0.5 and (not unroll or columns < 6000)
            row = _tile_function(steps, g.co, g.out_plane, q, tuple(g.out_offsets()), looped)
        else:
            row = _row_function(steps)
        functions = [*_list_function(steps), row]
        band = band_function(window, keep)
        if band:
            functions.append(band)
        before, tile_copy = "", copy_tile(g)
        if g != window:
            gather = gather_function(window)
            functions.append(gather)
            source = "in" if window.direct else f"band + {tile_bytes(g)}"
            before = f"{band.name}({source}, in, 0);" if band else ""
            tile_copy = f"{start_tile(g)}\n{gather.name}(band, {source}, x);"
        name = f"ternary_{shape_key(window)}"
        lanes = [(f"a[{2 * i}]", f"a[{2 * i + 1}]") for i in range(4)]
        text = render(
            "conv_ternary.c.j2",
            name=name,
            title=f"Ternary convolution {shape_key(window)}: one row of weights per {g.tw}x{g.th} "
            "tile.",
            elem=elem,
            g=g,
            q=q,
            row=row.name,
            whole=whole,
            band_name=band.name if band else "",
            residual=op.residual is not None,
            before=before,
            tile_copy=tile_copy,
            store=tile_store(op, g, q, lanes),
        )
        functions.append(CFunction(name, text))
        key = f"{shape_key(window)}_{elem[4:-2]}"
        return self.emission(
            layer, name, functions, rows, [q.array],
            lambda: unpack_rows(layer, g, key, elem, 0, False, layer.kept, layer.scratch),
        )  # fmt: skip


@dataclass(frozen=True)
class Steps:
    """How a routine walks over a tile's columns."""

    elem: str  #: C type of counts and steps
    unit: int  #: a step is in units of 2**unit bytes
    offsets: tuple[int, ...]  #: of the tile's groups of four pixels
    aligned: bool  #: words lie at multiples of four
    unroll: bool  #: four columns a turn, or seven
    shared: bool = False  #: the lists of -1s and +1s by one routine, called twice

    @property
    def fours(self) -> bool:
        """Whether a column's four words are loaded at once, in turns of seven columns."""
        return self.aligned and self.unroll

    @property
    def eights(self) -> bool:
        """Whether groups of four lie together in pairs, as vectors of eight pixels need them."""
        return all(self.offsets[i + 1] == self.offsets[i] + 4 for i in (0, 2))

    @property
    def key(self) -> str:
        """Part of a routine's name."""
        words = "x16" if self.aligned else "_".join(str(o) for o in self.offsets[1:])
        bits = 8 if self.elem == "uint8_t" else 16
        return f"{bits}_{words}{'' if self.unroll else '_small'}"

    @property
    def list_name(self) -> str:
        """Name of the shared routine."""
        return f"ternary_list{self.key}"


@lru_cache(maxsize=256)
def _list_function(t: Steps) -> list[CFunction]:
    """The routine that two lists of a row, and several layers, share; none if they do not."""
    if not t.shared:
        return []
    return [CFunction(t.list_name, render("ternary_list.c.j2", t=t))]


@lru_cache(maxsize=256)
def _row_function(t: Steps) -> CFunction:
    name = f"ternary_row{t.key}"
    return CFunction(name, render("ternary_row.c.j2", name=name, t=t))


def _tile_function(
    t: Steps, co: int, plane: int, q: RequantTable, out_offsets: tuple[int, ...], looped: bool
) -> CFunction:
    """All rows of a layer on one tile; `looped`: codes of four pixels a turn where they are
    neighbours, less code for more instructions."""
    name = f"ternary_tile{t.key}_{co}"
    text = render(
        "ternary_tile.c.j2", name=name, t=t, co=co, plane=plane, k=q.unit_bits, q=q,
        shift=q.shift, out_offsets=out_offsets, looped=looped and out_offsets == (0, 4, 8, 12),
    )  # fmt: skip
    return CFunction(name, text)
