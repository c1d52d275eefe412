"""Integer graphs made directly, shape by shape, where float graphs would not reach the corners."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from secateur.lowering.factored import Factors
from secateur.lowering.operators.pool import pool_counts
from secateur.lowering.operators.table import QTable
from secateur.lowering.qgraph import (
    QAdd,
    QConv,
    QDense,
    QGraph,
    QOp,
    QPad,
    QPool,
    QRescale,
    QTensor,
    Requant,
)
from secateur.lowering.requant import DoesNotFitError, add_constants, requantize

Pads = tuple[int, int, int, int]
KINDS = ("ternary", "present", "two", "powers", "factored", "sparse", "levels", "int8", "extreme")


def weights(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """int8 weights of a kind; "extreme" are -127 and 127 only."""
    w: np.ndarray
    if kind == "ternary":
        w = rng.integers(-1, 2, shape)
    elif kind == "present":
        w = rng.random(shape) < rng.uniform(0, 0.4)
    elif kind == "two":
        ends = rng.integers(-127, 128, (2, shape[0], *(1 for _ in shape[1:])))
        ends = np.sign(ends) if rng.random() < 0.4 else ends
        w = np.where(rng.random(shape) < rng.choice([0.1, 0.5]), ends[0], ends[1])
    elif kind == "powers":
        w = rng.choice([-1, 1], shape) << rng.integers(0, int(rng.integers(1, 8)), shape)
        w *= rng.random(shape) < rng.choice([0.1, 0.5, 1.0])
    elif kind == "sparse":
        w = rng.integers(-127, 128, shape) * (rng.random(shape) < rng.uniform(0, 0.4))
    elif kind == "levels":
        levels = rng.integers(-127, 128, int(rng.integers(2, 15)))
        w = rng.choice(levels, shape) * (rng.random(shape) < 0.7)
    elif kind == "extreme":
        w = rng.choice([-127, 127], shape)
    else:
        w = rng.integers(-127, 128, shape)
    return w.astype(np.int8)


def factors(rng: np.random.Generator, rows: int, image: tuple[int, ...], dense: bool) -> Factors:
    """Random factors of the weights of a convolution's kernels or a Dense layer's input `image`."""
    cols, side = int(np.prod(image)), int(rng.integers(2, 9))
    shape = (rows, -(-cols // side), side)
    coefficients = rng.choice([-1, 1], shape) << rng.integers(int(rng.integers(7)), 7, shape)
    coefficients *= rng.random(shape) < rng.choice([0.3, 1.0])
    coefficients[rng.random(shape[:2]) < rng.choice([0.0, 0.5])] = 0
    basis = rng.integers(-127, 128, (rows, side, side))
    c, h, w = image if len(image) == 3 else (1, 1, cols)
    dims, strides = ((h, w, c), (w, 1, h * w)) if dense else ((c, h, w), (h * w, w, 1))
    return Factors(coefficients.astype(np.int8), basis.astype(np.int8), dims, strides)


def bounds(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Least and greatest partial accumulator of every row, codes 0..255."""
    w = weight.reshape(weight.shape[0], -1).astype(np.int64)
    return 255 * np.minimum(w, 0).sum(axis=1), 255 * np.maximum(w, 0).sum(axis=1)


def constants(
    rng: np.random.Generator, weight: np.ndarray, zero: int, residual: tuple[float, int] | None
) -> tuple[Requant, int | None]:
    """Requantization that spreads a layer's typical sums over more than all codes."""
    w = weight.reshape(weight.shape[0], -1).astype(np.int64)
    low, high = bounds(weight)
    spread = 75 * np.sqrt((w.astype(float) ** 2).sum(axis=1)) + 1
    spread = np.maximum(spread, spread.max() / 16)  # rows without weights
    m = rng.uniform(30, 120) / spread * rng.uniform(0.7, 1.4, len(w))
    if rng.random() < 0.3:
        m[:] = m.mean()
    m *= rng.choice([1, 1, 1, -1], len(w))
    typical = 128 * w.sum(axis=1)
    target = rng.uniform(60, 190) - m * (typical - zero * w.sum(axis=1))
    while True:
        try:
            return requantize(m, target, zero * w.sum(axis=1), low, high, residual)
        except DoesNotFitError:
            m, target = m / 2, target / 2


