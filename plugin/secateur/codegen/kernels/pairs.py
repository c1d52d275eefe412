"""Weight rows as the dense convolution multiplies them: two weights to a word.

The band holds the inputs of two columns in a word, so a row has to hold their weights the same
way. Here is which columns those are, and the C that widens rows to such words. So that this costs
little, the rows of windows are stored in another order than the operator's (`RowSource.order`):

"words"  codebook indices: the two of a word, word after word, then the words of one weight
"quads"  int8 of 4n channels: two words mixed, their low halves, then their high ones, so that
         sign extension of every other byte gives a word
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ...coding.bits import pack_rows, unpack_rows
from ...lowering.qgraph import QConv
from ..emit import render
from ..geometry import Geometry
from .base import Layer
from .coded import is_coded
from .indices import field, load
from .source import RowSource, Stored, index_work, row_bytes, row_source, stored_rows


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
    crossed: bool = False  #: channels 4k and 4k+2, 4k+1 and 4k+3 are pairs; else neighbours
    #: Word offsets of the last channel's taps in a row of its own, where it makes words of
    #: neighbours in a row; () where it has words to itself, and where it is one of a pair.
    lone: tuple[int, ...] = ()
    lone_pitch: int = 0  #: of those rows

    @property
    def full(self) -> int:
        """Planes of words of two channels."""
        return self.planes - bool(self.lone)

    @property
    def band_words(self) -> int:
        """Words of the band."""
        return self.full * self.plane_pitch + self.in_rows * self.lone_pitch

    @property
    def words(self) -> int:
        """Words of a widened weight row."""
        outer = self.outer[0] - bool(self.lone)
        return self.inner[0] * (outer * len(self.taps) + len(self.lone))

    @property
    def pair_words(self) -> int:
        """Words of the widened weight rows."""
        return self.block * self.words


def plan(g: Geometry, crossed: bool = True, narrow: bool = False) -> DensePlan:
    """The dense kernel's band for a convolution.

    crossed: whether four int8 weights of a pointwise row, as they lie, become two words; narrow:
    the band of a window holds the inputs of one output row.
    """
    block = 2 if g.co % 2 == 0 else 1
    if g.pointwise:
        planes = (g.ci + 1) // 2
        unroll = next(u for u in (4, 3, 2, 1) if planes % u == 0)
        taps = tuple(16 * u for u in range(unroll))
        return DensePlan(
            block, 16, 1, 1, 1, planes, 16, 16, True, (), taps, (1, 0),
            (planes // unroll, 16 * unroll), crossed and g.ci % 4 == 0,
        )  # fmt: skip
    by_channel = g.ci > 1
    planes = (g.ci + 1) // 2
    kxs = list(range(g.kw)) if by_channel else list(range(0, g.kw, 2))
    phases = sorted({kx % g.sx for kx in kxs})
    step = min(g.sy, g.kh)
    pitch = max(g.ow, 4) + (g.kw - 1) // g.sx + 1

    def rows_in(r: int) -> int:
        return (r - 1) * step + g.kh

    rows = 2 if g.ow < 16 and g.oh > 1 and not narrow else 1
    if planes * rows_in(g.oh) * pitch * len(phases) <= 512 and not narrow:
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


def stored_order(g: Geometry, d: DensePlan) -> tuple[np.ndarray, np.ndarray]:
    """Columns (ci, kh, kw) that make a word together, int64 [words, 2], and those that fill the
    low half of one alone, in the order in which the kernel reads the words of either."""
    k = g.kh * g.kw
    if d.by_channel:
        low = (2 * k * np.arange(d.planes)[:, None] + np.arange(k)).reshape(-1)
        high, there = low + k, low + k < k * g.ci
    else:
        low = (g.kw * np.arange(g.kh)[:, None] + 2 * np.arange(len(d.taps))).reshape(-1)
        high, there = low + 1, low % g.kw + 1 < g.kw
    return np.stack([low[there], high[there]], axis=1), low[~there]


@dataclass(frozen=True)
class _Runs:
    """Where the words of two weights and of one lie in a row of words.

    `count` runs of `pairs` of the former, each followed by `gap` of the latter, of which there are
    `singles`; without gaps those come last.
    """

    count: int
    pairs: int
    gap: int
    singles: int

    @classmethod
    def of(cls, g: Geometry, d: DensePlan) -> _Runs:
        """The runs of a convolution."""
        pairs, singles = (len(columns) for columns in stored_order(g, d))
        if not d.by_channel and pairs and singles:
            return cls(g.kh, len(d.taps) - 1, 1, singles)
        return cls(1, pairs, 0, singles)

    @property
    def pitch(self) -> int:
        """Words from a single weight to the next."""
        return self.pairs + self.gap if self.gap else 1


@dataclass(frozen=True)
class PairRows:
    """Where the dense convolution's rows of words come from."""

    source: RowSource  #: parameters, arrays, and what to do before the first row
    expand: str  #: C that widens the next `block` rows into `pairs`
    one_by_one: RowSource  #: a row after the other as int8 in `Stored.order`
    quads: bool = False  #: they are int8, from `next` on, four of a row to two words


def table_bytes(layer: Layer[QConv]) -> int:
    """Scratch of a table of the pairs of weights that two indices name; 0: none is made."""
    bits = layer.index_bits
    return 4 * 4**bits if 0 < bits <= 4 and not layer.thrift.narrow else 0


def dense_plan(layer: Layer[QConv], g: Geometry) -> DensePlan:
    """The band of a layer, in the order of its rows of words."""
    return plan(g, crossed=not layer.index_bits, narrow=layer.thrift.narrow)


