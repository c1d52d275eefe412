"""ReLU, low-bit activations and softmax."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, Value, rescale
from secateur.lowering.qgraph import QRescale, QSoftmax, QTensor
from secateur.lowering.registry import lowers


@lowers("quant_activation")
def _quant_activation(lo: Lowering, node: Node) -> None:
    x, value = lo.source(node), lo.values[node.inputs[0]]
    one = np.ones(1)
    zero = float(x.zero_point)
    y, requant = lo.levels(node, x, x.scale * one, 0 * one, zero * one, 0 * one, x.top * one)
    lo.q.tensors[y.name] = replace(y, shape=x.shape)
    lo.values[node.output] = Value(y.name, value.order)
    lo.emit(QRescale(node.name, (x.name,), y.name, requant))


@lowers("relu")
def _relu(lo: Lowering, node: Node) -> None:
    x = lo.source(node)
    value = lo.values[node.inputs[0]]
    if x.zero_point == 0 and node.attrs.get("max_value") is None:
        lo.values[node.output] = value  # already non-negative
        return
    y = replace(lo.new(node), shape=x.shape)
    lo.q.tensors[y.name] = y
    lo.values[node.output] = Value(y.name, value.order)

    y, (requant, _) = lo.fit(node, y, lambda y: rescale(x, y))
    lo.emit(QRescale(node.name, (x.name,), y.name, requant))


@lowers("softmax")
def _softmax(lo: Lowering, node: Node) -> None:
    x = lo.source(node)
    value = lo.values[node.inputs[0]]
    shape = lo.shape(node.inputs[0])
    if int(np.prod(shape[:-1])) != 1:
        raise ModelError(
            f"layer '{node.name}' (softmax) acts on every position of shape {shape}; only a "
            "softmax over one vector can be converted"
        )
    if x.size > 32768:
        raise ModelError(
            f"layer '{node.name}' (softmax) has {x.size} elements; at most 32768 fit its sum"
        )
    lo.q.tensors[node.output] = QTensor(node.output, x.shape, 1 / 256, 0)
    lo.values[node.output] = Value(node.output, value.order)
    beta = min(max(round(x.scale * np.log2(np.e) * 2**16), 1), 2**23)
    lo.emit(QSoftmax(node.name, (x.name,), node.output, beta))
