"""Operators that move elements: their float execution on addresses is their lowering."""

from __future__ import annotations

import numpy as np

from secateur.frontend.ir import Node
from secateur.frontend.ops import OPS
from secateur.lowering.lowerer import Lowering, Value
from secateur.lowering.registry import lowers


@lowers(
    "transpose", "slice", "tile", "gather", "depth_to_space", "space_to_depth", "pad", wide=True
)
def _move(lo: Lowering, node: Node) -> None:
    move(lo, node)


def move(lo: Lowering, node: Node) -> None:
    """One operand, whose addresses are moved as its elements would be."""
    fill = float(node.attr("value")) if node.op == "pad" else 0.0
    shape = lo.shape(node.inputs[0])
    at = lo.addresses(node.inputs[0])
    if (at < 0).any():  # another fill lies there already
        lo.settle(node.inputs[0])
        at = lo.addresses(node.inputs[0])
    # address + 1, so that what padding puts in, 0, is no address; float64 holds them exactly
    moving = node if node.op != "pad" else _padded_with_zero(node)
    moved = OPS[node.op].run(moving, [(at + 1.0).reshape(1, *shape)])
    lo.view(node, np.rint(moved).astype(np.int64).reshape(-1) - 1, fill=fill)


def _padded_with_zero(node: Node) -> Node:
    attrs = {**node.attrs, "value": 0.0}
    return Node(node.op, node.name, node.inputs, node.output, node.shape, attrs)


@lowers("concat", wide=True)
def _concat(lo: Lowering, node: Node) -> None:
    sources: list[str] = []
    parts = []
    for t in node.inputs:
        at, value = lo.addresses(t), lo.values[t]
        if (at < 0).any() or len(value.sources) > 1:
            lo.settle(t)
            at, value = lo.addresses(t), lo.values[t]
        (source,) = value.sources
        if source not in sources:
            sources.append(source)
        start = sum(lo.q.tensors[s].size for s in sources[: sources.index(source)])
        parts.append((at + start).reshape(1, *lo.shape(t)).astype(np.float64))
    moved = OPS["concat"].run(node, parts)
    lo.values[node.output] = Value(tuple(sources), np.rint(moved).astype(np.int64).reshape(-1))
