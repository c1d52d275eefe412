"""Dense int8 convolution: two inputs and two weights to a multiplication, four pixels by two
output channels in registers."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...lowering.qgraph import QConv
from ..emit import CFunction, Emission, render
from ..geometry import Geometry, conv_geometry
from ..requant import table
from .base import Kernel, Layer, register
from .convtile import accumulator_store, may_overwrite, residual_work, shape_key
from .helium import either, scalar_only
from .helium_conv import Turned, convolution, turned
from .helium_conv import work as vector_work
from .source import dense_source
from .unpack import decode_work, is_coded


@dataclass(frozen=True)
class Source:
    """One copy of input columns into the low or high halves of a band row."""

    first: int
    last: int
    shift: int
    base: int
    high: int


@dataclass(frozen=True)
class DensePlan:
    """Band of words (two inputs each) and the loops over it. Pitches in words."""

    block: int  #: output channels at a time
    x_step: int  #: pixels of a pointwise tile; 0 for windows
    rows: int  #: output rows per band
    in_rows: int
    step: int
    planes: int  #: groups of two inputs
    row_pitch: int
    plane_pitch: int
    by_channel: bool  #: pairs of channels; else pairs of neighbours in a row (one channel)
    sources: tuple[Source, ...]
    taps: tuple[int, ...]  #: word offsets, unrolled
    inner: tuple[int, int]  #: (count, pitch) around the taps
    outer: tuple[int, int]  #: (count, pitch) around that

    @property
    def band_words(self) -> int:
        """Words of the band."""
        return self.planes * self.plane_pitch

    @property
    def pair_words(self) -> int:
        """Words of the widened weight rows."""
        return self.block * self.outer[0] * self.inner[0] * len(self.taps)


def plan(g: Geometry) -> DensePlan:
    """The dense kernel's band for a convolution."""
    block = 2 if g.co % 2 == 0 else 1
    if g.pointwise:
        planes = (g.ci + 1) // 2
        unroll = next(u for u in (4, 3, 2, 1) if planes % u == 0)
        taps = tuple(16 * u for u in range(unroll))
        return DensePlan(
            block, 16, 1, 1, 1, planes, 16, 16, True, (), taps, (1, 0),
            (planes // unroll, 16 * unroll),
        )  # fmt: skip
    by_channel = g.ci > 1
    planes = (g.ci + 1) // 2
    kxs = list(range(g.kw)) if by_channel else list(range(0, g.kw, 2))
    phases = sorted({kx % g.sx for kx in kxs})
    step = min(g.sy, g.kh)
    pitch = max(g.ow, 4) + (g.kw - 1) // g.sx + 1

    def rows_in(r: int) -> int:
        return (r - 1) * step + g.kh

    rows = 2 if g.ow < 16 and g.oh > 1 else 1
    if planes * rows_in(g.oh) * pitch * len(phases) <= 512:
        rows = g.oh
    sources = []
    for i, ph in enumerate(phases):
        for high in (0,) if by_channel else (0, 1):
            shift = ph + high - g.pads[1]
            first = -(shift // g.sx) if shift < 0 else 0
            last = min(pitch, (g.w - 1 - shift) // g.sx + 1)
            sources.append(Source(first, last, shift, i * pitch, high))
    row_pitch = pitch * len(phases)
    if 4 * row_pitch + 8 > 1020:  # beyond what one load instruction reaches
        block = 1
    taps = tuple(phases.index(kx % g.sx) * pitch + kx // g.sx for kx in kxs)
    in_rows = rows_in(rows)
    return DensePlan(
        block, 0, rows, in_rows, step, planes, row_pitch, in_rows * row_pitch, by_channel,
        tuple(sources), taps, (g.kh, row_pitch), (planes, in_rows * row_pitch),
    )  # fmt: skip


def expand(g: Geometry, d: DensePlan) -> str:
    """C that widens d.block weight rows from `row` into `pairs`."""
    k = g.kh * g.kw
    out = []
    for b in range(d.block):
        out.append("{\n    NEXT_ROW")
        if g.pointwise and g.ci % 4 == 0:
            out.append(
                f"    for (int i = 0; i < {g.ci // 4}; i++) {{\n"
                "        const uint32_t u = sc_load((const uint8_t *)row + 4 * i);\n"
                f"        sc_store4(pairs + {8 * d.block} * i + {4 * b}, sc_even_s(u));\n"
                f"        sc_store4(pairs + {8 * d.block} * i + {4 * (d.block + b)},\n"
                "                  sc_odd_s(u));\n"
                "    }"
            )
        elif d.by_channel:
            odd = (
                f"2 * i + 1 < {g.ci} ? row[(2 * i + 1) * {k} + t] : 0"
                if g.ci % 2
                else (f"row[(2 * i + 1) * {k} + t]")
            )
            out.append(
                f"    for (int i = 0; i < {d.planes}; i++) {{\n"
                f"        for (int t = 0; t < {k}; t++) {{\n"
                f"            sc_store4(pairs + {4 * d.block} * (i * {k} + t) + {4 * b},\n"
                f"                      sc_pair(row[2 * i * {k} + t], {odd}));\n"
                "        }\n    }"
            )
        else:
            n = len(d.taps)
            odd = (
                f"2 * i + 1 < {g.kw} ? row[t * {g.kw} + 2 * i + 1] : 0"
                if g.kw % 2
                else (f"row[t * {g.kw} + 2 * i + 1]")
            )
            out.append(
                f"    for (int t = 0; t < {g.kh}; t++) {{\n"
                f"        for (int i = 0; i < {n}; i++) {{\n"
                f"            sc_store4(pairs + {4 * d.block} * (t * {n} + i) + {4 * b},\n"
                f"                      sc_pair(row[t * {g.kw} + 2 * i], {odd}));\n"
                "        }\n    }"
            )
        out.append("}")
    return "\n".join(out)


@register
class ConvDense(Kernel):
    """Dense convolution (groups == 1); also executes packed codebook indices row by row."""

    name = "conv_dense"
    forms = frozenset({"dense"})

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QConv) and layer.op.groups == 1

    def geometry(self, layer: Layer) -> Geometry:
        """Only the shapes: the band is this kernel's own, and always there."""
        assert isinstance(layer.op, QConv)
        return replace(conv_geometry(layer.op, layer.graph, 4, stripe=layer.stripe), direct=False)

    def chains(self, layer: Layer) -> bool:
        return not is_coded(layer.encoded)  # its rows would be decoded again in each call

    def straight(self, layer: Layer) -> bool:
        return self.geometry(layer).pointwise

    def scratch(self, layer: Layer) -> int:
        return self._vectors(layer)[1] + dense_source(layer, again=True).row_buffer

    def _vectors(self, layer: Layer) -> tuple[Turned, int]:
        """The band of cores with Helium, and the bytes of the larger of both cores' band and
        weights: the words', but for a few shapes."""
        g = self.geometry(layer)
        d = plan(g)
        words = 4 * (d.band_words + d.pair_words)
        t = turned(g, words)
        return t, max(words, (t.bytes + 3) & ~3)

    def overwrites(self, layer: Layer) -> tuple[int, ...]:
        g = self.geometry(layer)
        return tuple(i for i in may_overwrite(layer.op, g) if g.pointwise or i == 1)

    plain_factor = 3.0
    code_bytes = 700

    def work(self, layer: Layer) -> dict[str, float]:
        g = self.geometry(layer)
        d = plan(g)
        words = d.outer[0] * d.inner[0] * len(d.taps)
        tiles = float(g.tiles * g.co)
        bands = g.calls * (-(-g.ow // d.x_step) if d.x_step else -(-g.oh // d.rows))
        weights = float(bands * g.co * g.ci * g.kh * g.kw)
        return {
            "words" if d.block == 2 else "single_words": words * tiles,
            "stores": tiles,
            "copied" if g.pointwise else "band": float(bands * d.band_words),
            "quads" if g.pointwise and g.ci % 4 == 0 else "expanded": weights,
            **self._more_work(layer, bands),
        }

    def vector_work(self, layer: Layer) -> dict[str, float]:
        g = self.geometry(layer)
        t, _ = self._vectors(layer)
        bands = g.calls * -(-(g.ow if g.pointwise else g.oh) // t.rows)
        return {**vector_work(g, t), **self._more_work(layer, bands)}

    def _more_work(self, layer: Layer, bands: int) -> dict[str, float]:
        """Units of the residual, and of weights that are decoded or looked up for every band."""
        e = layer.encoded
        assert isinstance(layer.op, QConv)
        looked_up = e is not None and e.encoding == "codebook"
        return {
            **residual_work(layer),
            **({"indices": float(bands * layer.op.weight.size)} if looked_up else {}),
            **decode_work(e),
        }

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QConv)
        g = self.geometry(layer)
        d = plan(g)
        q = table(layer.prefix, op.requant)
        t, room = self._vectors(layer)
        source = dense_source(layer, f"scratch + {room}", True)
        band_name = f"pairs_{shape_key(g)}" + ("_ring" if g.ring else "")
        band = render("pair_band.c.j2", name=band_name, g=g, d=d)
        name = f"dense_{shape_key(g)}{source.suffix}"
        stores = [
            accumulator_store(op, g, q, [f"a[{4 * k + j}]" for j in range(4)])
            for k in range(d.block)
        ]
        reach = 4 * ((d.inner[0] - 1) * d.inner[1] + max(d.taps)) + 8
        unroll = d.inner[0] * len(d.taps) <= 12 and reach <= 1020
        tile_name = f"dot_{shape_key(g)}"
        title = f"Dense int8 convolution {shape_key(g)}: 4 pixels x {d.block} output channels."
        tile = render("dense_tile.c.j2", name=tile_name, d=d, unroll=unroll)
        text = render(
            "conv_dense.c.j2",
            tile_name=tile_name,
            name=name,
            title=title,
            g=g,
            d=d,
            q=q,
            source=source,
            band_name=band_name,
            residual=op.residual is not None,
            expand=expand(g, d).replace("NEXT_ROW", source.next_row.replace("\n", "\n    ")),
            stores=stores,
        )
        text = either(convolution(op, g, t, q, source, name, title), text)
        band, tile = scalar_only(band), scalar_only(tile)
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output]
        args += [*layer.inputs[1:], layer.scratch, *([layer.first] if g.numbered else [])]
        return Emission(
            source.call(name, args),
            [
                CFunction(band_name, band),
                *([CFunction(tile_name, tile)] if d.block == 2 else []),
                CFunction(name, text),
            ],
            [*source.arrays, q.array],
            source.headers,
            source.constants,
        )
