"""Functions of one element."""

from __future__ import annotations

from ...lowering.operators.table import QPrelu, QTable
from ..emit import CArray, CFunction, Emission, render
from .base import Kernel, Layer, register


@register
class Table(Kernel):
    """A look-up for each code."""

    name = "table"
    code_bytes = 28

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QTable)

    def cost(self, layer: Layer) -> float:
        return 5.0 * layer.graph.tensors[layer.op.output].size

    def overwrites(self, layer: Layer) -> tuple[int, ...]:
        return (0,)

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QTable)
        n = layer.graph.tensors[op.output].size
        array = CArray(f"{layer.prefix}_codes", "uint8_t", op.table, f"{layer.c_name}: codes")
        text = render("table.c.j2", name="look_up")
        call = f"look_up({array.name}, {layer.inputs[0]}, {layer.output}, {n});"
        return Emission(call, [CFunction("look_up", text)], [array])


@register
class Prelu(Kernel):
    """A slope for each channel below zero."""

    name = "prelu"

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QPrelu)

    def cost(self, layer: Layer) -> float:
        return 9.0 * layer.graph.tensors[layer.op.output].size

    def overwrites(self, layer: Layer) -> tuple[int, ...]:
        return (0,)

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QPrelu)
        t = layer.graph.tensors[op.inputs[0]]
        below = CArray(f"{layer.prefix}_slopes", "int32_t", op.below, f"{layer.c_name}: below zero")
        name = f"prelu_{layer.c_name}"
        text = render(
            "prelu.c.j2", name=name, op=op, channels=len(op.below), each=t.size // len(op.below),
            zero=t.zero_point,
        )  # fmt: skip
        call = f"{name}({below.name}, {layer.inputs[0]}, {layer.output});"
        return Emission(call, [CFunction(name, text)], [below])
