"""The rows that a network of a step keeps, the oldest first."""

from __future__ import annotations

from ...lowering.operators.stream import QAppend, QKeep, QPush, QSlide, QSlidingMean
from ..emit import CFunction, Emission, render
from ..requant import requantization
from ..tables import RequantizedTable, Table
from .base import Kernel, Layer, Plain, register


@register
class Push(Plain[QPush]):
    """Each channel's rows move up by one; the new one takes the last place."""

    name = "push"

    def cost(self, layer: Layer[QPush]) -> float:
        t = layer.graph.tensors[layer.op.output]
        return 12.0 * t.shape[0] + 1.2 * t.size

    def emit(self, layer: Layer[QPush], table: Table) -> Emission:
        kept, row = (layer.graph.tensors[t] for t in layer.op.inputs)
        channels = kept.shape[0]
        each, new = kept.size // channels, row.size // channels
        name = f"push_{channels}x{each}_{new}"
        text = render("push.c.j2", kind="push", name=name, channels=channels, each=each, new=new)
        call = f"{name}({layer.inputs[1]}, {layer.output});"
        return Emission(call, [CFunction(name, text)])


@register
class AppendRow(Plain[QAppend]):
    """Each channel's kept rows, then its new one."""

    name = "append"

    def cost(self, layer: Layer[QAppend]) -> float:
        t = layer.graph.tensors[layer.op.output]
        return 12.0 * t.shape[0] + 1.2 * t.size

    def overwrites(self, layer: Layer[QAppend]) -> tuple[int, ...]:
        return (1,)  # the new rows, from the last channel to the first

    def emit(self, layer: Layer[QAppend], table: Table) -> Emission:
        whole, row = (layer.graph.tensors[t] for t in (layer.op.output, layer.op.inputs[1]))
        channels = whole.shape[0]
        each, new = whole.size // channels, row.size // channels
        name = f"append_{channels}x{each}_{new}"
        text = render("push.c.j2", kind="append", name=name, channels=channels, each=each, new=new)
        call = f"{name}({', '.join([*layer.inputs, layer.output])});"
        return Emission(call, [CFunction(name, text)])


@register
class KeepRows(Plain[QKeep]):
    """Each channel's rows but the oldest."""

    name = "keep"

    def cost(self, layer: Layer[QKeep]) -> float:
        t = layer.graph.tensors[layer.op.output]
        return 8.0 * t.shape[0] + 1.2 * t.size

    def emit(self, layer: Layer[QKeep], table: Table) -> Emission:
        whole, kept = (layer.graph.tensors[t] for t in (layer.op.inputs[0], layer.op.output))
        channels = whole.shape[0]
        each, new = whole.size // channels, (whole.size - kept.size) // channels
        name = f"keep_{channels}x{each}_{new}"
        text = render("push.c.j2", kind="keep", name=name, channels=channels, each=each, new=new)
        return Emission(f"{name}({layer.inputs[0]}, {layer.output});", [CFunction(name, text)])


@register
class SlideSums(Plain[QSlide]):
    """The new row's sums in the oldest one's place."""

    name = "slide"

    def cost(self, layer: Layer[QSlide]) -> float:
        ring = layer.op.ring
        return ring.channels * ((32.0 if ring.high_bits else 18.0) + 3.0 * ring.elements)

    def emit(self, layer: Layer[QSlide], table: Table) -> Emission:
        ring = layer.op.ring
        name = f"slide_{ring.rows}x{ring.channels}x{ring.elements}"
        text = render("push.c.j2", kind="slide", name=name, r=ring)
        return Emission(f"{name}({layer.inputs[1]}, {layer.output});", [CFunction(name, text)])


@register
class SlidingMean(Kernel[QSlidingMean, RequantizedTable]):
    """Sums so far and the new row's, requantized."""

    name = "sliding_mean"

    def table(self, layer: Layer[QSlidingMean]) -> RequantizedTable:
        return RequantizedTable.of(requantization(layer.prefix, layer.op.requant))

    def cost(self, layer: Layer[QSlidingMean]) -> float:
        ring = layer.op.ring
        return ring.channels * (14.0 + 3.0 * ring.elements)

    def emit(self, layer: Layer[QSlidingMean], table: RequantizedTable) -> Emission:
        ring = layer.op.ring
        name = f"sliding_mean_{ring.rows}x{ring.channels}x{ring.elements}"
        text = render("push.c.j2", kind="mean", name=name, r=ring, q=table.q)
        args = [*table.names, *layer.inputs, layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])
