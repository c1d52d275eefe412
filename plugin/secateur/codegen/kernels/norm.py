"""Normalization by the input's own statistics."""

from __future__ import annotations

import numpy as np

from ...lowering.operators.norm import QNorm
from ..emit import CArray, CFunction, Emission, render
from ..nest import c_loops, element
from ..tables import Table
from .base import Kernel, Layer, register


@register
class Norm(Kernel[QNorm, Table]):
    """Layer, RMS, group and L2 normalization."""

    name = "norm"

    def cost(self, layer: Layer[QNorm]) -> float:
        op = layer.op
        turns = float(np.prod([loop.count for loop in op.outer], initial=1))
        return 24.0 * layer.graph.tensors[op.output].size + 900.0 * turns

    def overwrites(self, layer: Layer[QNorm]) -> tuple[int, ...]:
        return (0,)

    def table(self, layer: Layer[QNorm]) -> Table:
        values = np.stack([layer.op.gain, layer.op.offset], axis=1)
        array = CArray(
            f"{layer.prefix}_gains", "int32_t", values, f"{layer.c_name}: gain, offset",
            {"requant": 32 * values.size},
        )  # fmt: skip
        return Table((array,))

    def emit(self, layer: Layer[QNorm], table: Table) -> Emission:
        op = layer.op
        outer, inner = c_loops(op.outer), c_loops(op.inner, "k")
        n = int(np.prod([loop.count for loop in op.inner], initial=1))
        name = f"norm_{layer.c_name}"
        text = render(
            "norm.c.j2", name=name, op=op, outer=outer, inner=inner, n=n,
            zero=layer.graph.tensors[op.inputs[0]].zero_point,
            base=element(outer, 0), gain_base=element(outer, 1),
            at=element(inner, 0), gain=element(inner, 1),
        )  # fmt: skip
        root = CFunction("root", render("root.c.j2"))
        args = [*table.names, layer.inputs[0], layer.output]
        return Emission(f"{name}({', '.join(args)});", [root, CFunction(name, text)])
