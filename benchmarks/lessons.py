"""Layers that the cost model learns from: every way to execute them, on inputs half of which are 0.

All layers of a lesson read the same tensor, so that shapes need not follow from one another.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import cache
from unittest.mock import patch

import numpy as np
from benchmarks import bit_lessons, chain_lessons, operator_lessons
from benchmarks.lesson_weights import BLOCKS, KINDS, requant_of, weights

from secateur.codegen import choose
from secateur.codegen.choose import WAYS
from secateur.codegen.plan import Plan, candidates, make_plan
from secateur.coding import all_encodings
from secateur.lowering.factored import Factors
from secateur.lowering.qgraph import (
    QAdd,
    QConv,
    QDense,
    QGraph,
    QOp,
    QPad,
    QPool,
    QRescale,
    QSoftmax,
    QTensor,
    Requant,
)

Shape = tuple[int, ...]
Pads = tuple[int, int, int, int]


@dataclass(frozen=True)
class Conv:
    """A convolution of the lesson's image; co 0 is depthwise."""

    co: int
    k: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    pads: Pads = (0, 0, 0, 0)
    residual: bool = False
    coded: bool = False  #: whether entropy-coded weights are tried, too
    kinds: tuple[str, ...] = ()  #: as of `Fc`


@dataclass(frozen=True)
class Fc:
    """A fully connected layer."""

    n: int
    coded: bool = False
    kinds: tuple[str, ...] = ()  #: of weights whose decoders are tried, and nothing else


@dataclass(frozen=True)
class Lesson:
    """An input and layers that read it."""

    name: str
    shape: Shape
    layers: tuple[Conv | Fc, ...] = ()
    others: bool = False  #: pooling and its like
    turned: bool = False  #: whether images are stored column by column
    apart: bool = False  #: whether each encoding has a graph of its own
    only: str | None = None  #: an encoding that alone is tried


