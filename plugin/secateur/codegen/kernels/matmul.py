"""Products of two activations, and look-ups in a table of rows."""

from __future__ import annotations

from ...lowering.operators.matmul import QEmbedding, QMatMul
from ..emit import CArray, CFunction, Emission, render
from ..nest import c_loops, element
from ..requant import requantization
from ..tables import Table
from .base import Kernel, Layer, Plain, register


@register
class MatMul(Plain[QMatMul]):
    """Matrix product of two activations."""

    name = "matmul"

    def cost(self, layer: Layer[QMatMul]) -> float:
        size = layer.out_size
        return size * (7.0 * layer.op.depth.count + 20)

    def emit(self, layer: Layer[QMatMul], table: Table) -> Emission:
        op = layer.op
        loops = c_loops(op.outer)
        name = f"matmul_{layer.c_name}"
        text = render(
            "matmul.c.j2", name=name, loops=loops, op=op,
            q=requantization(layer.prefix, op.requant),
            constants=(int(op.requant.multiplier[0]), int(op.requant.offset[0])),
            zeros=[layer.graph.tensors[t].zero_point for t in op.inputs],
            a=element(loops, 0), b=element(loops, 1),
        )  # fmt: skip
        call = f"{name}({layer.inputs[0]}, {layer.inputs[1]}, {layer.output});"
        return Emission(call, [CFunction(name, text)])


@register
class Embedding(Kernel[QEmbedding, Table]):
    """Rows of a constant table by index."""

    name = "embedding"

    def cost(self, layer: Layer[QEmbedding]) -> float:
        return 6.0 * layer.out_size

    def table(self, layer: Layer[QEmbedding]) -> Table:
        note = f"{layer.c_name}: rows"
        return Table((CArray(f"{layer.prefix}_table", "uint8_t", layer.op.table, note),))

    def emit(self, layer: Layer[QEmbedding], table: Table) -> Emission:
        op = layer.op
        name = f"embedding_{layer.c_name}"
        entries, size = op.table.shape
        text = render("embedding.c.j2", name=name, op=op, entries=entries, size=size)
        ids = f"(const int32_t *)(const void *)({layer.inputs[0]})"
        args = [*table.names, ids, layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])
