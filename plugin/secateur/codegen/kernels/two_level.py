"""Convolution of two values a row: the sum of all inputs once a tile, then the rarer value's.

With a row of b, and a in a few places, the accumulator is (a - b) * few + b * all, exactly.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ... import coding
from ...coding.base import Encoded
from ...coding.two_level import TwoLevel, TwoLevels, two_levels
from ...lowering.qgraph import QConv, QDense
from ..emit import CArray, CFunction, Emission, render
from ..requant import table
from .base import Kernel, Layer, register
from .conv_ternary import Steps, _row_function, ternary_rows
from .convtile import (
    Rows,
    TiledConv,
    accumulator_store,
    band_function,
    band_work,
    copy_tile,
    keep_rows,
    shape_key,
)
from .unpack import (
    align4,
    coded,
    decode_work,
    is_coded,
    unpack_rows,
    unpack_work,
)


def split_of(layer: Layer) -> TwoLevels | None:
    """Mask and levels of a layer's weights."""
    op = layer.op
    assert isinstance(op, (QConv, QDense))
    return two_levels(op.weight.reshape(op.weight.shape[0], -1))


def mask_layer(layer: Layer) -> Layer:
    """The same layer as if its weights were the mask."""
    e = layer.encoded
    assert e is not None
    encoding = coding.get(e.encoding)
    assert isinstance(encoding, TwoLevel)
    return replace(layer, encoded=encoding.masked(e))


def levels_array(layer: Layer) -> CArray:
    """int8 pairs: a row's frequent value and its rarer one."""
    split = split_of(layer)
    assert split is not None
    note = f"{layer.op.name}: by row the frequent value and the rarer one"
    return CArray(
        f"{layer.prefix}_l", "int8_t", split.levels, note, {"codebook": split.levels.size * 8}
    )


