"""Reductions over any axes, and the largest elements along one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.lowering.lowerer import Lowering, stored_shape
from secateur.lowering.qgraph import QGraph, QOp, QTensor, Requant
from secateur.lowering.reference import requantize as apply
from secateur.lowering.registry import executes, limits, lowers
from secateur.lowering.requant import requantize
from secateur.lowering.strided import Loops, over, strides, walk


@dataclass
class QReduce(QOp):
    """Sum (requantized), largest or smallest code over `inner` for each turn of `outer`."""

    function: str  #: "sum" | "max" | "min"
    outer: Loops
    inner: Loops
    requant: Requant | None = None
    kind: ClassVar[str] = "reduce"


@dataclass
class QTopK(QOp):
    """The k largest (or smallest) codes of each row, or their indices; of equal ones the first.

    `last`: of equal ones the last (k = 1 only). Rows: length elements `stride` apart, a row for
    each turn of `rows` (steps in the input and, in the output, of its first element).
    """

    k: int
    smallest: bool
    indices: bool
    last: bool
    length: int
    stride: int
    out_stride: int
    rows: Loops
    kind: ClassVar[str] = "top_k"


def _elements(u: np.ndarray, outer: Loops, inner: Loops) -> np.ndarray:
    at = walk(outer, 0)[:, None] + walk(inner, 0)
    return u.reshape(len(u), -1)[:, at]


@executes(QReduce)
def _reduce_codes(qgraph: QGraph, op: QReduce, inputs: list[np.ndarray]) -> np.ndarray:
    v = _elements(inputs[0], op.outer, op.inner)
    if op.function != "sum":
        return v.max(axis=2) if op.function == "max" else v.min(axis=2)
    assert op.requant is not None
    total = v.sum(axis=2, dtype=np.int64)
    return apply(total[:, None, :], op.requant)


@executes(QTopK)
def _top_k(qgraph: QGraph, op: QTopK, inputs: list[np.ndarray]) -> np.ndarray:
    u = inputs[0].reshape(len(inputs[0]), -1)
    at = walk(op.rows, 0)[:, None] + np.arange(op.length) * op.stride
    v = u[:, at].astype(np.int64)
    key = v if op.smallest else -v
    if op.last:
        found = op.length - 1 - np.argmin(key[..., ::-1], axis=2)[..., None]
    else:
        found = np.argsort(key, axis=2, kind="stable")[..., : op.k]
    values = found if op.indices else np.take_along_axis(v, found, axis=2)
    t = qgraph.tensors[op.output]
    y = np.zeros((len(u), t.size), t.dtype)
    y[:, walk(op.rows, 1)[:, None] + np.arange(op.k) * op.out_stride] = values
    return y


@limits("reduce")
def _no_products(graph: Graph, node: Node) -> tuple[str, str] | None:
    if node.attrs["function"] == "prod":
        return "multiplies all elements, which 8 bits cannot follow", "sum logarithms instead"
    return None


def extremes_or_sum(lo: Lowering, node: Node) -> tuple[QTensor, Loops, Loops, int] | None:
    """Emits a largest or smallest, which no type changes: None. Of a sum or mean: what is summed,
    the loops around it and over it, and how many elements they meet."""
    x, shape = lo.settle(node.inputs[0]), lo.shape(node.inputs[0])
    axes = {a % len(shape) for a in node.attrs["axes"]}
    steps = strides(shape)
    outer = over([a for a in range(len(shape)) if a not in axes], shape, [steps])
    inner = over(sorted(axes), shape, [steps])
    function = node.attrs["function"]
    if function in ("max", "min"):
        y = lo.new(node, like=x)
        lo.emit(QReduce(node.name, (x.name,), y.name, function, outer, inner))
        return None
    return x, outer, inner, int(np.prod([shape[a] for a in axes]))


@lowers("reduce")
def _reduce(lo: Lowering, node: Node) -> None:
    reduced = extremes_or_sum(lo, node)
    if reduced is None:
        return
    x, outer, inner, n = reduced
    function = node.attrs["function"]
    share = n if function == "mean" else 1
    one = np.ones(1)
    y = lo.new(node)
    y, (requant, _) = lo.fit(
        node, y,
        lambda y: requantize(
            one * x.scale / y.scale / share, one * y.zero_point, one * x.zero_point * n, 0 * one,
            one * 255 * n,
        ),
    )  # fmt: skip
    lo.emit(QReduce(node.name, (x.name,), y.name, "sum", outer, inner, requant))


@lowers("arg_max", "top_k", "top_k_indices", wide=True)
def _select(lo: Lowering, node: Node) -> None:
    x, shape = lo.settle(node.inputs[0]), lo.shape(node.inputs[0])
    axis = node.attrs["axis"] % len(shape)
    k = 1 if node.op == "arg_max" else int(node.attrs["k"])
    last = node.op == "arg_max" and bool(node.attr("last"))
    steps, out_steps = strides(shape), strides(node.shape)
    rows = over([a for a in range(len(shape)) if a != axis], shape, [steps, out_steps])
    if node.op == "top_k":
        y = lo.new(node, like=x)
    else:
        t = QTensor(node.output, stored_shape(node.shape), 1.0, 0, dtype="int32")
        y = lo.declare(node, t)
    lo.emit(
        QTopK(
            node.name, (x.name,), y.name, k, bool(node.attr("smallest")), node.op != "top_k", last,
            shape[axis], steps[axis], out_steps[axis], rows,
        )
    )  # fmt: skip
