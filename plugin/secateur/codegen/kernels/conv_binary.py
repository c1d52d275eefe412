"""Convolution on bit planes: 32 output pixels at a time, counted by full adders.

The lanes of a word are neighbouring pixels of one channel, so a count is a stack of words (its
bits), an addition is a full adder on whole words, and a threshold is the carry out of a count that
began with a constant. The sums of every three columns are looked up: a table, made once a tile,
holds the two bits of each for all eight patterns of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...lowering.qgraph import QConv, QTensor, Thresholds
from ..emit import CArray, CFunction, Emission, render
from ..packing import is_dense
from ..requant import RequantTable, requantization
from ..tables import Table
from .base import Kernel, Layer, register
from .binary import Counted, CountSteps, counted, plane_array, step_array, toggles, words

GROUPS = 11  #: a word of weights is ten groups of three columns and one of two
ENTRY_WORDS = 168  #: words of table for a word of weights
_TABLE_WORDS = 8  #: words of weights (times input planes) whose tables are held at once
_COUNTS = 4096  #: bytes of counts kept while the tables change


@dataclass(frozen=True)
class BinaryPlan:
    """How a layer is cut up."""

    ci: int
    co: int
    taps: int
    pixels: int
    tiles: int
    levels: int  #: words of a count
    held: int  #: words of an output channel's counts
    chunk: int  #: input channels whose tables are held at once
    chunks: int
    words: int  #: of a whole chunk's columns
    last_words: int  #: of the last chunk's
    last: int  #: channels of the last chunk
    unit: int  #: words of weights a turn of the loop
    block: int  #: output channels whose counts are held
    pointwise: bool

    @property
    def row_words(self) -> int:
        """Words of a row's plane."""
        return self.words * (self.chunks - 1) + self.last_words