class Chain:
    """Builds a graph operator by operator; `top` is the last tensor."""

    def __init__(self, name: str, shape: tuple[int, ...], seed: int = 0, zero: int = 128) -> None:
        self.rng = np.random.default_rng(seed)
        self.graph = QGraph(name, [], {}, "x", "x")
        self.top = self._tensor("x", shape, zero)

    def _tensor(self, name: str, shape: tuple[int, ...], zero: int) -> QTensor:
        t = QTensor(name, shape, 0.05, zero)
        self.graph.tensors[name] = t
        return t

    def _put(self, op: QOp, shape: tuple[int, ...], zero: int) -> Chain:
        self.graph.ops.append(op)
        self.top = self._tensor(op.output, shape, zero)
        self.graph.output = op.output
        return self

    @property
    def _next(self) -> str:
        return f"t{len(self.graph.ops)}"

    def conv(
        self,
        co: int,
        k: tuple[int, int],
        kind: str,
        stride: tuple[int, int] = (1, 1),
        pads: Pads = (0, 0, 0, 0),
        residual: str | None = None,
        depthwise: bool = False,
        zero: int = 0,
        weight: np.ndarray | None = None,
        requant: Requant | None = None,
    ) -> Chain:
        """A convolution; `residual` names a tensor of the output's shape."""
        c, h, w = self.top.shape
        co, groups = (c, c) if depthwise else (co, 1)
        shape = (co, 1 if depthwise else c, *k)
        made = None
        if kind == "factored" and not depthwise:
            made = factors(self.rng, co, shape[1:], dense=False)
            weight = made.weights().reshape(shape)
        if weight is None:
            weight = weights(self.rng, kind, shape)
        other = self.graph.tensors[residual] if residual else None
        ratio = (self.rng.uniform(0.2, 1.5), other.zero_point) if other else None
        r: int | None = None
        if requant is None:
            requant, r = constants(self.rng, weight, self.top.zero_point, ratio)
        name = f"conv{len(self.graph.ops)}"
        op = QConv(
            name, (self.top.name, residual) if residual else (self.top.name,), self._next,
            weight, requant, stride, pads, groups, r, factors=made,
        )  # fmt: skip
        oh = (h + pads[0] + pads[2] - k[0]) // stride[0] + 1
        ow = (w + pads[1] + pads[3] - k[1]) // stride[1] + 1
        return self._put(op, (co, oh, ow), zero)

    def dense(self, n: int, kind: str, zero: int = 128, weight: np.ndarray | None = None) -> Chain:
        """A fully connected layer."""
        made = None
        if kind == "factored":
            made = factors(self.rng, n, self.top.shape, dense=True)
            weight = made.weights()
        if weight is None:
            weight = weights(self.rng, kind, (n, self.top.size))
        requant, _ = constants(self.rng, weight, self.top.zero_point, None)
        name = f"dense{len(self.graph.ops)}"
        op = QDense(name, (self.top.name,), self._next, weight, requant, factors=made)
        return self._put(op, (len(weight),), zero)

    def max_pool(self, window: tuple[int, int], stride: tuple[int, int], pads: Pads) -> Chain:
        """Max pooling."""
        c, h, w = self.top.shape
        oh = (h + pads[0] + pads[2] - window[0]) // stride[0] + 1
        ow = (w + pads[1] + pads[3] - window[1]) // stride[1] + 1
        name = f"pool{len(self.graph.ops)}"
        op = QPool(name, (self.top.name,), self._next, "max", window, stride, pads)
        return self._put(op, (c, oh, ow), self.top.zero_point)

    def mean_pool(self, window: tuple[int, int], stride: tuple[int, int], pads: Pads) -> Chain:
        """Average pooling."""
        c, h, w = self.top.shape
        oh = (h + pads[0] + pads[2] - window[0]) // stride[0] + 1
        ow = (w + pads[1] + pads[3] - window[1]) // stride[1] + 1
        counts = pool_counts((h, w), window, stride, pads, (oh, ow))
        n, zero = np.array(counts, np.float64), self.top.zero_point
        requant, _ = requantize(1 / n, np.full(len(n), float(zero)), zero * n, 0 * n, 255 * n)
        op = QPool(
            f"pool{len(self.graph.ops)}", (self.top.name,), self._next, "avg", window, stride, pads,
            requant, counts,
        )  # fmt: skip
        return self._put(op, (c, oh, ow), zero)

    def add(self, other: str, zero: int = 0) -> Chain:
        """The sum of the last tensor and another of its shape, by an operator of its own."""
        zeros = (self.top.zero_point, self.graph.tensors[other].zero_point)
        ratios = self.rng.uniform(0.3, 1.1, 2)
        multipliers, offset, shift = add_constants((ratios[0], ratios[1]), zeros, zero)
        op = QAdd(
            f"add{len(self.graph.ops)}", (self.top.name, other), self._next, multipliers, offset,
            shift,
        )  # fmt: skip
        return self._put(op, self.top.shape, zero)

    def pad(self, pads: Pads) -> Chain:
        """A border of the zero point."""
        c, h, w = self.top.shape
        op = QPad(f"pad{len(self.graph.ops)}", (self.top.name,), self._next, pads)
        shape = (c, h + pads[0] + pads[2], w + pads[1] + pads[3])
        return self._put(op, shape, self.top.zero_point)

    def rescale(self, zero: int = 0) -> Chain:
        """Another scale."""
        m, z = self.rng.uniform(0.5, 1.4, 1), np.full(1, float(self.top.zero_point))
        requant, _ = requantize(m, np.full(1, float(zero)), z, 0 * z, 255 + 0 * z)
        op = QRescale(f"rescale{len(self.graph.ops)}", (self.top.name,), self._next, requant)
        return self._put(op, self.top.shape, zero)

    def look_up(self, zero: int = 0) -> Chain:
        """A function of single codes."""
        codes = self.rng.integers(0, 256, 256).astype(np.uint8)
        op = QTable(f"table{len(self.graph.ops)}", (self.top.name,), self._next, codes)
        return self._put(op, self.top.shape, zero)


