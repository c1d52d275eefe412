"""16-bit activations: docs/integer-spec.md. Layers with weights are lowered by their own rules."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.frontend.ops import OPS
from secateur.lowering import wide
from secateur.lowering.lowerer import Lowering, rows_along, table_of
from secateur.lowering.operators.pool import pool_counts
from secateur.lowering.operators.reduce import QReduce, extremes_or_sum
from secateur.lowering.operators.table import QTable, clamped
from secateur.lowering.qgraph import QGraph, QOp, QPool, QRescale, QTensor
from secateur.lowering.registry import executes, lowers_wide
from secateur.lowering.requant import DoesNotFitError
from secateur.lowering.strided import Loops, broadcast_strides, over, walk


@dataclass
class QWideArithmetic(QOp):
    """y = clamp((v + offset) >> shift, low, high) in int64; da = a - z_a, db = b - z_b:

    add: v = da * M[0] + db * M[1]; maximum, minimum: the larger or smaller of those two; mul:
    v = da * db * M[0]. loops: over the output as stored, steps in a and b.
    """

    function: str
    multipliers: tuple[int, int]  #: int32
    offset: int  #: int64
    shift: int
    low: int
    high: int
    loops: Loops
    kind: ClassVar[str] = "wide_arithmetic"


@dataclass
class QInterpolate(QOp):
    """A function of 16-bit codes by straight lines; docs/integer-spec.md.

    at = q + 32768, i = at >> fraction, r = at mod 2^fraction;
    y = clamp((t[i] * 2^fraction + (t[i + 1] - t[i]) * r + half) >> (fraction + extra), low, high).
    """

    table: np.ndarray  #: int16 or int32 [2^(16 - fraction) + 1]
    fraction: int
    extra: int
    low: int
    high: int
    kind: ClassVar[str] = "interpolate"
    turns: ClassVar[bool] = True


@dataclass
class QWideSoftmax(QOp):
    """A softmax over each row of `length` elements `stride` apart; see rows_along.

    d = max - q; t = (d * beta) >> 16 in uint64, n = t >> 16, x = t mod 2^16; e = 2^-x by straight
    lines between EXP2, >> n, rounded; y = min(one - 1, (e * one + S / 2) / S), S = sum(e).
    """

    beta: int  #: powers of two a code is worth, in units of 2^-32
    one: int  #: 1 / scale of the output
    length: int
    stride: int
    step: int
    kind: ClassVar[str] = "wide_softmax"


#: 2^-(i / 128) * 2^16 - 2^15 for i = 0..128: uint16.
EXP2 = np.rint(65536 * 2.0 ** (-np.arange(129) / 128) - 32768).astype(np.uint16)


@executes(QWideArithmetic)
def _arithmetic(qgraph: QGraph, op: QWideArithmetic, inputs: list[np.ndarray]) -> np.ndarray:
    t = qgraph.tensors
    a, b = (
        u.reshape(len(u), -1)[:, walk(op.loops, k)].astype(np.int64) - t[op.inputs[k]].zero_point
        for k, u in enumerate(inputs)
    )
    m = op.multipliers
    if op.function == "mul":
        v = a * b * m[0]
    elif op.function == "add":
        v = a * m[0] + b * m[1]
    else:
        v = (np.maximum if op.function == "maximum" else np.minimum)(a * m[0], b * m[1])
    return np.clip((v + op.offset) >> op.shift, op.low, op.high).astype(t[op.output].dtype)


@executes(QInterpolate)
def _interpolate(qgraph: QGraph, op: QInterpolate, inputs: list[np.ndarray]) -> np.ndarray:
    bits = op.fraction + op.extra
    v = (wide.lines(op.table, op.fraction, inputs[0]) + (1 << (bits - 1))) >> bits
    return np.clip(v, op.low, op.high).astype(qgraph.tensors[op.output].dtype)


@executes(QWideSoftmax)
def _softmax_codes(qgraph: QGraph, op: QWideSoftmax, inputs: list[np.ndarray]) -> np.ndarray:
    q = inputs[0].reshape(len(inputs[0]), -1, op.length, op.stride).astype(np.int64)
    t = ((q.max(axis=2, keepdims=True) - q) * op.beta) >> 16
    n, x = t >> 16, t & 65535
    i, r = x >> 9, x & 511
    table = EXP2.astype(np.int64) + 32768
    p = table[i] - (((table[i] - table[i + 1]) * r + 256) >> 9)
    n = np.minimum(n, 20)
    e = (p + ((1 << n) >> 1)) >> n
    s = e.sum(axis=2, keepdims=True)
    y = np.minimum((e * op.one + s // 2) // s, op.one - 1)
    return y.astype(qgraph.tensors[op.output].dtype)


def _line(
    lo: Lowering,
    node: Node,
    slope: float,
    shift: float,
    i: int = 0,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> None:
    """Lower `node` as slope * x + shift of operand i, between `limits` and its ReLU."""
    x = lo.source(node, i)
    y = lo.elementwise(node, lo.new(node), i)
    one = np.ones(1)
    low, high = wide.ends(y, node.attrs.get("clamp"))
    if y.wide:
        low = max(low, int(np.rint(max(limits[0] / y.scale, -32768.0))))
        high = min(high, int(np.rint(min(limits[1] / y.scale, 32767.0))))
    elif limits[0] > -np.inf or limits[1] < np.inf:
        low, high = (
            int(np.clip(np.rint(v / y.scale) + y.zero_point, 0, 255)) for v in limits
        )  # fmt: skip
    requant = lo.wide_requant(
        node, y, slope * x.scale / y.scale * one, y.zero_point + shift / y.scale * one,
        x.zero_point * one, np.array([max(x.top, -x.bottom)]), (low, high),
    )  # fmt: skip
    lo.emit(QRescale(node.name, (x.name,), y.name, requant))


@lowers_wide("relu")
def _relu(lo: Lowering, node: Node) -> None:
    cap = node.attr("max_value")
    _line(lo, node, 1.0, 0.0, limits=(0.0, np.inf if cap is None else float(cap)))


@lowers_wide("fake_quant")
def _fake_quant(lo: Lowering, node: Node) -> None:
    _line(lo, node, 1.0, 0.0)


@lowers_wide("activation")
def _activation(lo: Lowering, node: Node) -> None:
    _function(lo, node, lambda v: clamped(node, OPS[node.op].run(node, [v.astype(np.float32)])))


def _function(lo: Lowering, node: Node, f: Callable[[np.ndarray], np.ndarray], i: int = 0) -> None:
    x = lo.source(node, i)
    y = lo.new(node)
    if x.wide and (line := _clamped_line(f, x, y)) is not None:
        _line(lo, node, *line[:2], i, line[2:])
        return
    y = lo.elementwise(node, y, i)
    if not x.wide:  # 256 codes in: exact
        lo.emit(QTable(node.name, (x.name,), y.name, table_of(f, x, y)))
        return
    real = np.arange(-32768, 32769) * x.scale
    with np.errstate(all="ignore"):
        exact = np.asarray(f(real), np.float64) / y.scale + y.zero_point
    low, high = wide.ends(y, node.attrs.get("clamp"))
    made = wide.interpolated(exact, y, (low, high))
    lo.emit(QInterpolate(node.name, (x.name,), y.name, *made, low, high))


def _clamped_line(
    f: Callable[[np.ndarray], np.ndarray], x: QTensor, y: QTensor
) -> tuple[float, float, float, float] | None:
    """(slope, shift, least, most) of a function that is a line between two bounds, to 1/4 code.

    Its corners lie anywhere, where lines between the entries of a table would cut them off.
    """
    real = np.arange(-32768, 32768) * x.scale
    with np.errstate(all="ignore"):
        v = np.asarray(f(real), np.float64)
    if not np.isfinite(v).all():
        return None
    least, most = float(v.min()), float(v.max())
    inside = np.flatnonzero((v > least) & (v < most))
    if inside.size < 2:
        return None
    a, b = inside[0], inside[-1]
    slope = float((v[b] - v[a]) / (real[b] - real[a]))
    shift = float(v[a] - slope * real[a])
    lines = np.clip(slope * real + shift, least, most)
    return (slope, shift, least, most) if np.abs(lines - v).max() <= y.scale / 4 else None


@lowers_wide("softmax")
def _softmax(lo: Lowering, node: Node) -> None:
    x = lo.settle(node.inputs[0])
    rows = rows_along(node.shape, node.attrs.get("axis", -1))
    if rows[0] > 32767:
        raise ModelError(f"{node.title} has rows of {rows[0]} elements; at most 32767 fit its sum")
    is_wide = node.output in lo.wide
    t = QTensor(node.output, x.shape, 1 / 256, 0)
    if is_wide:
        t = replace(t, scale=1 / 32768, dtype="int16")
    lo.declare(node, t)
    beta = min(max(round(x.scale * np.log2(np.e) * 2.0**32), 1), 2**39)
    lo.emit(QWideSoftmax(node.name, (x.name,), t.name, beta, 32768 if is_wide else 256, *rows))


@lowers_wide("avg_pool")
def _avg_pool(lo: Lowering, node: Node) -> None:
    x, a = lo.image(node), node.attrs
    y = lo.new(node)
    size = (a["window"], a["strides"], a["pads"])
    counts = pool_counts(x.shape[1:], *size, y.shape[1:])
    n = np.array(counts, np.float64)
    requant = lo.wide_requant(
        node, y, x.scale / y.scale / n, np.full(len(n), float(y.zero_point)),
        np.rint(x.zero_point * n).astype(np.int64), max(x.top, -x.bottom) * n,
    )  # fmt: skip
    lo.emit(QPool(node.name, (x.name,), y.name, "avg", *size, requant, counts))


@lowers_wide("reduce")
def _reduce(lo: Lowering, node: Node) -> None:
    reduced = extremes_or_sum(lo, node)
    if reduced is None:
        return
    x, outer, inner, n = reduced
    function = node.attrs["function"]
    y, one = lo.new(node), np.ones(1)
    share = n if function == "mean" else 1
    requant = lo.wide_requant(
        node, y, one * x.scale / y.scale / share, one * y.zero_point,
        np.array([x.zero_point * n]), one * max(x.top, -x.bottom) * n,
    )  # fmt: skip
    if max(x.top, -x.bottom) * n >= 2**31:
        raise ModelError(f"{node.title} sums {n} elements; at most 65535 fit its 32-bit sum")
    lo.emit(QReduce(node.name, (x.name,), y.name, "sum", outer, inner, requant))


@lowers_wide("add", "sub", "mul", "maximum", "minimum", "div")
def _two(lo: Lowering, node: Node) -> None:
    made = [lo.graph.node(t) for t in node.inputs]
    for i, n in enumerate(made):
        other = made[1 - i]
        alone = n.op == "constant" and n.params["value"].size == 1 and other.op != "constant"
        if alone and other.shape == node.shape:
            _with_number(lo, node, float(n.params["value"].reshape(())), 1 - i)
            return
    function, sign, operands = node.op, 1, node.inputs
    if node.op == "div":
        inverse = f"{node.name}_inverse"
        value = 1 / made[1].params["value"].astype(np.float64)
        lo.constant(inverse, value, wide=node.output in lo.wide)
        function, operands = "mul", (node.inputs[0], inverse)
    if node.op == "sub":
        function, sign = "add", -1
    a, b = (lo.settle(t) for t in operands)
    steps = [broadcast_strides(lo.shape(t), node.shape) for t in operands]
    loops = over(range(len(node.shape)), node.shape, steps)
    y = lo.new(node)
    most = [float(max(t.top, -t.bottom)) for t in (a, b)]
    ratios = (a.scale / y.scale, sign * b.scale / y.scale)
    if function == "mul":
        ratios = (a.scale * b.scale / y.scale, 0.0)
        most = [most[0] * most[1], 0.0]
    try:
        shift = wide.shift_for(ratios, (most[0], most[1]), y.zero_point + 1)
    except DoesNotFitError as e:
        raise ModelError(
            f"{node.title} has operands of too different ranges; check the calibration data"
        ) from e
    m0, m1 = (round(r * 2.0**shift) for r in ratios)
    offset = round(2.0**shift * (y.zero_point + 0.5))
    low, high = wide.ends(y, node.attrs.get("clamp"))
    lo.emit(
        QWideArithmetic(
            node.name, (a.name, b.name), y.name, function, (m0, m1), offset, shift, low, high, loops
        )
    )  # fmt: skip


def _with_number(lo: Lowering, node: Node, c: float, i: int) -> None:
    """Arithmetic of operand i and a number: a line, or a function for c / x."""
    inf = float("inf")
    if node.op == "add":
        _line(lo, node, 1.0, c, i)
    elif node.op == "sub":
        _line(lo, node, *((1.0, -c) if i == 0 else (-1.0, c)), i)
    elif node.op == "mul":
        _line(lo, node, c, 0.0, i)
    elif node.op == "maximum":
        _line(lo, node, 1.0, 0.0, i, (c, inf))
    elif node.op == "minimum":
        _line(lo, node, 1.0, 0.0, i, (-inf, c))
    elif i == 0:
        _line(lo, node, 1.0 / c, 0.0, i)
    else:
        _function(lo, node, lambda v: clamped(node, c / v), i)
