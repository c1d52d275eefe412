"""Sparse int8 rows: each stored weight is applied to eight pixels at once; with vectors, to sixteen
pixels of a pointwise layer, or to the eight of a window's tile, in 32-bit lanes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ....lowering.qgraph import QConv
from ...emit import CFunction, render
from ...geometry import Geometry
from ...requant import RequantTable
from ..base import Layer
from ..helium import store4
from ..tile.conv import register_rows
from ..tile.executor import RowCode, RowExecutor, Rows, RowTable, Slots
from ..tile.schedule import (
    STEP,
    TileSchedule,
    density,
    in_memory_order,
    reached,
    remembered,
    tile_taps,
    weight_matrix,
)
from ..tile.store import accumulator_store, start_tile
from ..tile.unpack import RowForm


def _with_columns_between(columns: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """`columns` with those in between that leave no step of more than a byte, if there are."""
    order = np.argsort(offsets, kind="stable")
    reads, out, at = offsets[order], columns.tolist(), 0
    for to in np.sort(offsets[columns]).tolist():
        while to - at > STEP and (way := reached(reads, at)) is not None:
            out.append(int(order[np.searchsorted(reads, way)]))
            at = way
        at = to
    return np.array(out, np.int64)


@remembered
def sparse_rows(
    weight: np.ndarray, offsets: np.ndarray, short: bool = False
) -> tuple[np.ndarray, int, bool]:
    """Executable form as bytes: per row a count, then (step, value) records.

    weight: int8 [rows, cols]; offsets in the units a step is counted in; short: steps of a byte
    where columns of weight 0 make them so. Returns the bytes, the record size (2: one-byte step,
    3: two-byte step) and whether counts take two bytes.
    """
    columns = [np.flatnonzero(row) for row in weight]
    if short:
        columns = [_with_columns_between(c, offsets) for c in columns]
    pairs = [in_memory_order(c, offsets) for c in columns]
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


@dataclass(frozen=True)
class Four:
    """Four neighbouring pixels of a tile."""

    at: int  #: bytes behind the tile's first input
    store: str  #: C that stores their sums
    row: int  #: of the tile, where that may not exist


def _vector_tile(op: QConv, g: Geometry, wide: bool) -> Geometry:
    """The tiles of `g` with vectors; wide: the pixels of a tile are copied.

    Sixteen pixels of a pointwise layer take no more scratch than the eight that are widened for
    other cores. But no pixel may be made twice where the output may lie over the residual. Windows
    have sixteen pixels where rows are made of those, or where two rows are read from the input.
    """
    if wide:
        again = op.residual is not None and g.ow > 16 and g.ow % 16 != 0
        return replace(g, tw=8 if again else 16)
    if g.pointwise or g.tw != 8:
        return g
    if g.ow % 16 == 0:
        return replace(g, tw=16)
    return replace(g, th=2) if g.direct and g.oh % 2 == 0 else g


def _fours(op: QConv, g: Geometry, q: RequantTable) -> list[Four]:
    """The fours of a tile that hold a pixel."""
    out: list[Four] = []
    for i in range(g.tw * g.th // 4):
        row, column = divmod(4 * i, g.tw)
        valid = min(4, g.ow - column)
        if valid > 0:
            store = store4(q, f"s{len(out)}", valid, op.residual, row * g.ow + column)
            doubtful = row if g.partial and g.oh % g.th else 0
            out.append(Four(row * g.step * g.row_pitch + column, store, doubtful))
    return out


@register_rows
class SparseRows(RowExecutor):
    """Rows of int8 values."""

    name = "conv_sparse"
    c_name = "sparse"
    forms = frozenset({"sparse", "coded sparse"})
    pixels = 8
    narrow = 8
    plain_factor = 2.2
    assembler = frozenset({"dsp"})

    def applies(self, layer: Layer[QConv]) -> bool:
        return True

    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        weight = weight_matrix(layer.op)
        offsets = np.arange(s.g.ci) if s.g.pointwise else s.g.offsets()
        values, record, wide = sparse_rows(weight, offsets)
        if layer.thrift.short:
            values, record, wide = self._shorter(weight, offsets) or (values, record, wide)
        nonzeros = (values.size - (1 + wide) * len(weight)) // record
        comment = (
            f"{layer.op.name}: per output channel n, then (step, value) records; "
            f"density {density(weight):.1%}"
        )
        bits = {
            "count": 8 * len(weight) * (1 + wide),
            "gap": 8 * (record - 1) * nonzeros,
            "value": 8 * nonzeros,
        }
        return Rows(RowForm(record=record, wide=wide), values, record, comment, bits)

    @staticmethod
    def _shorter(weight: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, int, bool] | None:
        """The rows in steps of a byte, where those have fewer bytes."""
        plain, short = sparse_rows(weight, offsets), sparse_rows(weight, offsets, True)
        return short if short[1] < plain[1] and short[0].size < plain[0].size else None

    def shortens(self, layer: Layer[QConv], s: TileSchedule) -> bool:
        return not s.g.pointwise and bool(self._shorter(weight_matrix(layer.op), s.offsets()))

    @staticmethod
    def _widened(g: Geometry, layer: Layer[QConv]) -> bool:
        """Whether a tile's pixels are lanes of 16 bits, or with vectors twice as many bytes."""
        return g.pointwise and not layer.thrift.narrow

    def band_bytes(self, s: TileSchedule, layer: Layer[QConv]) -> int:
        return 16 * s.g.ci if self._widened(s.g, layer) else s.band_bytes

    @staticmethod
    def _called(op: QConv, wide: bool) -> bool:
        """Whether rows are long enough for assembler without a spill to make up for its call."""
        return bool(np.count_nonzero(op.weight) >= (10 if wide else 8) * len(op.weight))

    def units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        wide = self._widened(s.g, layer)
        called = self._called(layer.op, wide)
        taps = ("called_" if called else "") + ("taps" if wide else "window_taps")
        return {
            taps: tile_taps(layer.op, s.g),
            "called" if called else "stores": float(s.g.tiles * s.g.co),
        }

    def vector_units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        g = _vector_tile(layer.op, s.g, self._widened(s.g, layer))
        taps = tile_taps(layer.op, g)
        fours = sum(min(4, g.ow - 4 * i % g.tw) > 0 for i in range(g.tw * g.th // 4))
        return {
            "steps" if g.pointwise else "window_steps": taps,
            "products": taps * fours,
            "fours": float(g.tiles * g.co * fours),
            "rows": float(g.tiles * g.co),
        }

    def title(self, s: TileSchedule) -> str:
        return f"Sparse int8 convolution {s.key}: a weight on {s.g.tw}x{s.g.th} pixels."

    def emit(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> RowCode:
        op, g, form = layer.op, s.g, table.rows.form
        offsets = g.word_offsets()
        wide = self._widened(g, layer)
        lanes = "_".join(str(o) for o in offsets) + ("_columns" if g.pointwise else "")
        lanes = "lanes" if wide else lanes
        called = self._called(op, wide)
        name = f"sparse_row{form.record}_{lanes}{'' if called else '_inline'}"
        pitch = (16 if wide else 8) if g.pointwise else 1  # bytes from column to column
        values = {
            "name": name, "record": form.record, "wide": wide, "offsets": offsets, "pitch": pitch,
        }  # fmt: skip
        forms = {"helium": ""}
        if called:
            forms["dsp"] = render("rows/sparse_row.dsp.c.j2", **values)
        row = CFunction(name, render("rows/sparse_row.c.j2", **values), forms)
        vectors = replace(s, g=_vector_tile(op, g, wide))
        return RowCode(
            [row],
            self._slots(op, s, table, name, wide),
            {"helium": (self._vectors(op, vectors, table, wide), vectors)},
        )

    def _slots(self, op: QConv, s: TileSchedule, table: RowTable, row: str, wide: bool) -> Slots:
        g = s.g
        copy = render("rows/sparse_copy.c.j2", g=g, start=start_tile(g)) if wide else ""
        return Slots(
            row=render("rows/sparse_call.c.j2", form=table.rows.form, row_name=row).rstrip(),
            finish=accumulator_store(op, g, table.q, [f"a[{i}]" for i in range(8)]),
            copy=copy.rstrip(),
        )

    def _vectors(self, op: QConv, s: TileSchedule, table: RowTable, wide: bool) -> Slots:
        g, fours = s.g, _fours(op, s.g, table.q)
        copy = render("rows/sparse_copy.helium.c.j2", g=g, start=start_tile(g)) if wide else ""
        call = render("rows/sparse_call.helium.c.j2", form=table.rows.form, g=g, fours=fours)
        return Slots(
            row=call.rstrip(),
            finish=render("rows/sparse_finish.helium.c.j2", g=g, fours=fours).rstrip(),
            copy=copy.rstrip(),
        )
