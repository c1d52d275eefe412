"""Reductions, and the largest elements along an axis."""

from __future__ import annotations

import numpy as np

from ...lowering.operators.reduce import QReduce, QTopK
from ..emit import CFunction, Emission, render
from ..nest import c_loops, element
from ..requant import inlined, requantization, wide_code
from ..tables import Table
from .base import Layer, Plain, register


@register
class Reduce(Plain[QReduce]):
    """Sum, mean, largest or smallest over some axes."""

    name = "reduce"
    wide = True

    def cost(self, layer: Layer[QReduce]) -> float:
        t = layer.graph.tensors
        return 5.0 * t[layer.op.inputs[0]].size + 15.0 * t[layer.op.output].size

    def emit(self, layer: Layer[QReduce], table: Table) -> Emission:
        op = layer.op
        outer, inner = c_loops(op.outer), c_loops(op.inner, "k")
        q = requantization(layer.prefix, op.requant) if op.requant else None
        constants = inlined(op.requant) if op.requant else (0, 0)
        name = f"{op.function}_{layer.c_name}"
        text = render(
            "reduce.c.j2", name=name, op=op, outer=outer, inner=inner, q=q, constants=constants,
            base=element(outer, 0), at=element(inner, 0), kind=layer.ctype(op.inputs[0]),
            out=layer.ctype(op.output),
            count=int(np.prod([loop.count for loop in inner], initial=1)),
        )  # fmt: skip
        call = f"{name}({', '.join(layer.pointers)});"
        return Emission(call, [*wide_code(op.requant), CFunction(name, text)])


@register
class TopK(Plain[QTopK]):
    """The k largest of each row, or where they are."""

    name = "top_k"
    wide = True

    def cost(self, layer: Layer[QTopK]) -> float:
        return 8.0 * layer.op.k * layer.graph.tensors[layer.op.inputs[0]].size

    def emit(self, layer: Layer[QTopK], table: Table) -> Emission:
        op = layer.op
        rows = c_loops(op.rows)
        name = f"top_{layer.c_name}"
        kind = layer.ctype(op.output)
        text = render(
            "top_k.c.j2", name=name, op=op, rows=rows, base=element(rows, 0), to=element(rows, 1),
            kind=kind, code=layer.ctype(op.inputs[0]),
        )  # fmt: skip
        return Emission(f"{name}({', '.join(layer.pointers)});", [CFunction(name, text)])
