"""Weight rows as the dense convolution multiplies them: two weights to a word.

The band holds the inputs of two columns in a word, so a row has to hold their weights the same
way. Here is which columns those are, and the C that widens rows to such words. So that this costs
little, the rows of windows are stored in another order than the operator's (`RowSource.order`):

"words"  codebook indices: the two of a word, word after word, then the words of one weight
"quads"  int8 of 4n channels: two words mixed, their low halves, then their high ones, so that
         sign extension of every other byte gives a word
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ...coding.bits import pack_rows, unpack_rows
from ...lowering.qgraph import QConv
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

    @property
    def band_words(self) -> int:
        """Words of the band."""
        return self.planes * self.plane_pitch

    @property
    def pair_words(self) -> int:
        """Words of the widened weight rows."""
        return self.block * self.outer[0] * self.inner[0] * len(self.taps)


def plan(g: Geometry, crossed: bool = True) -> DensePlan:
    """The dense kernel's band for a convolution.

    crossed: whether four int8 weights of a pointwise row, as they lie, become two words.
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


def table_bytes(bits: int) -> int:
    """Scratch of a table of the pairs of weights that two indices name; 0: none is made."""
    return 4 * 4**bits if bits <= 4 else 0


def dense_plan(layer: Layer[QConv], g: Geometry) -> DensePlan:
    """The band of a layer, in the order of its rows of words."""
    return plan(g, crossed=not layer.index_bits)


def _by_word(layer: Layer[QConv], g: Geometry) -> bool:
    """Whether the rows lie such that words follow one another; else they are unpacked first."""
    if bits := layer.index_bits:
        return bits == 4 or not (g.kw if g.ci == 1 else g.ci) % 2
    if g.pointwise:
        return True
    return not is_coded(layer.encoded) and g.ci % 4 == 0


def pair_scratch(layer: Layer[QConv], g: Geometry) -> int:
    """Bytes of scratch of `pair_rows`, of the rows one by one, too."""
    bits = layer.index_bits
    table = table_bytes(bits) if bits and _by_word(layer, g) else 0
    return max(table, row_bytes(stored_rows(layer), again=True))


def pair_work(layer: Layer[QConv], g: Geometry, bands: int) -> dict[str, float]:
    """Units of widening all rows for every one of `bands`."""
    weights = float(bands * g.co * g.ci * g.kh * g.kw)
    bits = layer.index_bits
    if not _by_word(layer, g):
        return {"expanded": weights, **index_work(layer, weights)}
    if bits and table_bytes(bits):
        unit = "nibbles" if bits == 4 else "looked_up"
        return {unit: weights, "table": g.calls * 4.0**bits}
    if bits:
        return {"picked": weights}
    return {"expanded" if g.ci % 4 else "quads": weights}


def pair_table(layer: Layer[QConv], g: Geometry, d: DensePlan) -> Stored:
    """The rows of `layer` in the order in which words are made of them."""
    natural = stored_rows(layer)
    pairs, singles = stored_order(g, d)
    if not _by_word(layer, g):
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
    if not _by_word(layer, g):
        return PairRows(source, _one_by_one(g, d, source.next_row), source)
    runs = _Runs.of(g, d)
    if bits := stored.bits:
        start = ""
        if table_bytes(bits):
            levels = stored.arrays[1].values.size
            start = (
                f"uint8_t *const table = {buffer}; /* the weights that two indices name */\n"
                f"sc_pair_table(table, book, {levels}, {bits});"
            )
        by_word = replace(source, start=start, rewind="const uint8_t *index_row = index;")
        form: _Form = (
            _Nibbles(d.block, stored.stride) if bits == 4
            else _Indices(d.block, stored.stride, bits)
        )  # fmt: skip
        return PairRows(by_word, _walk(runs, form, layer.small), source)
    form = _Bytes(d.block, g.ci * g.kh * g.kw, g.ci % 4 == 0)
    return PairRows(source, _walk(runs, form, layer.small), source)