@st.composite
def layer_chains(draw: st.DrawFn) -> QGraph:
    """One to three convolutions of any shape, odd sizes preferred, and perhaps a Dense layer."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    sides = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 11, 13, 16, 17, 20])
    channels = st.sampled_from([1, 2, 3, 4, 5, 8, 13, 16, 19, 32, 33])
    zeros = st.sampled_from([0, 0, 1, 128, 255])
    c = Chain(
        "chain", (draw(channels), draw(sides), draw(sides)), number(0, 2**32 - 1), draw(zeros)
    )
    for _ in range(number(1, 3)):
        _, h, w = c.top.shape
        kind = draw(st.sampled_from(KINDS))
        what = draw(st.sampled_from(["pointwise", "window", "window", "same", "depthwise"]))
        zero = draw(zeros)
        if what == "pointwise":
            c.conv(draw(channels), (1, 1), kind, zero=zero)
        elif what == "same":  # shape kept, added to its own input or to the layer's before it
            k = draw(st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 1)]))
            pads = (k[0] // 2, k[1] // 2, k[0] // 2, k[1] // 2)
            before = c.top.name
            if draw(st.booleans()):
                c.conv(c.top.shape[0], k, kind, pads=pads, zero=zero)
            c.conv(c.top.shape[0], k, kind, pads=pads, zero=zero, residual=before)
        else:
            k = (number(1, min(5, h)), number(1, min(5, w)))
            most = 1 if draw(st.booleans()) else 2
            p = [number(0, most * (x // 2)) for x in (*k, *k)]
            c.conv(
                draw(channels), k, kind, (number(1, 3), number(1, 3)),
                (p[0], p[1], p[2], p[3]), zero=zero, depthwise=what == "depthwise",
            )  # fmt: skip
    if draw(st.booleans()):
        c.dense(number(1, 20), draw(st.sampled_from(KINDS)))
    return c.graph


@st.composite
def stacks(draw: st.DrawFn) -> QGraph:
    """Two to five convolutions and poolings: windows, strides, paddings and sides of all sorts;
    between them sums, borders and functions of single codes."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    sides, channels = st.sampled_from([6, 7, 8, 9, 12, 13, 16, 17, 20]), st.integers(1, 6)
    zeros = st.sampled_from([0, 0, 1, 128, 255])
    c = Chain(
        "stack", (draw(channels), draw(sides), draw(sides)), number(0, 2**32 - 1), draw(zeros)
    )
    kind = draw(st.sampled_from(["ternary", "sparse", "int8", "levels", "powers", "two"]))
    filters = draw(st.sampled_from(["int8", "ternary"]))  #: of depthwise layers
    for _ in range(number(2, 4)):
        _, h, w = c.top.shape
        if min(h, w) < 2:
            break
        what = draw(
            st.sampled_from(["pointwise", "window", "block", "sum", "depthwise", "pool", "pad"])
        )
        zero = draw(zeros)
        k = (number(1, min(5, h)), number(1, min(4, w)))
        stride = (number(1, 3), number(1, 2))
        p = [number(0, n // 2) for n in (*k, *k)] if draw(st.booleans()) else [0] * 4
        pads = (p[0], p[1], p[2], p[3])
        if what == "pointwise":
            c.conv(draw(channels), (1, 1), kind, zero=zero)
        elif what == "block":
            before, same = c.top, (1, 1, 1, 1)
            c.conv(draw(channels), (3, 3), kind, pads=same, zero=zero)
            c.conv(before.shape[0], (3, 3), kind, pads=same, zero=zero, residual=before.name)
        elif what == "sum":
            before = c.top
            c.conv(0, (3, 3), filters, pads=(1, 1, 1, 1), zero=zero, depthwise=True)
            c.add(before.name, draw(zeros))
        elif what == "pool":
            (c.max_pool if draw(st.booleans()) else c.mean_pool)(k, stride, pads)
        elif what == "pad":
            c.pad((number(0, 3), number(0, 2), number(0, 3), number(0, 2)))
            (c.look_up if draw(st.booleans()) else c.rescale)(zero)
        else:
            c.conv(
                draw(channels), k, filters if what == "depthwise" else kind, stride, pads,
                zero=zero, depthwise=what == "depthwise",
            )  # fmt: skip
    return c.graph


def codes(graph: QGraph, n: int, seed: int = 0) -> np.ndarray:
    """int8 inputs [n, ...]: all least, all greatest, then random ones."""
    shape, top = graph.interface_shape(graph.input), graph.tensors[graph.input].top - 128
    q = np.random.default_rng(seed).integers(-128, top + 1, (n, *shape)).astype(np.int8)
    q[0] = -128
    q[1:2] = top
    return q
