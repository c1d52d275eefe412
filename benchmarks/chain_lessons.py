"""Chains that the cost model learns from: what layers cost that make some rows at a time.

A graph holds many chains, all of which read the same tensor: every way to execute the layers of a
lesson with weights of a kind, one way a chain.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from benchmarks.lesson_weights import requant_of, weights

from secateur.codegen.kernels import Layer
from secateur.codegen.plan import Candidate, candidates
from secateur.lowering.operators.table import QTable
from secateur.lowering.qgraph import (
    QAdd,
    QConv,
    QGraph,
    QOp,
    QPad,
    QPool,
    QRescale,
    QTensor,
    Requant,
)

Shape = tuple[int, int, int]
Pads = tuple[int, int, int, int]

#: (first operator, last operator, rows of its output a step, most rows of any of them a call)
Wanted = tuple[str, str, int, int]

AROUND: Pads = (1, 1, 1, 1)


@dataclass(frozen=True)
class Link:
    """A convolution (co 0: depthwise), a pool or another layer without weights of what the layer
    before has made."""

    co: int
    k: int
    stride: int = 1
    pads: Pads = (0, 0, 0, 0)
    pool: str = ""  #: "max" or "avg"
    bare: str = ""  #: "add" (what the chain reads), "pad", "rescale" or "table"
    residual: bool = False  #: what the chain reads is added


@dataclass(frozen=True)
class ChainLesson:
    """A chain, with numbers of rows at which it is taught: (of the last layer a step, most a
    call)."""

    name: str
    shape: Shape
    links: tuple[Link, ...]
    rows: tuple[tuple[int, int], ...]
    kinds: tuple[str, ...] = ()  #: of weights (TAUGHT); (): all


_BARE = (
    Link(0, 3, 1, AROUND), Link(0, 1, bare="add"), Link(0, 1, bare="rescale"),
    Link(0, 1, bare="table"), Link(0, 1, 1, AROUND, bare="pad"), Link(0, 3, 2),
)  # fmt: skip

CHAINS = (
    ChainLesson(
        "separable",
        (8, 24, 24),
        (Link(0, 3, 1, AROUND), Link(16, 1), Link(0, 3, 2, (0, 0, 1, 1)), Link(24, 1)),
        ((1, 2), (2, 2), (4, 4)),
    ),
    ChainLesson(
        "inverted",
        (8, 16, 16),
        (Link(24, 1), Link(0, 3, 1, AROUND), Link(8, 1, residual=True)),
        ((1, 1), (2, 4), (4, 4)),
    ),
    # rows that are copied by a loop
    ChainLesson(
        "broad",
        (3, 24, 80),
        (Link(8, 3, 2, (0, 0, 1, 1)), Link(0, 3, 1, AROUND), Link(12, 1), Link(0, 3, 1, AROUND)),
        ((1, 1), (2, 2)),
    ),
    ChainLesson(
        "pooled",
        (1, 28, 20),
        (Link(8, 3, 1, AROUND), Link(0, 2, 2, pool="max"), Link(12, 5), Link(0, 2, 2, pool="max")),
        ((1, 1), (1, 2)),
    ),
    ChainLesson(
        "overlapping",
        (4, 18, 18),
        (
            Link(8, 3, 1, AROUND), Link(0, 3, 2, (0, 0, 1, 1), "max"), Link(8, 3, 1, AROUND),
            Link(0, 3, 1, (1, 1, 1, 1), "avg"),
        ),
        ((1, 1), (3, 3)),
    ),
    ChainLesson("bare_wide", (3, 16, 40), _BARE, ((1, 1), (2, 4)), ("int8",)),
    ChainLesson("bare_deep", (24, 16, 6), _BARE, ((1, 2), (4, 4)), ("int8",)),
)  # fmt: skip

#: Kinds of weights (lessons.KINDS), and the encodings that each teaches.
TAUGHT = {
    "int8": ("dense",),
    "sixteen": ("codebook",),
    "sparse": ("sparse",),
    "ternary": ("ternary",),
    "powers": ("shift", "two_level"),
}


@dataclass
class _Builder:
    """A graph of chains of one lesson."""

    lesson: ChainLesson
    kind: str
    rng: np.random.Generator
    force: dict[str, str] = field(default_factory=dict)
    chains: list[Wanted] = field(default_factory=list)

    def __post_init__(self) -> None:
        x = QTensor("x", self.lesson.shape, 0.05, 0)
        name = f"{self.lesson.name}_{self.kind}"
        self.graph = QGraph(name, [], {"x": x}, "x", "x")

    def put(self, link: Link, before: str, weight: np.ndarray | None) -> QOp:
        """The operator, put into the graph."""
        c, h, w = self.graph.tensors[before].shape
        (top, left, bottom, right), s = link.pads, link.stride
        oh, ow = ((n + p - link.k) // s + 1 for n, p in ((h, top + bottom), (w, left + right)))
        name = f"l{len(self.graph.ops)}"
        y, two = f"{name}_out", (s, s)
        op: QOp
        if link.bare == "add":
            op = QAdd(name, (before, "x"), y, (1634540071, 942448627), 0, 14)
        elif link.bare == "pad":
            op = QPad(name, (before,), y, link.pads)
        elif link.bare == "rescale":
            line = Requant(np.full(1, 700, np.int16), np.zeros(1, np.int32), 0, 12)
            op = QRescale(name, (before,), y, line)
        elif link.bare == "table":
            op = QTable(name, (before,), y, self.rng.integers(0, 256, 256).astype(np.uint8))
        elif weight is None:
            sides = (link.k - any(link.pads), link.k)
            counts = tuple(sorted({a * b for a in sides for b in sides}))
            counts = counts if link.pool == "avg" else ()
            n = len(counts)
            requant = Requant(np.full(n, 700, np.int16), np.zeros(n, np.int32), 0, 12)
            size = (link.k, link.k)
            op = QPool(name, (before,), y, link.pool, size, two, link.pads,
                       requant if counts else None, counts)  # fmt: skip
        else:
            inputs = (before, "x") if link.residual else (before,)
            groups = 1 if link.co else c
            op = QConv(name, inputs, y, weight, requant_of(weight), two, link.pads, groups,
                       30000 if link.residual else None)  # fmt: skip
        self.graph.tensors[y] = QTensor(y, (link.co or c, oh, ow), 0.05, 0)
        self.graph.ops.append(op)
        self.graph.output = y
        return op

    def weight(self, link: Link, before: str) -> np.ndarray | None:
        """Of a convolution."""
        if link.pool or link.bare:
            return None
        c = self.graph.tensors[before].shape[0]
        shape = (link.co, c, link.k, link.k) if link.co else (c, 1, link.k, link.k)
        return weights(self.rng, self.kind, shape)

    def chain(self, way: int, rows: tuple[int, int]) -> bool:
        """A chain whose layers are executed in their `way`-th way, or in the last one there is;
        whether any of them has so many."""
        before, more = "x", False
        names = []
        for link in self.lesson.links:
            weight = self.weight(link, before)
            op = self.put(link, before, weight)
            names.append(op.name)
            if weight is not None:
                options = self._options(op)
                more = more or len(options) > way
                c = options[min(way, len(options) - 1)]
                self.force[op.name] = f"{c.encoding}/{c.kernel.name}"
            before = op.output
        self.chains.append((names[0], names[-1], *rows))
        return more

    def _options(self, op: QOp) -> list[Candidate]:
        found = candidates(op, self.graph, exact=False)
        chained = [c for c in found if c.kernel.chains(Layer(op, self.graph, c.layer.encoded))]
        mine = [c for c in chained if c.encoding in TAUGHT[self.kind]]
        return mine or [c for c in chained if c.encoding == "dense"]


def graph(
    lesson: ChainLesson, kind: str
) -> tuple[QGraph, dict[str, str], list[Wanted], np.ndarray]:
    """Graph, ways as make_plan takes them, chains, input int8 [1, size] with weights of a kind."""
    rng = np.random.default_rng(len(kind) + sum(lesson.shape))
    b = _Builder(lesson, kind, rng)
    for rows in lesson.rows:
        way = 0
        while b.chain(way, rows):
            way += 1
        _drop(b)  # the last one has no way in it that was not there before
    x = rng.integers(-127, 128, (1, int(np.prod(lesson.shape)))).astype(np.int8)
    x[0, rng.random(x.size) < 0.5] = -128
    return b.graph, b.force, b.chains, x


def _drop(b: _Builder) -> None:
    """Take the chain that was put last out of the graph again."""
    for _ in b.lesson.links:
        op = b.graph.ops.pop()
        del b.graph.tensors[op.output]
        b.force.pop(op.name, None)
    b.chains.pop()
    b.graph.output = b.graph.ops[-1].output