@dataclass(frozen=True)
class _Form:
    """C for stored rows: `block` of them, `stride` bytes each, from the pointer `name` on."""

    block: int
    stride: int
    name = "index_row"
    unit = 4  #: words of a turn of the loop

    def size(self, words: int) -> int:
        """Bytes of a row that `words` words take."""
        return 2 * words

    def words(self, n: int) -> list[str]:
        """C that stores the next `n` (at most `unit`) words of each row at `to`."""
        raise NotImplementedError

    def singles(self, n: int, pitch: int) -> list[str]:
        """C that stores each row's last `n` weights in low halves, `pitch` bytes apart."""
        raise NotImplementedError

    def at(self, byte: int, row: int) -> str:
        """C of a stored byte."""
        return f"{self.name}[{row * self.stride + byte}]"

    def store(self, byte: int, value: str) -> str:
        """C of one store at `to`."""
        return f"sc_store4(to{f' + {byte}' if byte else ''}, {value});"

    def each(self, n: int, value: Callable[[int, int], str]) -> list[str]:
        """The stores of `n` words of all rows: value(word, row)."""
        return [
            self.store(4 * (self.block * i + r), value(i, r))
            for i in range(n) for r in range(self.block)
        ]  # fmt: skip


@dataclass(frozen=True)
class _Bytes(_Form):
    """int8 weights; with `quads` four of them widen to two words at once."""

    quads: bool
    name = "next"

    def words(self, n: int) -> list[str]:
        out = []
        for i in range(0, n - 1 if self.quads else 0, 2):
            for r in range(self.block):
                at = f"({self.name} + {r * self.stride + 2 * i})"
                first, second = f"e{i}{r} = sc_first_s{at}", f"o{i}{r} = sc_second_s{at}"
                out.append(f"const uint32_t {first}, {second};")
            out += [self.store(4 * (self.block * i + r), f"e{i}{r}") for r in range(self.block)]
            out += [
                self.store(4 * (self.block * (i + 1) + r), f"o{i}{r}") for r in range(self.block)
            ]
        left = range(0 if not self.quads else n, n)
        return out + [
            self.store(
                4 * (self.block * i + r), f"sc_pair({self.at(2 * i, r)}, {self.at(2 * i + 1, r)})"
            )
            for i in left for r in range(self.block)
        ]  # fmt: skip

    def singles(self, n: int, pitch: int) -> list[str]:
        stores = [self.store(4 * r, f"sc_pair({self.at(0, r)}, 0)") for r in range(self.block)]
        return _loop(n, [*stores, f"{self.name}++;", f"to += {pitch};"])


