"""Reductions, and the largest elements along an axis."""

from __future__ import annotations

import numpy as np

from ...lowering.operators.reduce import QReduce, QTopK
from ..emit import CFunction, Emission, render
from ..nest import c_loops, element
from ..requant import requantization
from ..tables import Table
from .base import Layer, Plain, register


@register
class Reduce(Plain[QReduce]):
    """Sum, mean, largest or smallest over some axes."""

    name = "reduce"

    def cost(self, layer: Layer[QReduce]) -> float:
        t = layer.graph.tensors
        return 5.0 * t[layer.op.inputs[0]].size + 15.0 * t[layer.op.output].size

    def emit(self, layer: Layer[QReduce], table: Table) -> Emission:
        op = layer.op
        outer, inner = c_loops(op.outer), c_loops(op.inner, "k")
        q = requantization(layer.prefix, op.requant) if op.requant else None
        constants = (0, 0)
        if op.requant is not None:
            constants = (int(op.requant.multiplier[0]), int(op.requant.offset[0]))
        name = f"{op.function}_{layer.c_name}"
        text = render(
            "reduce.c.j2", name=name, op=op, outer=outer, inner=inner, q=q, constants=constants,
            base=element(outer, 0), at=element(inner, 0),
            count=int(np.prod([loop.count for loop in inner], initial=1)),
        )  # fmt: skip
        call = f"{name}({layer.inputs[0]}, {layer.output});"
        return Emission(call, [CFunction(name, text)])


@register
class TopK(Plain[QTopK]):
    """The k largest of each row, or where they are."""

    name = "top_k"

    def cost(self, layer: Layer[QTopK]) -> float:
        return 8.0 * layer.op.k * layer.graph.tensors[layer.op.inputs[0]].size

    def emit(self, layer: Layer[QTopK], table: Table) -> Emission:
        op = layer.op
        rows = c_loops(op.rows)
        name = f"top_{layer.c_name}"
        kind = "int32_t" if layer.graph.tensors[op.output].dtype == "int32" else "uint8_t"
        text = render(
            "top_k.c.j2", name=name, op=op, rows=rows, base=element(rows, 0), to=element(rows, 1),
            kind=kind,
        )  # fmt: skip
        out = layer.output if kind == "uint8_t" else f"({kind} *)(void *)({layer.output})"
        return Emission(f"{name}({layer.inputs[0]}, {out});", [CFunction(name, text)])