def plan(op: QConv, x: QTensor, c: Counted, small: bool) -> BinaryPlan:
    """Cut up a layer."""
    co, ci, kh, kw = op.weight.shape
    taps = kh * kw
    pixels = _pixels(op, x)
    chunk, full, rest = _chunks(ci, taps, max(1, _TABLE_WORDS // len(c.q)))
    chunks = -(-ci // chunk)
    last = ci - chunk * (chunks - 1)
    unit = 2 if full % 2 == 0 and (chunks == 1 or rest % 2 == 0) and not small else 1
    if c.sliced:
        levels = max(2, c.most.bit_length()) + (c.steps.shape[1] == 1)
        held = levels + int(c.shifts().max())
    else:
        levels = max(2, (ci * taps).bit_length())
        held = levels * c.pairs
    block = co if chunks == 1 else min(co, max(8, _COUNTS // (4 * held)))
    pointwise = taps == 1 and op.stride == (1, 1) and not any(op.pads)
    return BinaryPlan(
        ci, co, taps, pixels, -(-pixels // 32), levels, held, chunk, chunks, full, rest, last, unit,
        block, pointwise,
    )  # fmt: skip


def _chunks(ci: int, taps: int, room: int) -> tuple[int, int, int]:
    """(channels of a chunk, its words, the last one's words) for tables of about `room` words.

    Two words a turn of the loop are a tenth faster than one, if all chunks have an even number.
    """

    def words_of(channels: int) -> int:
        return -(-channels * taps // 32)

    def price(chunk: int) -> float:
        chunks = -(-ci // chunk)
        full, rest = words_of(chunk), words_of(ci - chunk * (chunks - 1))
        odd = full % 2 or (chunks > 1 and rest % 2)
        return (full * (chunks - 1) + rest) * (1.1 if odd else 1.0) + 0.3 * chunks

    most = min(ci, max(1, 32 * room // taps))
    chunk = min(range((most + 1) // 2, most + 1), key=lambda n: (price(n), -n))
    return chunk, words_of(chunk), words_of(ci - chunk * (-(-ci // chunk) - 1))


def _pixels(op: QConv, x: QTensor) -> int:
    _, h, w = x.shape
    kh, kw = op.weight.shape[2:]
    t, left, b, r = op.pads
    return ((h + t + b - kh) // op.stride[0] + 1) * ((w + left + r - kw) // op.stride[1] + 1)


def row_words(c: Counted, g: BinaryPlan) -> np.ndarray:
    """uint32 [rows, planes, words]: the columns of each chunk from a word on."""
    size = g.chunk * g.taps
    parts = [words(c.bits[..., i : i + size]) for i in range(0, c.bits.shape[2], size)]
    return np.concatenate(parts, axis=-1).transpose(1, 0, 2)


def adder(unit: int, levels: int) -> list[str]:
    """C lines that add `unit` words' groups to the count s[0] .. s[levels - 1]."""
    lines: list[str] = []
    waiting: list[list[str]] = [[] for _ in range(levels)]
    names = iter(range(10_000))

    def put(name: str, level: int) -> None:
        if level >= levels:
            return
        if level == levels - 1:
            lines.append(f"s[{level}] ^= {name};")
            return
        waiting[level].append(name)
        if len(waiting[level]) == 2:
            a, b = waiting[level]
            waiting[level] = []
            carry = f"c{next(names)}"
            lines.append(f"uint32_t {carry};\nSC_FULL(s[{level}], {carry}, {a}, {b})")
            put(carry, level + 1)

    for w in range(unit):
        lines.append(f"w = weights[{w}];\ne = table + {ENTRY_WORDS * w};")
        for i in range(GROUPS):
            low, high = f"a{w}_{i}", f"b{w}_{i}"
            bits = 3 if i < GROUPS - 1 else 2
            lines.append(
                f"uint32_t {low}, {high};\n"
                f"SC_ENTRY({low}, {high}, e, w, {3 * i}, {bits}, {64 * i});"
            )
            put(low, 0)
            put(high, 1)
    for level in range(levels - 1):
        if waiting[level]:
            a = waiting[level].pop()
            carry = f"c{next(names)}"
            lines.append(f"const uint32_t {carry} = s[{level}] & {a};\ns[{level}] ^= {a};")
            put(carry, level + 1)
    return lines


@dataclass(frozen=True)
class Finish:
    """From a channel's counts to what is stored: constants, and how the template uses them."""

    sliced: bool
    thresholds: int
    arrays: tuple[CArray, ...]
    p: list[int] | None
    place: str  #: where in the counts those of pair (a, b) of planes begin
    toggles: list[list[int]]
    requant: RequantTable | None = None

    @property
    def parameters(self) -> list[str]:
        """C parameters for the arrays."""
        names = ("steps", "requant")
        return [f"const {a.ctype} *{n}" for a, n in zip(self.arrays, names, strict=False)]

    @classmethod
    def of(cls, layer: Layer[QConv], c: Counted, g: BinaryPlan) -> Finish:
        """Of a layer's numbers."""
        r = layer.op.requant
        flips = toggles(r.planes) if isinstance(r, Thresholds) else []
        if c.sliced:
            assert c.doubling is not None
            weights, inputs = c.doubling
            terms = [f"{len(c.bits) - 1} - a"] * weights + ["b"] * inputs
            place = " + ".join(terms) or "0"
            # a count that began with 2^levels - t carries into the level above if it reaches t
            top = g.levels - 1 if c.steps.shape[1] == 1 else g.levels
            start = 2**top - c.count_steps()
            note = f"per channel: 2^{top} - thresholds on the count"
            array = step_array(layer.prefix, start, note)
            return cls(True, c.steps.shape[1], (array,), None, place, flips)
        place = f"({len(c.q)} * a + b) * {g.levels}"
        steps = CountSteps.of(c, layer.prefix, "channel")
        if steps.thresholds:
            return cls(False, steps.thresholds, (steps.array,), steps.planes, place, flips)
        q = requantization(layer.prefix, r)
        return cls(False, 0, (steps.array, q.array), steps.planes, place, flips, q)


@dataclass(frozen=True, kw_only=True)
class CountTable(Table):
    """Planes, and what `finish` compares counts with."""

    finish: Finish


@register
class ConvBinary(Kernel[QConv, CountTable]):
    """Convolution of few weight planes and few input planes (groups == 1)."""

    name = "conv_binary"
    forms = frozenset({"planes"})

    def reads(self, layer: Layer[QConv]) -> bool:
        return layer.graph.tensors[layer.op.inputs[0]].packed

    def applies(self, layer: Layer[QConv]) -> bool:
        op = layer.op
        return not is_dense(op, layer.graph.tensors[op.inputs[0]])

    def _parts(self, layer: Layer[QConv]) -> tuple[Counted, BinaryPlan]:
        op = layer.op
        x = layer.graph.tensors[op.inputs[0]]
        c = counted(op, x)
        return c, plan(op, x, c, layer.small)

    def scratch(self, layer: Layer[QConv]) -> int:
        c, g = self._parts(layer)
        tables = 4 * ENTRY_WORDS * g.words * len(c.q)
        columns = 0 if g.pointwise else 128 * g.words
        counts = 4 * g.held * g.block if g.chunks > 1 else 0
        return tables + columns + counts

    plain_factor = 1.6

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        c, g = self._parts(layer)
        columns, rows = g.ci * g.taps, float(g.tiles * g.co)
        steps = c.steps.shape[1]
        finish = {"counted": rows * c.pairs, "steps": rows * max(1, steps)}
        if c.sliced:
            finish = {"passed": rows} if steps == 1 else {"levels": rows * g.levels * steps}
        filled = float(g.tiles * -(-g.co // g.block) * len(c.q) * columns)
        return {
            "words": rows * c.pairs * columns,
            "pairs": rows * c.pairs,
            **finish,
            "pointwise_filled" if g.pointwise else "filled": filled,
        }

    def table(self, layer: Layer[QConv]) -> CountTable:
        c, g = self._parts(layer)
        finish = Finish.of(layer, c, g)
        arrays = (plane_array(layer, c, row_words(c, g)), *finish.arrays)
        return CountTable(arrays=arrays, finish=finish)

    def emit(self, layer: Layer[QConv], table: CountTable) -> Emission:
        op = layer.op
        x, y = (layer.graph.tensors[t] for t in (op.inputs[0], op.output))
        c, g = self._parts(layer)
        key = f"{op.weight.shape[2]}x{op.weight.shape[3]}_{g.ci}x{g.co}_p{g.pixels}"
        count = f"count_{g.unit}_{g.levels}"
        lines = adder(g.unit, g.levels)
        functions = [
            CFunction("threes", render("binary_table.c.j2")),
            CFunction(
                count,
                render("binary_count.c.j2", name=count, unit=g.unit, levels=g.levels, lines=lines),
            ),
        ]
        reaches = f"reaches_{g.levels}"
        if not c.sliced:
            for n in {min(g.levels, 8), max(g.levels - 8, 0)} - {0}:
                text = render("binary_spread.c.j2", name=f"spread{n}", levels=n)
                functions.append(CFunction(f"spread{n}", text))
        elif c.steps.shape[1] > 1:
            text = render("binary_reaches.c.j2", name=reaches, levels=g.levels)
            functions.append(CFunction(reaches, text))
        columns = f"columns_{key}"
        if not g.pointwise:
            functions.append(_columns_function(columns, op, x, y))
        name = f"conv_binary_{key}"
        text = render(
            "conv_binary.c.j2", name=name, key=key, g=g, c=c, x=x, y=y, count=count,
            columns=columns, finish=table.finish, reaches=reaches, entry=ENTRY_WORDS,
            p=len(c.bits), k=len(c.q),
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        return Emission(f"{name}({', '.join(args)});", [*functions, CFunction(name, text)])


def _columns_function(name: str, op: QConv, x: QTensor, y: QTensor) -> CFunction:
    """C that gathers what a tile's windows read, column by column."""
    (_, h, w), (_, oh, ow) = x.shape, y.shape
    text = render(
        "binary_columns.c.j2", name=name, h=h, w=w, oh=oh, ow=ow, kh=op.weight.shape[2],
        kw=op.weight.shape[3], sy=op.stride[0], sx=op.stride[1], pads=op.pads,
        step=len(x.planes) * x.pitch, wide=w + op.pads[1] + op.pads[3] > 32,
    )  # fmt: skip
    return CFunction(name, text)