@dataclass(frozen=True)
class _Nibbles(_Form):
    """4-bit indices: a byte names a pair of weights."""

    unit = 8

    def size(self, words: int) -> int:
        return words

    def words(self, n: int) -> list[str]:
        out = []
        places = [(i, r) for i in range(n) for r in range(self.block)]
        for pair in (places[i : i + 2] for i in range(0, len(places), 2)):
            names = [f"w{i}{r}" for i, r in pair]
            both = [f"SC_BOTH({', '.join(names)});"] if len(pair) == 2 else []
            first = [f"{w} = {self.at(*at)}" for w, at in zip(names, pair, strict=True)]
            out += [f"uint32_t {', '.join(first)};", *both]
            out += [" ".join(f"{w} = sc_load4(table + 4 * {w});" for w in names), *both]
            out += [
                self.store(4 * (self.block * i + r), w)
                for w, (i, r) in zip(names, pair, strict=True)
            ]
        return out

    def singles(self, n: int, pitch: int) -> list[str]:
        rows = range(self.block)
        load = [f"const uint32_t w{r} = sc_load4(table + 4 * {self.at(0, r)});" for r in rows]
        low = [self.store(4 * r, f"w{r} & 0xFFFFu") for r in rows]
        high = [self.store(pitch + 4 * r, f"w{r} >> 16") for r in rows]
        move = [f"{self.name}++;", f"to += {2 * pitch};"]
        last = ["{", *_indented([*load, *low]), "}", f"{self.name}++;"] if n % 2 else []
        return [*_loop(n // 2, [*load, *low, *high, *move]), *last]


@dataclass(frozen=True)
class _Indices(_Form):
    """Packed indices of `bits` bits; eight of them are `bits` bytes."""

    bits: int

    def size(self, words: int) -> int:
        return (2 * words * self.bits + 7) // 8

    def words(self, n: int) -> list[str]:
        bits = self.bits
        out: list[str] = []
        for r in range(self.block):
            out += load(2 * n, bits, self.stride, r, self.name).split("\n")

        def value(i: int, r: int) -> str:
            if table_bytes(bits):
                return f"sc_load4(table + 4 * ({field(2 * bits * i, 2 * bits, r)}))"
            low, high = (field(bits * j, bits, r) for j in (2 * i, 2 * i + 1))
            return f"sc_pair(book[{low}], book[{high}])"

        return out + self.each(n, value)


def _indented(lines: list[str]) -> list[str]:
    return ["    " + line for line in lines]


def _loop(n: int, body: list[str]) -> list[str]:
    if n <= 1:
        return ["{", *_indented(body), "}"] if n else []
    return [f"for (int i = 0; i < {n}; i++) {{", *_indented(body), "}"]


def _walk(runs: _Runs, form: _Form, small: bool) -> str:
    """C that widens the next `form.block` stored rows into `pairs`."""
    word = 4 * form.block

    def some(times: int, n: int, gap: int = 0) -> list[str]:
        """`times` times `n` words."""
        if not n:
            return []
        move = [f"{form.name} += {form.size(n)};", f"to += {word * (n + gap)};"]
        return _loop(times, [*form.words(n), *move])

    unit = min(form.unit, 4) if small else form.unit
    run = [*some(runs.pairs // unit, unit), *some(1, runs.pairs % unit)]
    if runs.count > 1:
        run = _loop(runs.count, [*run, f"to += {word * runs.gap};"])
    out = ["uint8_t *to = pairs;", *run]
    if runs.singles:
        if runs.gap:
            out.append(f"to = pairs + {word * runs.pairs};")
        out += form.singles(runs.singles, word * runs.pitch)
    if form.block > 1:
        out.append(f"{form.name} += {form.stride * (form.block - 1)};")
    return "\n".join(["{", *_indented(out), "}"])


def _one_by_one(g: Geometry, d: DensePlan, next_row: str) -> str:
    """C that widens the next rows of int8 in the order of the weights."""
    k, n = g.kh * g.kw, len(d.taps)
    out = []
    for b in range(d.block):
        if d.by_channel:
            first, second = f"2 * i * {k} + t", f"(2 * i + 1) * {k} + t"
            loops, word, there = (d.planes, k), f"i * {k} + t", f"2 * i + 1 < {g.ci}"
            full = g.ci % 2 == 0
        else:
            first, second = f"i * {g.kw} + 2 * t", f"i * {g.kw} + 2 * t + 1"
            loops, word, there = (g.kh, n), f"i * {n} + t", f"2 * t + 1 < {g.kw}"
            full = g.kw % 2 == 0
        odd = f"row[{second}]" if full else f"{there} ? row[{second}] : 0"
        out += [
            "{",
            *_indented(next_row.split("\n")),
            f"    for (int i = 0; i < {loops[0]}; i++) {{",
            f"        for (int t = 0; t < {loops[1]}; t++) {{",
            f"            sc_store4(pairs + {4 * d.block} * ({word}) + {4 * b},",
            f"                      sc_pair(row[{first}], {odd}));",
            "        }",
            "    }",
            "}",
        ]
    return "\n".join(out)
