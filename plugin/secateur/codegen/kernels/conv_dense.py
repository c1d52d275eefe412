"""Dense int8 convolution: two inputs and two weights to a multiplication, four pixels by two
output channels in registers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ...lowering.qgraph import QConv
from ..emit import CFunction, Emission, by_isa, not_with_vectors, render
from ..geometry import Geometry, Thrift, conv_geometry
from .base import Kernel, Layer, register
from .coded import decode_work, is_coded
from .dots import Dots, dots_plan
from .helium_conv import Turned, convolution, turned
from .helium_conv import work as vector_work
from .pairs import DensePlan, dense_plan, pair_rows, pair_scratch, pair_table, pair_work
from .pointwise_plain import NARROW, PITCH, pointwise
from .source import StoredTable, index_work
from .tile.schedule import may_overwrite, residual_work, shape_key
from .tile.store import accumulator_store


def _only_dsp(f: CFunction) -> CFunction:
    """`f`, which is called by cores with the DSP extension and without vectors alone."""
    return CFunction(f.name, "", {"dsp": f.form("dsp"), "helium": ""})


def unrolled(d: DensePlan) -> bool:
    """Whether all rows of a window are written out."""
    reach = 4 * ((d.inner[0] - 1) * d.inner[1] + max(d.taps)) + 8
    return d.inner[0] * len(d.taps) <= 12 and reach <= 1020


@register
class ConvDense(Kernel[QConv, StoredTable]):
    """Dense convolution (groups == 1); also executes packed codebook indices row by row."""

    name = "conv_dense"
    forms = frozenset({"dense", "indices", "coded dense"})

    def applies(self, layer: Layer[QConv]) -> bool:
        return layer.op.groups == 1

    def geometry(self, layer: Layer[QConv]) -> Geometry:
        """Only the shapes: the band is this kernel's own, and always there."""
        return replace(conv_geometry(layer.op, layer.graph, 4, stripe=layer.stripe), direct=False)

    def chains(self, layer: Layer[QConv]) -> bool:
        return not is_coded(layer.encoded)  # its rows would be decoded again in each call

    def straight(self, layer: Layer[QConv]) -> bool:
        return self.geometry(layer).pointwise

    def scratch(self, layer: Layer[QConv]) -> int:
        g = self.geometry(layer)
        return self._vectors(layer)[1] + pair_scratch(layer, g)

    def _vectors(self, layer: Layer[QConv]) -> tuple[Turned, int]:
        """The band of cores with Helium, and the bytes of the largest of all cores' band and
        weights: the words', but for a few shapes."""
        g = self.geometry(layer)
        d, dots = dense_plan(layer, g), self._dots(layer, g)
        words = 4 * (d.band_words + d.pair_words)
        if dots:  # other cores read a tile without a band
            words = dots.scratch if g.pointwise else max(words, dots.scratch)
        t = turned(g, words)
        return t, max(words, (t.bytes + 3) & ~3)

    def _dots(self, layer: Layer[QConv], g: Geometry) -> Dots | None:
        """The form for cores with dual multiply-accumulate, where there is one of its own."""
        d = dots_plan(layer, g)
        return Dots(g, d, unrolled(d), layer.weight, layer.thrift.narrow) if d else None

    def thrifty(self, layer: Layer[QConv]) -> Iterator[Thrift]:
        g = self.geometry(layer)
        if not g.pointwise or self._dots(layer, g):  # other tiles are as short as they are
            yield Thrift(narrow=True)

    def overwrites(self, layer: Layer[QConv]) -> tuple[int, ...]:
        g = self.geometry(layer)
        return tuple(i for i in may_overwrite(layer.op, g) if g.pointwise or i == 1)

    plain_factor = 3.0

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        g = self.geometry(layer)
        d = dense_plan(layer, g)
        words = d.outer[0] * d.inner[0] * len(d.taps)
        tiles = float(g.tiles * g.co)
        bands = g.calls * (-(-g.ow // d.x_step) if d.x_step else -(-g.oh // d.rows))
        turns = d.outer[0] * (1 + (0 if unrolled(d) else d.inner[0]))
        if g.pointwise:  # words of two channels; without the DSP extension, two channels
            return {
                "point_words" if d.block == 2 else "point_single_words": words * tiles,
                "point_turns": turns * tiles,
                "point_stores": tiles,
                "copied": float(bands * d.band_words),
                **pair_work(layer, g, bands),
                **residual_work(layer),
                **decode_work(layer.encoded),
            }
        return {
            "words" if d.block == 2 else "single_words": words * tiles,
            "turns": turns * tiles,
            "stores": tiles,
            "band": float(bands * d.band_words),
            **pair_work(layer, g, bands),
            **residual_work(layer),
            **decode_work(layer.encoded),
        }

    def dsp_work(self, layer: Layer[QConv]) -> dict[str, float]:
        g = self.geometry(layer)
        dots = self._dots(layer, g)
        if dots is None:  # the loops of pointwise layers: words of two channels
            loops = ("words", "turns", "stores")
            return {f"point_{u}" if u in loops else u: n for u, n in self.work(layer).items()}
        return {
            **dots.work(),
            **pair_work(layer, g, dots.widened()),
            **residual_work(layer),
            **decode_work(layer.encoded),
        }

    def vector_work(self, layer: Layer[QConv]) -> dict[str, float]:
        g = self.geometry(layer)
        t, _ = self._vectors(layer)
        bands = g.calls * -(-(g.ow if g.pointwise else g.oh) // t.rows)
        return {
            **vector_work(g, t),
            **index_work(layer, float(bands * layer.op.weight.size)),
            **residual_work(layer),
            **decode_work(layer.encoded),
        }

    def table(self, layer: Layer[QConv]) -> StoredTable:
        g = self.geometry(layer)
        stored = pair_table(layer, g, dense_plan(layer, g))
        return StoredTable.make(layer, stored, layer.op.requant)

    def emit(self, layer: Layer[QConv], table: StoredTable) -> Emission:
        op, q = layer.op, table.q
        g = self.geometry(layer)
        d = dense_plan(layer, g)
        t, room = self._vectors(layer)
        rows = pair_rows(layer, table.stored, g, d, f"scratch + {room}")
        source = rows.source
        band_name = f"pairs_{shape_key(g)}" + ("_ring" if g.ring else "")
        band = render("pair_band.c.j2", name=band_name, g=g, d=d)
        name = f"conv_dense_{shape_key(g)}{source.suffix}"
        stores = [
            accumulator_store(op, g, q, [f"a[{4 * k + j}]" for j in range(4)])
            for k in range(d.block)
        ]
        tile_name = f"dot_{shape_key(g)}"
        title = f"Dense int8 convolution {shape_key(g)}: 4 pixels x {d.block} output channels."
        tile = by_isa(tile_name, "dense_tile", "dsp", d=d, unroll=unrolled(d))
        text = render(
            "conv_dense.c.j2", tile_name=tile_name, name=name, title=title, g=g, d=d, q=q,
            source=source, band_name=band_name, residual=op.residual is not None,
            expand=rows.expand, stores=stores,
        )  # fmt: skip
        vectors = convolution(op, g, t, q, rows.one_by_one, name, title)
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output]
        args += [*layer.inputs[1:], layer.scratch, *([layer.first] if g.numbered else [])]
        forms = {"helium": vectors}
        fill = CFunction(band_name, band, {"helium": ""})
        functions = [fill]
        if dots := self._dots(layer, g):
            if dots.d.lone:
                rows = pair_rows(layer, table.stored, g, dots.d, f"scratch + {room}")
            functions, forms["dsp"] = dots.convolution(op, q, rows, fill, name, title)
            functions.append(CFunction(tile_name, tile.text, {"dsp": "", "helium": ""}))
        elif d.block == 2:
            functions.append(not_with_vectors(tile))
        if g.pointwise:
            forms.setdefault("dsp", text)
            most = NARROW if layer.thrift.narrow else PITCH
            sums, text = pointwise(op, g, q, rows.one_by_one, name, title, most)
            functions = [*(_only_dsp(f) for f in functions if f.form("dsp")), sums]
        functions.append(CFunction(name, text, forms))
        return Emission(source.call(name, args), functions, source.headers)
