"""Sparse int8 convolution: each stored weight is applied to eight pixels at once."""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QConv
from ..emit import CArray, CFunction, Emission, render
from ..geometry import Geometry
from ..requant import table
from .base import Layer, register
from .convtile import (
    Rows,
    TiledConv,
    accumulator_store,
    band_function,
    band_work,
    in_memory_order,
    keep_rows,
    remembered,
    residual_work,
    shape_key,
    tile_taps,
)
from .helium import either, scalar_only
from .helium_sparse import sparse, tile, work
from .unpack import unpack_rows, unpack_work


@remembered
def sparse_rows(weight: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, int, bool]:
    """Executable form as bytes: per row a count, then (step, value) records.

    weight: int8 [rows, cols]; offsets in the units a step is counted in. Returns the bytes, the
    record size (2: one-byte step, 3: two-byte step) and whether counts take two bytes.
    """
    pairs = [in_memory_order(np.flatnonzero(row), offsets) for row in weight]
    lists, gaps = [p[0] for p in pairs], [p[1] for p in pairs]
    record = 2 if all(g.size == 0 or g.max() < 256 for g in gaps) else 3
    wide = any(c.size > 255 for c in lists)
    out = bytearray()
    for row, cols, gap in zip(weight, lists, gaps, strict=True):
        out += int(cols.size).to_bytes(2 if wide else 1, "little")
        rec = np.zeros((cols.size, record), np.uint8)
        rec[:, 0] = gap & 255
        if record == 3:
            rec[:, 1] = gap >> 8
        rec[:, -1] = row[cols].astype(np.int8).view(np.uint8)
        out += rec.tobytes()
    return np.frombuffer(bytes(out), np.uint8), record, wide


@register
class ConvSparse(TiledConv):
    """Direct sparse convolution of int8 weights (groups == 1)."""

    name = "conv_sparse"
    forms = frozenset({"sparse"})
    pixels = 8

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QConv) and layer.op.groups == 1

    def _rows(self, layer: Layer) -> tuple[np.ndarray, int, bool]:
        """Rows, record size, whether counts are wide: see `sparse_rows`."""
        assert isinstance(layer.op, QConv)
        g = self.geometry(layer)
        weight = layer.op.weight.reshape(layer.op.weight.shape[0], -1)
        return sparse_rows(weight, np.arange(g.ci) if g.pointwise else g.offsets())

    def rows(self, layer: Layer) -> Rows:
        values, record, _ = self._rows(layer)
        return Rows(values, "uint8_t", record)

    def band_bytes(self, layer: Layer) -> int:
        g = self.geometry(layer)
        return 16 * g.ci if g.pointwise else g.band_bytes

    def _called(self, op: QConv, g: Geometry) -> bool:
        """Whether rows are long enough for assembler without a spill to make up for its call."""
        return bool(np.count_nonzero(op.weight) >= (10 if g.pointwise else 8) * len(op.weight))

    plain_factor = 2.2
    code_bytes = 550
    plain_code = 2.3

    def work(self, layer: Layer) -> dict[str, float]:
        assert isinstance(layer.op, QConv)
        g = self.geometry(layer)
        return {
            ("called_" if self._called(layer.op, g) else "")
            + ("taps" if g.pointwise else "window_taps"): tile_taps(layer.op, g),
            "called" if self._called(layer.op, g) else "stores": float(g.tiles * g.co),
            **residual_work(layer),
            **band_work(g),
            **unpack_work(layer.encoded),
        }

    def vector_work(self, layer: Layer) -> dict[str, float]:
        assert isinstance(layer.op, QConv)
        g = tile(layer.op, self.geometry(layer))
        return {
            **work(layer.op, g, tile_taps(layer.op, g)),
            **residual_work(layer),
            **band_work(g),
            **unpack_work(layer.encoded),
        }

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QConv)
        g = self.geometry(layer)
        keep = keep_rows(g, layer.inputs[0] == layer.output)
        q = table(layer.prefix, op.requant)
        values, record, wide = self._rows(layer)
        density = np.count_nonzero(op.weight) / op.weight.size
        rows = CArray(
            f"{layer.prefix}_rows", "uint8_t", values,
            f"{op.name}: per output channel n, then (step, value) records; density {density:.1%}",
            {
                "count": 8 * g.co * (1 + wide),
                "gap": 8 * (record - 1) * np.count_nonzero(op.weight),
                "value": 8 * np.count_nonzero(op.weight),
            },
        )  # fmt: skip
        functions: list[CFunction] = []
        band = band_function(g, keep)
        if band:
            functions.append(band)
        name = f"sparse_{shape_key(g)}"
        accs = [f"a[{i}]" for i in range(8)]
        shape = {
            "name": name, "record": record, "wide_count": wide, "residual": op.residual is not None,
            "title": f"Sparse int8 convolution {shape_key(g)}: a weight on {g.tw}x{g.th} pixels.",
            "band_name": band.name if band else "",
        }  # fmt: skip
        offsets = g.word_offsets()
        lanes = "lanes" if g.pointwise else "_".join(str(o) for o in offsets)
        called = self._called(op, g)
        row_name = f"sparse_row{record}_{lanes}{'' if called else '_inline'}"
        row = render(
            "sparse_row.c.j2", name=row_name, record=record, wide=g.pointwise, offsets=offsets,
            assembler=called,
        )  # fmt: skip
        functions.append(CFunction(row_name, scalar_only(row)))
        text = render(
            "conv_sparse.c.j2", **shape, g=g, q=q, row_name=row_name,
            store=accumulator_store(op, g, q, accs),
        )  # fmt: skip
        text = either(sparse(op, tile(op, g), q, shape), text)
        functions.append(CFunction(name, text))
        key = f"{shape_key(g)}_{record}"
        return self.emission(
            layer, name, functions, rows, [q.array],
            lambda: unpack_rows(layer, g, key, "", record, wide, layer.kept, layer.scratch),
        )  # fmt: skip