LESSONS = (
    Lesson("pixels50", (32, 10, 5), (Conv(24, (1, 1)), Conv(0, (3, 3), pads=(1, 1, 1, 1)))),
    Lesson(
        "pixels125", (64, 25, 5), (Conv(64, (1, 1), coded=True), Conv(0, (3, 3), pads=(1, 1, 1, 1)))
    ),
    Lesson(
        "image",
        (16, 12, 20),
        (
            Conv(16, (3, 3), pads=(1, 1, 1, 1), residual=True),
            Conv(12, (3, 3), pads=(1, 1, 1, 1), coded=True),
            Conv(24, (3, 3), (2, 2), (0, 0, 1, 1)),
            Conv(24, (1, 1), (2, 2)),
            Conv(0, (3, 3), pads=(1, 1, 1, 1)),
            Conv(0, (3, 3), (2, 2), (0, 0, 1, 1)),
        ),
    ),
    Lesson(
        "small",
        (32, 8, 8),
        (Conv(32, (3, 3), pads=(1, 1, 1, 1)), Conv(20, (5, 5)), Conv(0, (5, 5))),
        others=True,
    ),
    Lesson("twelve", (20, 12, 12), (Conv(30, (5, 5)),)),
    Lesson("gray", (1, 28, 28), (Conv(20, (5, 5)), Conv(16, (10, 4), (2, 2), (4, 1, 5, 1)))),
    Lesson("keyword", (1, 10, 49), (Conv(64, (4, 10), (2, 2), (1, 4, 1, 5)),)),
    Lesson("rgb", (3, 32, 32), (Conv(16, (3, 3), pads=(1, 1, 1, 1)),)),
    Lesson("deep", (96, 3, 3), (Conv(64, (1, 1)), Conv(0, (3, 3), pads=(1, 1, 1, 1)))),
    Lesson("wide", (784,), (Fc(24, coded=True),)),
    Lesson("vector", (200,), (Fc(64), Fc(11))),
    Lesson("narrow", (28,), (Fc(40), Fc(6))),
    Lesson("sensor", (3, 1, 50), (Conv(12, (1, 5)), Conv(8, (1, 1)))),
    Lesson(
        "patch",
        (5, 9, 9),
        (
            Conv(7, (3, 3)),
            Conv(8, (3, 3), pads=(1, 1, 1, 1)),
            Conv(12, (1, 1)),
            Conv(0, (3, 3), pads=(1, 1, 1, 1)),
        ),
        others=True,
    ),
    Lesson("thumb", (1, 16, 12), (Conv(8, (3, 3), pads=(1, 1, 1, 1), coded=True),)),
    Lesson("tiny", (5,), (Fc(12), Fc(3))),
    Lesson("one", (1,), (Fc(12), Fc(21))),
    Lesson("short", (20,), (Fc(16), Fc(9))),
    Lesson("row", (72,), (Fc(36, coded=True), Fc(10))),
    # fewer pixels than a tile has
    Lesson("newest", (24, 1, 6), (Conv(16, (1, 6)), Conv(20, (1, 5))), only="dense"),
    Lesson("pixel", (40, 2, 2), (Conv(28, (1, 1)), Conv(12, (2, 2))), only="dense"),
    # few tiles a band: what is done once a band, as in a chain, is most of what is done
    Lesson("tall", (16, 34, 6), (Conv(12, (3, 3)), Conv(10, (5, 5)), Conv(14, (3, 3), (2, 2)))),
    Lesson("tall_odd", (6, 26, 5), (Conv(12, (3, 3)),)),
    Lesson("turned", (1, 1, 64), (Fc(8),), turned=True),
    Lesson("rest", (16, 16, 16), others=True),
    # rows of many columns, planes of few
    Lesson(
        "wide_rows",
        (4, 20, 48),
        (
            Conv(0, (3, 3), pads=(1, 1, 1, 1)),
            Conv(0, (3, 3), (2, 2), (0, 0, 1, 1)),
            Conv(6, (1, 1)),
            Conv(4, (3, 3), pads=(1, 1, 1, 1)),
        ),
        only="dense",
    ),
    Lesson(
        "planes",
        (48, 6, 6),
        (Conv(0, (3, 3), pads=(1, 1, 1, 1)), Conv(0, (3, 3), (2, 2), (0, 0, 1, 1))),
        only="dense",
    ),
    # filters along a line
    Lesson(
        "line",
        (40, 36, 1),
        (
            Conv(0, (10, 1)),
            Conv(0, (15, 1)),
            Conv(0, (3, 1), pads=(2, 0, 0, 0)),
            Conv(0, (7, 1), pads=(3, 0, 3, 0)),
        ),
    ),
    Lesson("line_short", (20, 1, 9), (Conv(0, (1, 5)), Conv(0, (1, 8)), Conv(0, (1, 9)))),
    # two values a row: few of the rarer one and many, windows and none
    Lesson(
        "levels",
        (10, 12, 12),
        (
            Conv(16, (1, 1)),
            Conv(4, (1, 1)),
            Conv(40, (1, 1)),
            Conv(8, (3, 3), pads=(1, 1, 1, 1)),
            Conv(24, (3, 3)),
            Conv(3, (5, 5)),
            Conv(20, (3, 3), (2, 2), (0, 0, 1, 1)),
            Conv(10, (3, 3), pads=(1, 1, 1, 1), residual=True),
        ),
        only="two_level",
    ),
    # inputs of a model beside which nothing counts
    Lesson("picture", (3, 24, 32), (Conv(2, (1, 1), (8, 8)),), only="dense"),
    Lesson("film", (4, 20, 20), (Conv(2, (1, 1), (10, 10)),), only="dense"),
    Lesson("long", (640,), (Fc(128), Fc(8)), only="dense"),
    Lesson("blocks", (128,), (Fc(32, kinds=("blocks",)), Fc(64, kinds=("blocks",)))),
    Lesson("softmax", (20,), others=True),
)

#: Kinds that differ in what decoders do with them.
_MANY = (
    "sparse", "thin", "sixty", "few", "ternary", "thin_ternary", "powers", "sixteen", "binary",
)  # fmt: skip

