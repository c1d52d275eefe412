"""Products of two activations, and look-ups in a table of rows."""

from __future__ import annotations

from ...lowering.operators.matmul import QEmbedding, QMatMul
from ..emit import CArray, CFunction, Emission, render
from ..nest import c_loops, element
from ..requant import table
from .base import Kernel, Layer, register


@register
class MatMul(Kernel):
    """Matrix product of two activations."""

    name = "matmul"

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QMatMul)

    def cost(self, layer: Layer) -> float:
        assert isinstance(layer.op, QMatMul)
        size = layer.graph.tensors[layer.op.output].size
        return size * (7.0 * layer.op.depth.count + 20)

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QMatMul)
        loops = c_loops(op.outer)
        name = f"matmul_{layer.c_name}"
        text = render(
            "matmul.c.j2", name=name, loops=loops, op=op, q=table(layer.prefix, op.requant),
            constants=(int(op.requant.multiplier[0]), int(op.requant.offset[0])),
            zeros=[layer.graph.tensors[t].zero_point for t in op.inputs],
            a=element(loops, 0), b=element(loops, 1),
        )  # fmt: skip
        call = f"{name}({layer.inputs[0]}, {layer.inputs[1]}, {layer.output});"
        return Emission(call, [CFunction(name, text)])


@register
class Embedding(Kernel):
    """Rows of a constant table by index."""

    name = "embedding"

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QEmbedding)

    def cost(self, layer: Layer) -> float:
        return 6.0 * layer.graph.tensors[layer.op.output].size

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QEmbedding)
        rows = CArray(f"{layer.prefix}_table", "uint8_t", op.table, f"{layer.c_name}: rows")
        name = f"embedding_{layer.c_name}"
        entries, size = op.table.shape
        text = render("embedding.c.j2", name=name, op=op, entries=entries, size=size)
        ids = f"(const int32_t *)(const void *)({layer.inputs[0]})"
        call = f"{name}({rows.name}, {ids}, {layer.output});"
        return Emission(call, [CFunction(name, text)], [rows])
