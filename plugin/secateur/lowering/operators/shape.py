"""The input, padding, and changes of shape that move nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, Value
from secateur.lowering.qgraph import QPad
from secateur.lowering.registry import lowers
from secateur.lowering.views import planar


@lowers("input")
def _input(lo: Lowering, node: Node) -> None:
    lo.new(node)


@lowers("zero_pad")
def _zero_pad(lo: Lowering, node: Node) -> None:
    x = lo.image(node)
    y = lo.new(node, like=x)
    if x.planes and x.zero_point not in x.codes:  # a padded sign: 0 is neither -1 nor 1
        y = replace(y, planes=())
        lo.q.tensors[y.name] = y
    lo.emit(QPad(node.name, (x.name,), y.name, node.attrs["pads"]))


@lowers("flatten")
def _flatten(lo: Lowering, node: Node) -> None:
    value, shape = lo.values[node.inputs[0]], lo.shape(node.inputs[0])
    order = value.order if len(shape) == 1 else lo.order(value, shape)
    if order is not None and np.array_equal(order, np.arange(len(order))):
        order = None
    lo.values[node.output] = Value(value.stored, order)


@lowers("reshape")
def _reshape(lo: Lowering, node: Node) -> None:
    value, shape = lo.values[node.inputs[0]], lo.shape(node.inputs[0])
    order = lo.order(value, shape)
    if not np.array_equal(order, planar(node.shape)):
        raise lo.misplaced(node)
    lo.values[node.output] = Value(value.stored)