#: Layers whose weights are decoded, of sizes so far apart that tables, rows and codes have a price
#: each. A compiler writes a decoder into the only function that calls it: as networks have few of
#: them, each is in a library of its own.
DECODED = (
    Lesson("decoded_small", (72,), (Fc(36, kinds=_MANY),), apart=True),
    Lesson("decoded_middle", (240,), (Fc(64, kinds=(*_MANY, "int8")),), apart=True),
    Lesson(
        "decoded_image",
        (20, 9, 9),
        (
            Conv(24, (3, 3), kinds=_MANY[:6]),
            Conv(40, (5, 5), kinds=("sixty", "thin_ternary")),
            Conv(32, (1, 1), kinds=("sixty", "thin", "ternary", "thin_ternary")),
        ),
    ),
    # one tile, so that unpacking is what counts
    Lesson(
        "decoded_lists",
        (96, 4, 4),
        (
            Conv(128, (1, 1), kinds=("ternary", "thin_ternary")),
            Conv(20, (1, 1), kinds=("ternary", "thin_ternary")),
        ),
    ),
)

#: Multipliers of a sum as large as scales make them: smaller ones compile to other instructions.
_SUMS = (700 << 20, 500 << 20)

#: Kinds whose codebooks are of another width each; the last are here for those alone.
BOOKS = ("sixteen", "binary", "seven", "forty", "sixty")


#: Weights of a graph, bytes.
FLASH = 600_000


