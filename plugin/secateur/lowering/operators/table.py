"""Functions of one element: a table of 256 codes, exact to half a step by construction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.frontend.ops import OPS
from secateur.lowering.lowerer import Lowering, table_of
from secateur.lowering.qgraph import QGraph, QOp, QTensor
from secateur.lowering.registry import executes, limits, lowers


@dataclass
class QTable(QOp):
    """u = table[x], uint8 [256]."""

    table: np.ndarray
    kind: ClassVar[str] = "table"
    turns: ClassVar[bool] = True
    by_row: ClassVar[bool] = True


@dataclass
class QPrelu(QOp):
    """u = clamp(((d < 0 ? d * below[c] : d * above) + offset) >> shift), d = x - z, int32.

    below: int32 [channels], channels the first axis as stored.
    """

    above: int
    below: np.ndarray
    offset: int
    shift: int
    kind: ClassVar[str] = "prelu"
    turns: ClassVar[bool] = True


@executes(QTable)
def _table(qgraph: QGraph, op: QTable, inputs: list[np.ndarray]) -> np.ndarray:
    return op.table[inputs[0]]


@executes(QPrelu)
def _prelu_codes(qgraph: QGraph, op: QPrelu, inputs: list[np.ndarray]) -> np.ndarray:
    z = qgraph.tensors[op.inputs[0]].zero_point
    d = inputs[0].reshape(len(inputs[0]), len(op.below), -1).astype(np.int64) - z
    v = np.where(d < 0, d * op.below.astype(np.int64)[:, None], d * op.above) + op.offset
    return np.clip(v >> op.shift, 0, 255).astype(np.uint8)


def tabulate(lo: Lowering, node: Node, f: Callable[[np.ndarray], np.ndarray], i: int = 0) -> None:
    """Lower `node` as the table of a function of operand i's elements."""
    x = lo.source(node, i)
    y = lo.elementwise(node, lo.new(node), i)
    lo.emit(QTable(node.name, (x.name,), y.name, table_of(f, x, y)))


@lowers("activation", "sign")
def _activation(lo: Lowering, node: Node) -> None:
    tabulate(lo, node, lambda v: clamped(node, OPS[node.op].run(node, [v.astype(np.float32)])))


def clamped(node: Node, y: np.ndarray) -> np.ndarray:
    """With the ReLU that a pass has put into the operator."""
    clamp = node.attrs.get("clamp")
    return y if clamp is None else np.clip(y, *clamp)


@lowers("fake_quant")
def _fake_quant(lo: Lowering, node: Node) -> None:
    a = node.attrs
    scale, low, high, zero = float(a["scale"]), a["low"], a["high"], a["zero_point"]
    if high - low > 255:  # a 16-bit marker: 8 bits of its range as calibrated
        tabulate(lo, node, lambda v: v)
        return
    x = lo.source(node)
    y = QTensor(node.output, x.shape, scale, int(zero - low))
    y = lo.elementwise(node, y)
    run = OPS[node.op].run
    table = table_of(lambda v: run(node, [v.astype(np.float32)]), x, y)
    lo.emit(QTable(node.name, (x.name,), y.name, table))


@lowers("prelu")
def _prelu(lo: Lowering, node: Node) -> None:
    alpha = node.params["alpha"].astype(np.float64)
    channels = node.shape[-1]
    if alpha.size == 1:
        slope = float(alpha.reshape(()))
        tabulate(lo, node, lambda v: clamped(node, np.where(v >= 0, v, v * slope)))
        return
    per_channel = np.broadcast_to(alpha, node.shape)
    rows = per_channel.reshape(-1, channels)
    x = lo.settle(node.inputs[0])
    y = lo.new(node)
    below = rows[0] if (rows == rows[0]).all() else np.moveaxis(per_channel, -1, 0).reshape(-1)
    above, table, offset, shift = _prelu_constants(lo, node, x, y, below)
    lo.emit(QPrelu(node.name, (x.name,), y.name, above, table, offset, shift))


def _prelu_constants(
    lo: Lowering, node: Node, x: QTensor, y: QTensor, slopes: np.ndarray
) -> tuple[int, np.ndarray, int, int]:
    ratio = x.scale / y.scale
    most = max(1.0, float(np.abs(slopes).max())) * ratio
    shift = lo.shift_for(node, 255 * most + 256)
    below = np.rint(slopes * ratio * 2.0**shift).astype(np.int32)
    offset = round(2.0**shift * (y.zero_point + 0.5))
    return round(ratio * 2.0**shift), below, offset, shift


@limits("cast")
def _numbers_only(graph: Graph, node: Node) -> tuple[str, str] | None:
    here, there = graph.dtype(node.inputs[0]), node.attrs["dtype"]
    if (here == "int32") != (there == "int32"):
        return f"turns {here} into {there}", "keep indices and numbers apart"
    return None


@lowers("cast", wide=True)
def _cast(lo: Lowering, node: Node) -> None:
    lo.view(node, lo.addresses(node.inputs[0]))