def by_word(layer: Layer[QConv], g: Geometry) -> bool:
    """Whether the rows lie such that words follow one another; else they are unpacked first."""
    if bits := layer.index_bits:
        pairs = bits == 4 and table_bytes(layer) > 0  # a byte names one, its second may be none
        return pairs or not (g.kw if g.ci == 1 else g.ci) % 2
    if g.pointwise:
        return True
    return not is_coded(layer.encoded) and g.ci % 4 == 0


def pair_scratch(layer: Layer[QConv], g: Geometry) -> int:
    """Bytes of scratch of `pair_rows`, of the rows one by one, too."""
    table = table_bytes(layer) if by_word(layer, g) else 0
    return max(table, row_bytes(stored_rows(layer), again=True))


def pair_work(layer: Layer[QConv], g: Geometry, bands: int) -> dict[str, float]:
    """Units of widening all rows for every one of `bands`."""
    weights = float(bands * g.co * g.ci * g.kh * g.kw)
    bits = layer.index_bits
    if not by_word(layer, g):
        return {"expanded": weights, **index_work(layer, weights)}
    if table_bytes(layer):
        unit = "nibbles" if bits == 4 else "looked_up"
        return {unit: weights, "table": g.calls * 4.0**bits}
    if bits:
        return {"picked": weights}
    return {"expanded" if g.ci % 4 else "quads": weights}


def pair_table(layer: Layer[QConv], g: Geometry, d: DensePlan) -> Stored:
    """The rows of `layer` in the order in which words are made of them."""
    natural = stored_rows(layer)
    pairs, singles = stored_order(g, d)
    if not by_word(layer, g):
        return natural
    if natural.bits:
        order = np.concatenate([pairs.reshape(-1), singles])
        indices, book = natural.arrays
        index = unpack_rows(indices.values.tobytes(), natural.bits, g.co, order.size)[:, order]
        data, _ = pack_rows(index, natural.bits)
        arrays = (replace(indices, values=np.frombuffer(data, np.uint8)), book)
        moved = "" if (order == np.arange(order.size)).all() else "words"
        return replace(natural, arrays=arrays, order=moved)
    if g.pointwise:
        return natural
    (weight,) = natural.arrays
    mixed = pairs.reshape(-1, 2, 2).transpose(0, 2, 1).reshape(-1)
    array = replace(weight, values=weight.values[:, mixed])
    return replace(natural, arrays=(array,), order="quads")


def pair_rows(
    layer: Layer[QConv], stored: Stored, g: Geometry, d: DensePlan, buffer: str
) -> PairRows:
    """C for the rows of `pair_table`, with scratch at `buffer` (a C expression)."""
    source = row_source(stored, buffer, again=True)
    if not by_word(layer, g):
        return PairRows(source, _one_by_one(g, d, source.next_row), source)
    runs = _Runs.of(g, d)
    if bits := stored.bits:
        start = ""
        table = table_bytes(layer) > 0
        if table:
            levels = stored.arrays[1].values.size
            start = (
                f"uint8_t *const table = {buffer}; /* the weights that two indices name */\n"
                f"sc_pair_table(table, book, {levels}, {bits});"
            )
        words = replace(source, start=start, rewind="const uint8_t *index_row = index;")
        form: _Form = (
            _Nibbles(d.block, stored.stride) if bits == 4 and table
            else _Indices(d.block, stored.stride, bits, table)
        )  # fmt: skip
        return PairRows(words, _walk(runs, form, layer.small), source)
    form = _Bytes(d.block, g.ci * g.kh * g.kw, g.ci % 4 == 0)
    return PairRows(source, _walk(runs, form, layer.small), source, form.quads)


@dataclass(frozen=True)
class _Form:
    """Stored rows for templates/pairs: `block` of them, `stride` bytes each, from `name` on."""

    block: int
    stride: int
    stored = ""  #: template with the C for `words` words, and for the `singles` at a row's end
    name = "index_row"  #: pointer in the C
    unit = 4  #: words of a turn of the loop

    def size(self, words: int) -> int:
        """Bytes of a row that `words` words take."""
        return 2 * words

    def at(self, byte: int, row: int) -> str:
        """C of a stored byte."""
        return f"{self.name}[{row * self.stride + byte}]"


@dataclass(frozen=True)
class _Bytes(_Form):
    """int8 weights."""

    quads: bool  #: four of them widen to two words at once
    stored = "bytes"
    name = "next"


@dataclass(frozen=True)
class _Nibbles(_Form):
    """4-bit indices: a byte names a pair of weights."""

    stored = "nibbles"
    unit = 8

    def size(self, words: int) -> int:
        return words


@dataclass(frozen=True)
class _Indices(_Form):
    """Packed indices of `bits` bits; eight of them are `bits` bytes."""

    bits: int
    table: bool  #: two indices look up a pair of weights
    stored = "indices"

    def size(self, words: int) -> int:
        return (2 * words * self.bits + 7) // 8

    def load(self, count: int, row: int) -> str:
        """C that loads `count` indices of a row."""
        return load(count, self.bits, self.stride, row, self.name)

    def field(self, first: int, count: int, row: int) -> str:
        """C of `count` neighbouring indices among those loaded."""
        return field(self.bits * first, self.bits * count, row)


def _walk(runs: _Runs, form: _Form, small: bool) -> str:
    """C that widens the next `form.block` stored rows into `pairs`."""
    unit = min(form.unit, 4) if small else form.unit
    return _close(render("pairs/walk.c.j2", runs=runs, f=form, unit=unit))


def _one_by_one(g: Geometry, d: DensePlan, next_row: str) -> str:
    """C that widens the next rows of int8 in the order of the weights."""
    return _close(render("pairs/one_by_one.c.j2", g=g, d=d, next_row=next_row))


def _close(text: str) -> str:
    """Without the empty lines that macros leave."""
    return "\n".join(line for line in text.split("\n") if line.strip())
