"""Sums of two tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, Value
from secateur.lowering.qgraph import QAdd
from secateur.lowering.registry import lowers
from secateur.lowering.requant import DoesNotFitError, add_constants


@lowers("add")
def _add(lo: Lowering, node: Node) -> None:
    a, b = lo.source(node, 0), lo.source(node, 1)
    first, second = (lo.values[t] for t in node.inputs)
    orders = (first.order, second.order)
    same = all(o is None for o in orders) or (
        orders[0] is not None and orders[1] is not None and np.array_equal(orders[0], orders[1])
    )
    if not same:
        raise lo.misplaced(node)
    y = lo.new(node)
    if len(y.shape) == 1 and a.shape == b.shape:
        y = replace(y, shape=a.shape)
        lo.q.tensors[y.name] = y
    lo.values[node.output] = Value(y.name, first.order)
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
