"""ReLU, low-bit activations and softmax."""

from __future__ import annotations

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, rescale, rows_along
from secateur.lowering.qgraph import QRescale, QSoftmax, QTensor
from secateur.lowering.registry import lowers
from secateur.lowering.softmax import QLogSoftmax, QSoftmaxRows


@lowers("quant_activation")
def _quant_activation(lo: Lowering, node: Node) -> None:
    x = lo.source(node)
    one = np.ones(1)
    zero = float(x.zero_point)
    y, requant = lo.levels(node, x, x.scale * one, 0 * one, zero * one, 0 * one, x.top * one)
    lo.elementwise(node, y)
    lo.emit(QRescale(node.name, (x.name,), y.name, requant))


@lowers("relu")
def _relu(lo: Lowering, node: Node) -> None:
    x = lo.source(node)
    if x.zero_point == 0 and node.attrs.get("max_value") is None:
        lo.values[node.output] = lo.values[node.inputs[0]]  # already non-negative
        return
    y = lo.elementwise(node, lo.new(node))
    y, (requant, _) = lo.fit(node, y, lambda y: rescale(x, y))
    lo.emit(QRescale(node.name, (x.name,), y.name, requant))


@lowers("softmax")
def _softmax(lo: Lowering, node: Node) -> None:
    x = lo.source(node)
    shape = lo.shape(node.inputs[0])
    if int(np.prod(shape[:-1])) != 1:
        _softmax_rows(lo, node)
        return
    if x.size > 32768:
        raise ModelError(
            f"layer '{node.name}' (softmax) has {x.size} elements; at most 32768 fit its sum"
        )
    lo.elementwise(node, QTensor(node.output, x.shape, 1 / 256, 0))
    lo.emit(QSoftmax(node.name, (x.name,), node.output, beta_of(x)))


def beta_of(x: QTensor) -> int:
    """Powers of two a code is worth, in units of 2**-16 (docs/integer-spec.md, "Softmax")."""
    return min(max(round(x.scale * np.log2(np.e) * 2**16), 1), 2**23)


def _softmax_rows(lo: Lowering, node: Node) -> None:
    axis = node.attrs.get("axis", -1)
    x = lo.settle(node.inputs[0])
    t = QTensor(node.output, x.shape, 1 / 256, 0)
    lo.declare(node, t)
    lo.emit(QSoftmaxRows(node.name, (x.name,), t.name, beta_of(x), *rows_along(node.shape, axis)))


@lowers("log_softmax")
def _log_softmax(lo: Lowering, node: Node) -> None:
    x, y = lo.settle(node.inputs[0]), lo.new(node)
    rows = rows_along(node.shape, node.attr("axis"))
    unit, step = np.log(2) / y.scale, x.scale / y.scale
    shift = lo.shift_for(node, 255 * step + 16 * unit + y.zero_point + 2, 20)
    one = 2.0**shift
    lo.emit(
        QLogSoftmax(
            node.name, (x.name,), y.name, beta_of(x), round(step * one), round(unit * one),
            round((y.zero_point + 0.5) * one), shift, *rows,
        )
    )  # fmt: skip
