"""Sums of two tensors."""

from __future__ import annotations

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering
from secateur.lowering.operators.arithmetic import combine, with_scalar
from secateur.lowering.qgraph import QAdd
from secateur.lowering.registry import lowers
from secateur.lowering.requant import DoesNotFitError, add_constants


@lowers("add")
def _add(lo: Lowering, node: Node) -> None:
    made = [lo.graph.node(t) for t in node.inputs]
    if any(n.op == "constant" or n.shape != node.shape for n in made):
        if not with_scalar(lo, node):
            combine(lo, node)
        return
    first, second = (lo.values[t].at for t in node.inputs)
    alike = (first is None and second is None) or (
        first is not None and second is not None and np.array_equal(first, second)
    )
    if not alike:
        for t in node.inputs:
            lo.settle(t)
    a, b = lo.source(node, 0), lo.source(node, 1)
    y = lo.new(node)
    if a.shape == b.shape:
        y = lo.elementwise(node, y)
    ratios = (a.scale / y.scale, b.scale / y.scale)
    zeros = (a.zero_point, b.zero_point)
    try:
        multipliers, offset, shift = add_constants(ratios, zeros, y.zero_point)
    except DoesNotFitError as e:
        raise ModelError(
            f"layer '{node.name}' (add) has operands of too different ranges; check the "
            "calibration data"
        ) from e
    lo.emit(QAdd(node.name, (a.name, b.name), y.name, multipliers, offset, shift))
