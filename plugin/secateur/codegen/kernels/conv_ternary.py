"""Ternary convolution: sixteen pixels at a time, two 16-bit lanes to an addition."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ...lowering.qgraph import QConv
from ..emit import CArray, CFunction, Emission, render
from ..requant import RequantTable, table
from .base import Layer, register
from .convtile import (
    TiledConv,
    band_function,
    band_work,
    call_arguments,
    copy_tile,
    in_memory_order,
    keep_rows,
    residual_work,
    shape_key,
    tile_store,
    tile_taps,
)
from .unpack import (
    align4,
    is_coded,
    most_symbols,
    unpack_rows,
    unpack_work,
    working_bytes,
)


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

    def _rows(self, layer: Layer) -> tuple[np.ndarray, str]:
        """Executable rows and their element type."""
        assert isinstance(layer.op, QConv)
        g = self.geometry(layer)
        weight = layer.op.weight.reshape(layer.op.weight.shape[0], -1)
        values = ternary_rows(weight, g.offsets(), 4 if g.pointwise else 0)
        return values, "uint8_t" if values.max(initial=0) < 256 else "uint16_t"

    def _unpacked_bytes(self, layer: Layer) -> int:
        """Scratch for the rows of a coded layer."""
        assert layer.encoded is not None
        values, elem = self._rows(layer)
        size = values.size + most_symbols(layer.encoded) - layer.encoded.meta["nnz"]
        return align4(size * (1 if elem == "uint8_t" else 2))

    def scratch(self, layer: Layer) -> int:
        g = self.geometry(layer)
        if not is_coded(layer.encoded):
            return g.band_bytes
        assert layer.encoded is not None
        return self._unpacked_bytes(layer) + max(g.band_bytes, working_bytes(g, layer.encoded))

    def kept(self, layer: Layer) -> int:
        return self._unpacked_bytes(layer) if is_coded(layer.encoded) else 0

    plain_factor = 4.5
    code_bytes = 750

    def work(self, layer: Layer) -> dict[str, float]:
        assert isinstance(layer.op, QConv)
        g = self.geometry(layer)
        return {
            "taps" if g.pointwise else "window_taps": tile_taps(layer.op, g),
            "stores": float(g.tiles * g.co),
            **residual_work(layer),
            **band_work(g),
            **unpack_work(layer.encoded),
        }

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QConv)
        g = self.geometry(layer)
        in_place = layer.inputs[0] == layer.output
        keep = keep_rows(g, in_place)
        q = table(layer.prefix, op.requant)
        unit = 4 if g.pointwise else 0
        values, elem = self._rows(layer)
        density = np.count_nonzero(op.weight) / op.weight.size
        rows = CArray(
            f"{layer.prefix}_rows", elem, values,
            f"{op.name}: per output channel n(-1), steps to them, n(+1), steps to them; "
            f"density {density:.1%}",
            {
                "count": (8 if elem == "uint8_t" else 16) * 2 * g.co,
                "gap": (8 if elem == "uint8_t" else 16) * (values.size - 2 * g.co),
            },
        )  # fmt: skip
        # two columns a turn where it pays; elsewhere the code is worth more
        unroll = not layer.small and g.tiles * np.count_nonzero(op.weight) >= 6000
        shared = layer.weight >= 0.5
        steps = Steps(elem, unit, tuple(g.word_offsets()), g.pointwise, bool(unroll), shared)
        # codes straight from the routine where a row needs nothing but its two int16 constants
        plain = q.ctype == "int16_t" and q.array.values.shape[1] == 2
        whole = (
            plain and 0 < q.shift < 32 and q.pre_shift == 0
            and not g.partial and op.residual is None
        )  # fmt: skip
        if whole:
            looped = layer.weight >= 0.5 and not unroll
            row = _tile_function(steps, g.co, g.out_plane, q, tuple(g.out_offsets()), looped)
        else:
            row = _row_function(steps)
        functions = [row]
        band = band_function(g, keep)
        if band:
            functions.append(band)
        name = f"ternary_{shape_key(g)}"
        lanes = [(f"a[{2 * i}]", f"a[{2 * i + 1}]") for i in range(4)]
        text = render(
            "conv_ternary.c.j2",
            name=name,
            title=f"Ternary convolution {shape_key(g)}: one row of weights per {g.tw}x{g.th} tile.",
            elem=elem,
            g=g,
            q=q,
            row=row.name,
            whole=whole,
            band_name=band.name if band else "",
            residual=op.residual is not None,
            tile_copy=copy_tile(g),
            store=tile_store(op, g, q, lanes),
        )
        functions.append(CFunction(name, text))
        if not is_coded(layer.encoded):
            args = call_arguments(layer, g, [rows.name, q.array.name])
            return Emission(f"{name}({args});", functions, [rows, q.array])
        u = unpack_rows(
            layer, g, f"{shape_key(g)}_{elem[4:-2]}", elem, 0, False, layer.kept, layer.scratch
        )
        args = call_arguments(
            layer, g, [f"(const {elem} *)(const void *)({layer.kept})", q.array.name]
        )
        return Emission(
            f"{name}({args});", [*u.functions, *functions], [*u.arrays, q.array],
            u.headers, u.constants, u.call,
        )  # fmt: skip


@dataclass(frozen=True)
class Steps:
    """How a routine walks over a tile's columns."""

    elem: str  #: C type of counts and steps
    unit: int  #: a step is in units of 2**unit bytes
    offsets: tuple[int, ...]  #: of the tile's groups of four pixels
    aligned: bool  #: words lie at multiples of four
    unroll: bool  #: two columns a turn
    shared: bool = False  #: the lists of -1s and +1s by the same code, called twice

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
