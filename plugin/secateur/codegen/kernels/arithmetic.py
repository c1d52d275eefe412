"""Arithmetic of two tensors, with broadcasting."""

from __future__ import annotations

from ...lowering.operators.arithmetic import QArithmetic
from ..emit import CFunction, Emission, render
from ..nest import c_loops, element
from ..tables import Table
from .base import Layer, Plain, register


@register
class Arithmetic(Plain[QArithmetic]):
    """Sum, product, larger or smaller of two tensors."""

    name = "arithmetic"

    def cost(self, layer: Layer[QArithmetic]) -> float:
        return 12.0 * layer.out_size

    def overwrites(self, layer: Layer[QArithmetic]) -> tuple[int, ...]:
        size = layer.out_size
        tensors = layer.graph.tensors
        return tuple(i for i, t in enumerate(layer.op.inputs) if tensors[t].size == size)

    def emit(self, layer: Layer[QArithmetic], table: Table) -> Emission:
        op = layer.op
        loops = c_loops(op.loops)
        zeros = [layer.graph.tensors[t].zero_point for t in op.inputs]
        name = f"{op.function}_{layer.c_name}"
        text = render(
            "arithmetic.c.j2", name=name, op=op, loops=loops, zeros=zeros,
            a=element(loops, 0), b=element(loops, 1),
            size=layer.graph.tensors[op.output].size,
        )  # fmt: skip
        call = f"{name}({layer.inputs[0]}, {layer.inputs[1]}, {layer.output});"
        return Emission(call, [CFunction(name, text)])