@register
class ConvTwoLevel(TiledConv):
    """Direct sparse convolution of the rarer of two values (groups == 1)."""

    name = "conv_two_level"
    forms = frozenset({"two_level"})
    pixels = 16

    def applies(self, layer: Layer) -> bool:
        op = layer.op
        if not isinstance(op, QConv) or op.groups != 1:
            return False
        split = split_of(layer)
        return split is not None and 255 * int(split.mask.sum(axis=1).max()) <= 32767

    def rows(self, layer: Layer) -> Rows:
        g, split = self.geometry(layer), split_of(layer)
        assert split is not None
        return Rows.of_steps(ternary_rows(split.mask, g.offsets(), 4 if g.pointwise else 0))

    def stored(self, layer: Layer) -> Encoded:
        mask = mask_layer(layer).encoded
        assert mask is not None
        return mask

    plain_factor = 3.5
    code_bytes = 1100
    plain_code = 2.3

    def work(self, layer: Layer) -> dict[str, float]:
        g, split = self.geometry(layer), split_of(layer)
        assert split is not None
        each, every = (13.3, 17.0) if g.pointwise else (15.0, 27.0)
        all_inputs = every * split.mask.shape[1] + 60.0
        per_tile = each * np.count_nonzero(split.mask) + 165.0 * g.co + all_inputs
        unpack = unpack_work(mask_layer(layer).encoded) if layer.encoded else {}
        return {"instructions": g.tiles * per_tile, **band_work(g), **unpack}

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QConv)
        g = self.geometry(layer)
        keep = keep_rows(g, layer.inputs[0] == layer.output)
        q = table(layer.prefix, op.requant)
        made = self.rows(layer)
        values, elem = made.values, made.elem
        split = split_of(layer)
        assert split is not None
        unroll = not layer.small and g.tiles * np.count_nonzero(split.mask) >= 6000
        unit = 4 if g.pointwise else 0
        row = _row_function(Steps(elem, unit, tuple(g.word_offsets()), g.pointwise, bool(unroll)))
        functions = [row]
        band = band_function(g, keep)
        if band:
            functions.append(band)
        all_name = f"all_inputs_{shape_key(g)}"
        taps = [
            y * g.row_pitch + (x % g.sx) * g.phase_pitch + x // g.sx
            for y in range(g.kh) for x in range(g.kw)
        ]  # fmt: skip
        all_text = render(
            "all_inputs.c.j2", name=all_name, g=g, taps=taps, offsets=g.word_offsets(),
            most=max(1, 128 // len(taps)),
        )  # fmt: skip
        functions.append(CFunction(all_name, all_text))
        name = f"two_level_{shape_key(g)}"
        accs = [
            f"sc_mac_{'hi' if i & 2 else 'lo'}(a[{i // 4 * 2 + i % 2}], more, base * all[{i}])"
            for i in range(16)
        ]
        text = render(
            "conv_two_level.c.j2",
            name=name,
            title=f"Two values a row, {shape_key(g)}: the rarer one's inputs per "
            f"{g.tw}x{g.th} tile.",
            elem=elem,
            g=g,
            q=q,
            row=row.name,
            all=all_name,
            band_name=band.name if band else "",
            residual=op.residual is not None,
            tile_copy=copy_tile(g),
            store=accumulator_store(op, g, q, accs),
        )
        functions.append(CFunction(name, text))
        width = 8 * made.each
        rows = CArray(
            f"{layer.prefix}_rows", elem, values,
            f"{op.name}: per output channel 0, the number of columns with the rarer value, "
            f"steps to them; density {split.mask.mean():.1%}",
            {"count": width * 2 * g.co, "gap": width * (values.size - 2 * g.co)},
        )  # fmt: skip
        key = f"{shape_key(g)}_{elem[4:-2]}"
        return self.emission(
            layer, name, functions, rows, [levels_array(layer), q.array],
            lambda: unpack_rows(
                mask_layer(layer), g, key, elem, 0, False, layer.kept, layer.scratch
            ),
        )  # fmt: skip


@register
class DenseTwoLevel(Kernel):
    """Fully connected: the sum of all inputs once, then the rarer value's by row."""

    name = "dense_two_level"
    forms = frozenset({"two_level"})

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense) and split_of(layer) is not None

    def scratch(self, layer: Layer) -> int:
        return align4(2 * coded(mask_layer(layer)).room) if is_coded(layer.encoded) else 0

    plain_factor = 1.1
    code_bytes = 190

    def work(self, layer: Layer) -> dict[str, float]:
        split = split_of(layer)
        assert split is not None
        rows, cols = split.mask.shape
        sums = 5.0 * np.count_nonzero(split.mask) + 32.0 * rows + 4.0 * cols
        decode = decode_work(mask_layer(layer).encoded) if layer.encoded else {}
        return {"instructions": sums, **decode}

    def emit(self, layer: Layer) -> Emission:
        op, split = layer.op, split_of(layer)
        assert isinstance(op, QDense)
        assert split is not None
        n, cols = op.weight.shape
        q, levels = table(layer.prefix, op.requant), levels_array(layer)
        c = coded(mask_layer(layer)) if is_coded(layer.encoded) else None
        name = f"two_level_{cols}x{n}" + (f"_{c.c_name}" if c else "")
        counts = split.mask.sum(axis=1)
        arrays = c.arrays if c else [
            CArray(
                f"{layer.prefix}_c", "uint8_t" if cols <= 256 else "uint16_t",
                np.nonzero(split.mask)[1],
                f"{op.name}: columns of the rarer value; density {split.mask.mean():.1%}",
                {"index": (8 if cols <= 256 else 16) * int(counts.sum())},
            ),
            CArray(
                f"{layer.prefix}_n", "uint8_t" if counts.max() < 256 else "uint16_t", counts,
                "their number by row", {"count": (8 if counts.max() < 256 else 16) * n},
            ),
        ]  # fmt: skip
        text = render(
            "dense_two_level.c.j2", name=name, n=n, cols=cols, q=q, c=c, arrays=arrays,
        )  # fmt: skip
        first = [f"&{c.name}"] if c else [a.name for a in arrays]
        args = [*first, levels.name, q.array.name, layer.inputs[0], layer.output]
        args += [layer.scratch] if c else []
        call = f"{name}({', '.join(args)})"
        return Emission(
            f"if ({call} != 0) {{\n    return -1;\n}}" if c else f"{call};",
            [CFunction(name, text)], [*arrays, levels, q.array],
            [c.header] if c else [], [c.constant] if c else [],
        )  # fmt: skip
