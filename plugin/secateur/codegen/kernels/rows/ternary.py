"""Ternary rows: sixteen pixels at a time, two 16-bit lanes to an addition."""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import ClassVar

import numpy as np

from ....lowering.qgraph import QConv
from ...emit import CFunction, by_isa, render
from ...requant import RequantTable, one_shift
from ..base import Layer
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
from ..tile.store import tile_store

#: Bytes of columns over which a jump whose table has bytes reaches: of halfwords, the table's own
#: and what lies between not counted.
_REACH = 2 * 255 - 16
#: Columns a turn where instructions count for more than bytes.
LONG = 24
#: Columns of all tiles from which on several are written out a turn.
UNROLLED = 4000
#: Weight of bytes from which on routines are shared, for a call or an argument more.
SHARED = 0.5
#: Sum that a signed 16-bit lane holds.
LANE = 32767


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


@remembered
def short_rows(weight: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Rows as of `ternary_rows` in steps of a byte: where a list's next column is farther, one
    between is added, and taken off by the other list. Of no elements where that cannot be."""
    out: list[int] = []
    reads = np.unique(offsets)
    for row in weight:
        lists = [sorted(offsets[row == sign].tolist()) for sign in (-1, 1)]
        # the other list may end where what is added to it lies too far behind
        while far := [a for x in lists for a, b in pairwise([0, *x]) if b - a > STEP]:
            if (way := reached(reads, far[0])) is None:
                return np.zeros(0, np.int64)
            for x in lists:
                insort(x, way)
        if STEP * max(map(len, lists)) > LANE:
            return np.zeros(0, np.int64)
        for columns in lists:
            out += [len(columns), *np.diff(columns, prepend=0).tolist()]
    return np.array(out, np.int64)


def lists_fit(weight: np.ndarray) -> bool:
    """Whether weights are -1, 0, 1 and the sum of a row's +1s or -1s fits a lane."""
    w = weight.reshape(len(weight), -1)
    if np.any(np.abs(w) > 1):
        return False
    return 255 * max(int((w > 0).sum(axis=1).max()), int((w < 0).sum(axis=1).max())) <= LANE


def _eights(offsets: Sequence[int]) -> bool:
    """Whether groups of four lie together in pairs, as vectors of eight pixels need them."""
    return len(offsets) == 4 and all(offsets[i + 1] == offsets[i] + 4 for i in (0, 2))


@dataclass(frozen=True)
class ColumnSteps:
    """How a routine walks over a tile's columns."""

    elem: str  #: C type of counts and steps
    unit: int  #: a step is in units of 2**unit bytes
    offsets: tuple[int, ...]  #: of the tile's groups of four pixels
    aligned: bool  #: words lie at multiples of four
    unroll: bool  #: several columns a turn
    shared: bool = False  #: the lists of -1s and +1s by one routine, called twice
    mirror: bool = False  #: one list, of columns and of their mirrors
    turn: int = 7  #: columns a turn where a column's words are loaded at once

    @classmethod
    def of(
        cls, elem: str, s: TileSchedule, unroll: bool, shared: bool = False, mirror: bool = False
    ) -> ColumnSteps:
        """Of a layer's tiles."""
        steps = cls(elem, s.unit, tuple(s.g.word_offsets()), s.g.pointwise, unroll)
        if not mirror:
            return replace(steps, shared=shared)
        fits = _REACH // steps.column_bytes
        return replace(steps, mirror=True, turn=fits if shared else LONG)

    @property
    def fours(self) -> bool:
        """Whether a column's words are loaded at once, in turns of seven columns or more."""
        return self.aligned and self.unroll

    @property
    def load(self) -> str:
        """The instruction that loads a count or a step."""
        return "ldrb" if self.elem == "uint8_t" else "ldrh"

    @property
    def size(self) -> int:
        """Bytes of one."""
        return 1 if self.elem == "uint8_t" else 2

    @property
    def column_bytes(self) -> int:
        """Of the code of one column, whose words are loaded at once."""
        return 12 + 4 * self.lanes

    @property
    def far(self) -> bool:
        """Whether a jump over the columns of a turn needs two bytes of the jump's table."""
        return self.turn * self.column_bytes > _REACH

    @property
    def lanes(self) -> int:
        """Words of lanes."""
        return 2 * len(self.offsets)

    @property
    def even(self) -> list[str]:
        """Registers of lanes of even pixels."""
        return [f"r{4 + i}" for i in range(0, self.lanes, 2)]

    @property
    def spills(self) -> bool:
        """Whether lanes and a column's words leave no register for the number of columns."""
        return self.lanes == 8

    @property
    def eights(self) -> bool:
        """Whether there is a routine with vectors."""
        return _eights(self.offsets)

    @property
    def isas(self) -> tuple[str, ...]:
        """Instruction sets for which there is a routine of their own."""
        return ("dsp", "helium") if self.eights else ("dsp",)

    @property
    def key(self) -> str:
        """Part of a routine's name."""
        words = f"x{2 * self.lanes}" if self.aligned else "_".join(str(o) for o in self.offsets[1:])
        bits = 8 * self.size
        mirror = "mirror" if self.mirror else ""
        return f"{mirror}{bits}_{words}{'' if self.unroll else '_small'}"

    @property
    def list_name(self) -> str:
        """Name of the shared routine."""
        return f"ternary_list{self.key}"


@lru_cache(maxsize=256)
def list_function(t: ColumnSteps) -> list[CFunction]:
    """The routine that two lists of a row, and several layers, share; none if they do not."""
    if not t.shared:
        return []
    forms = {"dsp": render("rows/ternary_list.dsp.c.j2", t=t)}
    return [CFunction(t.list_name, "", {**forms, **({"helium": ""} if t.eights else {})})]


@lru_cache(maxsize=256)
def row_function(t: ColumnSteps) -> CFunction:
    """The routine of one row: its lanes."""
    return by_isa(f"ternary_row{t.key}", "rows/ternary_row", *t.isas, t=t)


@dataclass(frozen=True)
class TileRows:
    """What a routine of one layer's rows has in its code; 0: what it is told."""

    co: int
    plane: int  #: bytes from a row's codes to the next row's
    q: RequantTable
    out_offsets: tuple[int, ...]  #: of the codes of groups of four pixels

    @property
    def shift(self) -> int:
        """Of sums to codes."""
        return self.q.shift

    @property
    def k(self) -> int:
        """Offsets are stored in units of 2**k."""
        return self.q.unit_bits


def _tile_function(t: ColumnSteps, rows: TileRows | None) -> CFunction:
    """All rows of a layer on one tile; None: of any layer whose tile lies together in the output.

    That is told how many rows there are, where codes go and how sums are shifted: less code for a
    network, more instructions.
    """
    name = f"ternary_tile{t.key}" + (f"_{rows.co}" if rows else "")
    return by_isa(name, "rows/ternary_tile", *t.isas, t=t, rows=rows)


def _codes_fit_lanes(op: QConv, q: RequantTable) -> bool:
    """Whether sums that are shifted, but not clamped, fit 16 bits."""
    w = op.weight.reshape(len(op.weight), -1)
    most = 255 * np.maximum((w > 0).sum(axis=1), (w < 0).sum(axis=1))
    m, c = (q.array.values[:, i].astype(np.int64) for i in (0, 1))
    return bool(np.all(np.abs(m) * most + (np.abs(c) << q.unit_bits) < 1 << (15 + q.shift)))


def _by_tiles(op: QConv, s: TileSchedule, mirror: bool = False) -> bool:
    """Whether a routine makes all codes of a tile: a row's need nothing but its two constants."""
    return one_shift(op.requant) and op.residual is None and (mirror or not s.g.partial)


@register_rows
class TernaryRows(RowExecutor):
    """Rows of -1, 0, 1."""

    name = "conv_ternary"
    c_name = "ternary"
    forms = frozenset({"ternary", "coded ternary"})
    gathers = True
    narrow = 12
    plain_factor = 4.5
    assembler = frozenset({"dsp"})
    mirror: ClassVar[bool] = False  #: whether rows are one list

    def applies(self, layer: Layer[QConv]) -> bool:
        return lists_fit(layer.op.weight)

    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        weight = weight_matrix(layer.op)
        comment = (
            f"{layer.op.name}: per output channel n(-1), steps to them, n(+1), steps to them; "
            f"density {density(weight):.1%}"
        )
        values = self._numbers(layer, s, layer.thrift.short)
        return Rows.of_steps(values, 2 * len(weight), comment)

    @staticmethod
    def _numbers(layer: Layer[QConv], s: TileSchedule, short: bool) -> np.ndarray:
        """Counts and steps of the rows, `short` where that takes fewer bytes."""
        weight, offsets = weight_matrix(layer.op), s.offsets()
        plain = ternary_rows(weight, offsets, s.unit)
        if not short or s.g.pointwise or plain.max() <= STEP:
            return plain
        numbers = short_rows(weight, offsets)
        fewer = 0 < numbers.size < 2 * plain.size and numbers.max() <= STEP
        return numbers if fewer else plain

    def shortens(self, layer: Layer[QConv], s: TileSchedule) -> bool:
        return self._numbers(layer, s, True).size > self._numbers(layer, s, False).size

    def units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        # prices are of whole tiles, four words a column; a step takes about as long as one of them
        words = (1 + len(s.g.word_offsets())) / 5 if layer.thrift.narrow else 1.0
        taps = tile_taps(layer.op, s.g)
        if layer.thrift.short:
            taps = float(s.g.tiles * (self._numbers(layer, s, True).size - 2 * s.g.co))
        return {
            "taps" if s.g.pointwise else "window_taps": words * taps,
            "stores": words * s.g.tiles * s.g.co,
        }

    def vector_units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        units = self.units(layer, s)
        if self.mirror:
            return units
        if not _by_tiles(layer.op, s):
            units["row_stores"] = units.pop("stores")
        if not _eights(s.g.word_offsets()):  # the routine of two lanes a word
            units = {f"lane_{unit}": n for unit, n in units.items()}
        if s.g.pointwise and s.g.ow < s.g.tw:  # copied in pieces
            units["short_planes"] = float(s.g.tiles * s.g.ci)
        return units

    def title(self, s: TileSchedule) -> str:
        size = f"{s.g.tw}x{s.g.th}"
        return f"Ternary convolution {s.key}: one row of weights per {size} tile."

    def copy(self, layer: Layer[QConv], s: TileSchedule) -> tuple[list[CFunction], str]:
        """Functions, and C that copies a pointwise tile in another way than others do."""
        return [], ""

    def pays(self, layer: Layer[QConv], s: TileSchedule) -> bool:
        """Whether several columns a turn do; elsewhere the code is worth more."""
        return bool(s.g.tiles * np.count_nonzero(layer.op.weight) >= UNROLLED)

    def steps(self, layer: Layer[QConv], s: TileSchedule, elem: str) -> ColumnSteps:
        """How a row's routine walks over its columns."""
        unroll = not layer.small and self.pays(layer, s)
        return ColumnSteps.of(elem, s, unroll, layer.weight >= SHARED, self.mirror)

    def tile(
        self, layer: Layer[QConv], s: TileSchedule, q: RequantTable, steps: ColumnSteps
    ) -> tuple[CFunction, str]:
        """The routine that makes all codes of a tile, and C that calls it."""
        g = s.g
        arguments = "rows, tile, requant, o"
        offsets = tuple(g.out_offsets())
        together = offsets == (0, 4, 8, 12)
        if layer.compact and together and q.bits == 8 and _codes_fit_lanes(layer.op, q):
            made = _tile_function(steps, None)
            shifts = f"{q.shift} + 256 * {q.unit_bits}" if q.unit_bits else str(q.shift)
            arguments += f", requant + {2 * g.co}, {g.out_plane}, {shifts}"
        else:
            made = _tile_function(steps, TileRows(g.co, g.out_plane, q, offsets))
        return made, f"{made.name}({arguments});"

    def emit(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> RowCode:
        g, q = s.g, table.q
        functions, copy = self.copy(layer, s)
        steps = self.steps(layer, s, table.rows.form.elem)
        plain = q.ctype == "int16_t" and q.array.values.shape[1] == 2
        if plain and _by_tiles(layer.op, s, steps.mirror):
            made, whole = self.tile(layer, s, q, steps)
            slots = Slots(whole=whole, copy=copy)
            return RowCode([*functions, *list_function(steps), made], slots)
        row = row_function(steps)
        lanes = [(f"a[{i}]", f"a[{i + 1}]") for i in range(0, steps.lanes, 2)]
        slots = Slots(
            row=f"uint32_t a[{steps.lanes}];\ns = {row.name}(s, tile, a);",
            finish=tile_store(layer.op, g, q, lanes), copy=copy,
        )  # fmt: skip
        return RowCode([*functions, *list_function(steps), row], slots)
