"""The input, padding, and changes of shape that move nothing."""

from __future__ import annotations

from dataclasses import replace

from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, stored_shape
from secateur.lowering.qgraph import QPad, QTensor
from secateur.lowering.registry import lowers


@lowers("input", wide=True)
def _input(lo: Lowering, node: Node) -> None:
    if node.attr("dtype") == "int32":  # indices
        lo.declare(node, QTensor(node.output, stored_shape(node.shape), 1.0, 0, dtype="int32"))
    else:
        lo.new(node)


@lowers("zero_pad", wide=True)
def _zero_pad(lo: Lowering, node: Node) -> None:
    x = lo.image(node)
    y = lo.new(node, like=x)
    if x.planes and x.zero_point not in x.codes:  # a padded sign: 0 is neither -1 nor 1
        y = replace(y, planes=())
        lo.q.tensors[y.name] = y
    lo.emit(QPad(node.name, (x.name,), y.name, node.attrs["pads"]))


@lowers("flatten", "reshape", wide=True)
def _reshape(lo: Lowering, node: Node) -> None:
    lo.view(node, lo.addresses(node.inputs[0]))
