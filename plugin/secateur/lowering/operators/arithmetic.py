"""Arithmetic of two tensors with broadcasting, and constants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.frontend.ops import OPS
from secateur.lowering.lowerer import Lowering
from secateur.lowering.operators.table import clamped, tabulate
from secateur.lowering.qgraph import QGraph, QOp
from secateur.lowering.registry import executes, limits, lowers
from secateur.lowering.strided import Loops, broadcast_strides, over, walk


@dataclass
class QArithmetic(QOp):
    """u = clamp((v + offset) >> shift) of two operands, da = a - z_a, db = b - z_b:

    add: v = da * M[0] + db * M[1]; maximum, minimum: the larger or smaller of those two; mul:
    v = da * db * M[0]. All int32. loops: over the output as stored, steps in a and b.
    """

    function: str
    multipliers: tuple[int, int]
    offset: int
    shift: int
    loops: Loops
    kind: ClassVar[str] = "arithmetic"


_VALUES: dict[str, Callable[[np.ndarray, np.ndarray, tuple[int, int]], np.ndarray]] = {
    "add": lambda a, b, m: a * m[0] + b * m[1],
    "maximum": lambda a, b, m: np.maximum(a * m[0], b * m[1]),
    "minimum": lambda a, b, m: np.minimum(a * m[0], b * m[1]),
    "mul": lambda a, b, m: a * b * m[0],
}


@executes(QArithmetic)
def _arithmetic(qgraph: QGraph, op: QArithmetic, inputs: list[np.ndarray]) -> np.ndarray:
    zeros = [qgraph.tensors[t].zero_point for t in op.inputs]
    a, b = (
        v.reshape(len(v), -1)[:, walk(op.loops, k)].astype(np.int64) - zeros[k]
        for k, v in enumerate(inputs)
    )
    v = _VALUES[op.function](a, b, op.multipliers) + op.offset
    return np.clip(v >> op.shift, 0, 255).astype(np.uint8)


@lowers("constant", wide=True)
def _constant(lo: Lowering, node: Node) -> None:
    value = node.params["value"].reshape(node.shape)
    lo.constant(node.output, value, wide=node.output in lo.wide)


def with_scalar(lo: Lowering, node: Node) -> bool:
    """Lower `node` as a table where one operand is a constant number; whether it was."""
    made = [lo.graph.node(t) for t in node.inputs]
    for i, n in enumerate(made):
        if n.op == "constant" and n.params["value"].size == 1 and made[1 - i].op != "constant":
            c = np.float32(n.params["value"].reshape(()))

            def f(v: np.ndarray, c: np.float32 = c, i: int = i) -> np.ndarray:
                x = v.astype(np.float32)[None]
                pair = [np.full_like(x, c), x] if i == 0 else [x, np.full_like(x, c)]
                return clamped(node, OPS[node.op].run(node, pair)[0])

            if made[1 - i].shape == node.shape:
                tabulate(lo, node, f, 1 - i)
                return True
    return False


@limits("div")
def _by_constants(graph: Graph, node: Node) -> tuple[str, str] | None:
    if graph.node(node.inputs[1]).op != "constant":
        return (
            "divides by a tensor that is computed",
            "multiply by its reciprocal, made by an activation, instead",
        )
    return None


@lowers("sub", "mul", "maximum", "minimum", "div")
def _two(lo: Lowering, node: Node) -> None:
    if not with_scalar(lo, node):
        combine(lo, node)


def combine(lo: Lowering, node: Node) -> None:
    """Lower arithmetic of two stored tensors."""
    function, sign = node.op, 1
    if node.op == "div":
        function = "mul"
        divisor = lo.graph.node(node.inputs[1])
        inverse = f"{node.name}_inverse"
        lo.constant(inverse, 1 / divisor.params["value"].astype(np.float64))
        operands = (node.inputs[0], inverse)
    else:
        operands = (node.inputs[0], node.inputs[1])
    if node.op == "sub":
        function, sign = "add", -1
    a, b = (lo.settle(t) for t in operands)
    shapes = [lo.shape(t) for t in operands]
    steps = [broadcast_strides(s, node.shape) for s in shapes]
    loops = over(range(len(node.shape)), node.shape, steps)
    y = lo.new(node)
    ratios = (a.scale / y.scale, sign * b.scale / y.scale)
    if function == "mul":
        ratios = (a.scale * b.scale / y.scale, 0.0)
        reach = 255 * 255 * abs(ratios[0])
    else:
        reach = 255 * (abs(ratios[0]) + abs(ratios[1]))
    shift = lo.shift_for(node, reach + y.zero_point + 2, room=2.0**31 - 2**17)
    m0, m1 = (round(r * 2.0**shift) for r in ratios)
    offset = round(2.0**shift * (y.zero_point + 0.5))
    lo.emit(
        QArithmetic(node.name, (a.name, b.name), y.name, function, (m0, m1), offset, shift, loops)
    )