class _Builder:
    """Makes graphs of one lesson, each small enough for the flash of a small board."""

    def __init__(self, lesson: Lesson) -> None:
        self.rng = np.random.default_rng(len(lesson.name) + sum(lesson.shape))
        self.name, self.shape, self.turned = lesson.name, lesson.shape, lesson.turned
        self.done: list[tuple[QGraph, dict[str, str]]] = []
        self._begin()

    def _begin(self) -> None:
        tensors = {"x": QTensor("x", self.shape, 0.05, 0)}
        self.graph = QGraph(f"{self.name}_{len(self.done)}", [], tensors, "x", "x")
        self.graph.transposed = self.turned
        self.force: dict[str, str] = {}
        self.bytes = 0

    def finish(self) -> None:
        """Put the graph aside and begin another."""
        if self.graph.ops:
            self.graph.output = self.graph.ops[-1].output
            self.done.append((self.graph, self.force))
        self._begin()

    def put(self, make: Callable[[str, str], QOp], shape: Shape) -> QOp:
        name = f"l{len(self.graph.ops)}"
        op = make(name, f"{name}_out")
        self.graph.tensors[op.output] = QTensor(op.output, shape, 0.05, 0)
        self.graph.ops.append(op)
        self.graph.output = op.output
        return op

    def conv(self, c: Conv, weight: np.ndarray) -> QOp:
        ci, h, w = self.shape
        groups = 1 if c.co else ci
        out = (
            c.co or ci,
            (h + c.pads[0] + c.pads[2] - c.k[0]) // c.stride[0] + 1,
            (w + c.pads[1] + c.pads[3] - c.k[1]) // c.stride[1] + 1,
        )
        inputs = ("x", "x") if c.residual else ("x",)
        ratio = 30000 if c.residual else None
        return self.put(
            lambda name, y: QConv(
                name, inputs, y, weight, requant_of(weight), c.stride, c.pads, groups, ratio
            ),
            out,
        )

    def weight_shape(self, c: Conv | Fc) -> Shape:
        if isinstance(c, Fc):
            return (c.n, int(np.prod(self.shape)))
        return (c.co, self.shape[0], *c.k) if c.co else (self.shape[0], 1, *c.k)

    def layer(self, c: Conv | Fc, only: str | None = None) -> None:
        """`c` with every kind of weights in every way there is, or in one encoding."""
        seen: set[str] = set()
        for kind in c.kinds or (k for k in KINDS if k not in BLOCKS):
            weight = weights(self.rng, kind, self.weight_shape(c))

            def add(weight: np.ndarray = weight) -> QOp:
                if isinstance(c, Conv):
                    return self.conv(c, weight)
                return self.put(
                    lambda name, y: QDense(name, ("x",), y, weight, requant_of(weight)), (c.n,)
                )

            options = candidates(add(), self.graph, only=only, exact=False)
            options = [o for o in options if only in (None, o.encoding)]
            del self.graph.tensors[self.graph.ops.pop().output]
            for option in options:
                way = f"{option.encoding}/{option.kernel.name}"
                # what does not depend on the weights is counted once
                again = (
                    (option.encoding == "dense" and kind not in ("int8", "binary"))
                    or (option.encoding == "codebook" and kind not in BOOKS)
                    or (option.encoding != "codebook" and kind in BOOKS[2:])
                )  # fmt: skip
                coded = bool(option.decoder)
                if c.kinds:
                    lists = option.encoding == "sparse" and (isinstance(c, Conv) or kind in BLOCKS)
                    gaps = kind == "int8" and option.encoding != "huffman_dense"
                    if not (coded or lists) or gaps:  # of no zeros nobody stores gaps
                        continue
                elif again or (coded and (not c.coded or way in seen)):
                    continue
                seen.add(way)
                self.bytes += option.bytes
                if self.bytes > FLASH:
                    self.finish()
                    self.bytes = option.bytes
                self.force[add().name] = way
        if only in (None, "deal") and (c.coded or "sixty" in c.kinds):
            self.factored(c)

    def factored(self, c: Conv | Fc) -> None:
        """`c` with weights made of SmartDeal's factors, which are stored in their place."""
        shape = self.weight_shape(c)
        size = int(np.prod(shape[1:]))
        made = (shape[0], -(-size // 3), 3)
        coefficients = self.rng.choice([-1, 1], made) << self.rng.integers(0, 7, made)
        coefficients *= self.rng.random(made) < 0.6
        coefficients[self.rng.random(made[:2]) < 0.3] = 0
        basis = self.rng.integers(-127, 128, (shape[0], 3, 3)).astype(np.int8)
        dims = (1, 1, size) if isinstance(c, Fc) else (shape[1], shape[2], shape[3])
        strides = (dims[1] * dims[2], dims[2], 1)
        factors = Factors(coefficients.astype(np.int8), basis, dims, strides)
        weight = factors.weights().reshape(shape)
        op = (
            self.conv(c, weight) if isinstance(c, Conv)
            else self.put(
                lambda name, y: QDense(name, ("x",), y, weight, requant_of(weight)), (c.n,)
            )
        )  # fmt: skip
        assert isinstance(op, QConv | QDense)
        op.factors = factors
        self.force[op.name] = "deal"

    def rest(self) -> None:
        if len(self.shape) == 1:
            self.put(lambda name, y: QSoftmax(name, ("x",), y, 3000), self.shape)
            return
        c, h, w = self.shape
        one = Requant(np.ones(1, np.int16) * 700, np.zeros(1, np.int32), 0, 12)
        for mode, k, s, pads in (
            ("max", (2, 2), (2, 2), (0, 0, 0, 0)), ("max", (3, 3), (2, 2), (0, 0, 1, 1)),
            ("max", (1, 2), (1, 2), (0, 0, 0, 0)), ("max", (3, 1), (1, 1), (0, 0, 0, 0)),
            ("max", (1, 4), (2, 4), (0, 0, 0, 0)), ("avg", (2, 2), (2, 2), (0, 0, 0, 0)),
            ("avg", (h, h), (1, 1), (0, 0, 0, 0)),
        ):  # fmt: skip
            oh, ow = ((n + pads[i] + pads[i + 2] - k[i]) // s[i] + 1 for i, n in enumerate((h, w)))
            requant = one if mode == "avg" else None
            counts = (k[0] * k[1],) if mode == "avg" else ()
            self.put(
                lambda name, y, m=mode, k=k, s=s, pads=pads, r=requant, counts=counts: QPool(
                    name, ("x",), y, m, k, s, pads, r, counts
                ),
                (c, oh, ow),
            )
        self.put(lambda name, y: QAdd(name, ("x", "x"), y, _SUMS, 0, 14), self.shape)
        self.put(lambda name, y: QRescale(name, ("x",), y, one), self.shape)
        self.put(lambda name, y: QPad(name, ("x",), y, (1, 1, 1, 1)), (c, h + 2, w + 2))


#: Lessons of small layers, in which every kernel and decoder is counted as compiled for size, too.
SHORT = (
    "sensor", "patch", "thumb", "tiny", "one", "short", "row", "newest", "planes", "blocks",
    "line", "line_short", "levels",
)  # fmt: skip

#: Those whose lists are walked in a loop where kernels are written for both speed and size.
LOOPED = ("short", "row", "narrow")

#: Chains that are counted as compiled for size, too.
CHAINED_SHORT = ("inverted", "pooled")

#: How lessons are written and compiled (`Layer.weight`), and which ones; None: all there are.
TAUGHT: tuple[tuple[float, Collection[str] | None], ...] = (
    (WAYS[0], None),
    (WAYS[1], LOOPED),
    (WAYS[2], (*SHORT, *(lesson.name for lesson in DECODED))),
)


def taught(
    core: str, lessons: Collection[str] | None = None
) -> Iterator[tuple[QGraph, Plan, np.ndarray]]:
    """What the prices of `core` are learned from: (graph, plan, input int8 [1, size]); of `lessons`
    alone, if any are named."""
    for way, names in TAUGHT:
        mine = names if lessons is None else [n for n in lessons if names is None or n in names]
        if mine is None or mine:
            yield from prepared(core, mine, way)
        yield from chained(core, None if names is None else CHAINED_SHORT, lessons, way)


def chained(
    core: str, names: Collection[str] | None, lessons: Collection[str] | None, way: float
) -> Iterator[tuple[QGraph, Plan, np.ndarray]]:
    """The same of the lessons of benchmarks/chain_lessons.py, whose layers run as chains."""
    with patch.object(choose, "WAYS", (way,)):
        for lesson in chain_lessons.CHAINS:
            if names is not None and lesson.name not in names:
                continue
            for kind in lesson.kinds or chain_lessons.TAUGHT:
                name = f"{lesson.name}_{kind}"
                if lessons is None or lesson.name in lessons or name in lessons:
                    graph, force, chains, x = chain_lessons.graph(lesson, kind)
                    yield graph, make_plan(graph, force, "latency", core=core, chains=chains), x


def prepared(
    core: str, names: Collection[str] | None = None, way: float = WAYS[0]
) -> Iterator[tuple[QGraph, Plan, np.ndarray]]:
    """(graph, plan for `core`, input int8 [1, size]) of every lesson, or of those with `names`;
    `way`: of choose.WAYS, as layers are written and compiled. No layers run as a chain: each is
    counted alone."""
    with patch.object(choose, "WAYS", (way,)):
        for graph, force, x in graphs(None if names is None else tuple(names)):
            yield graph, make_plan(graph, force, "latency", core=core, chains=()), x


@cache
def graphs(
    names: tuple[str, ...] | None,
) -> list[tuple[QGraph, dict[str, str] | str | None, np.ndarray]]:
    """(graph, encodings as make_plan takes them, input int8 [1, size]) of every lesson, or of those
    with `names`; the same for all cores."""
    out: list[tuple[QGraph, dict[str, str] | str | None, np.ndarray]] = []
    for lesson in (*LESSONS, *DECODED):
        if names is not None and lesson.name not in names:
            continue
        b = _Builder(lesson)
        each = [e.name for e in all_encodings() if e.coded] if lesson.apart else [lesson.only]
        for only in each:
            for c in lesson.layers:
                b.layer(c, only)
            if lesson.apart:
                b.finish()
        if lesson.others:
            b.rest()
        size = int(np.prod(lesson.shape))
        x = b.rng.integers(-127, 128, (1, size)).astype(np.int8)
        x[0, b.rng.random(size) < 0.5] = -128
        b.finish()
        for graph, force in b.done:
            graph.zero_share["x"] = (x[0] == -128).astype(float)
            out.append((graph, force, x))
    if names is None:
        out += ((graph, None, x) for graph, x in bit_lessons.lessons())
        out += ((graph, "dense", x) for graph, x in operator_lessons.operators())
    return out
