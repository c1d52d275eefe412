"""The rows that a network of a step keeps, the oldest first."""

from __future__ import annotations

from ...lowering.operators.stream import QPush
from ..emit import CFunction, Emission, render
from ..tables import Table
from .base import Layer, Plain, register


@register
class Push(Plain[QPush]):
    """Each channel's rows move up by one; the new one takes the last place."""

    name = "push"
    code_bytes = 60

    def cost(self, layer: Layer[QPush]) -> float:
        t = layer.graph.tensors[layer.op.output]
        return 12.0 * t.shape[0] + 1.2 * t.size

    def emit(self, layer: Layer[QPush], table: Table) -> Emission:
        kept, row = (layer.graph.tensors[t] for t in layer.op.inputs)
        channels = kept.shape[0]
        each, new = kept.size // channels, row.size // channels
        name = f"push_{channels}x{each}_{new}"
        text = render("push.c.j2", name=name, channels=channels, each=each, new=new)
        call = f"{name}({layer.inputs[1]}, {layer.output});"
        return Emission(call, [CFunction(name, text)])
