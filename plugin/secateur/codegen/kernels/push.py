"""The rows that a network of a step keeps, the oldest first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from ...lowering.operators.stream import QAppend, QKeep, QPush, QSlide, QSlidingMean
from ..emit import CFunction, Emission, render
from ..requant import requantization
from ..tables import RequantizedTable, Table
from .base import Kernel, Layer, Plain, register

RowsOp = TypeVar("RowsOp", QPush, QAppend, QKeep)


class _Rows(Plain[RowsOp]):
    """Rows of every channel are moved; `name` is what the template calls it."""

    start = 12.0  #: instructions of a channel beside its bytes

    def cost(self, layer: Layer[RowsOp]) -> float:
        t = layer.graph.tensors[layer.op.output]
        return self.start * t.shape[0] + 1.2 * t.size

    def _emission(self, channels: int, whole: int, new: int, args: Sequence[str]) -> Emission:
        """whole, new: elements of all channels, with the new rows and of these alone."""
        each, new = whole // channels, new // channels
        name = f"{self.name}_{channels}x{each}_{new}"
        text = render("push.c.j2", kind=self.name, name=name, channels=channels, each=each, new=new)
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])


@register
class Push(_Rows[QPush]):
    """Each channel's rows move up by one; the new one takes the last place."""

    name = "push"

    def emit(self, layer: Layer[QPush], table: Table) -> Emission:
        kept, row = (layer.graph.tensors[t] for t in layer.op.inputs)
        return self._emission(kept.shape[0], kept.size, row.size, [layer.inputs[1], layer.output])


@register
class AppendRow(_Rows[QAppend]):
    """Each channel's kept rows, then its new one."""

    name = "append"

    def overwrites(self, layer: Layer[QAppend]) -> tuple[int, ...]:
        return (1,)  # the new rows, from the last channel to the first

    def emit(self, layer: Layer[QAppend], table: Table) -> Emission:
        whole, row = (layer.graph.tensors[t] for t in (layer.op.output, layer.op.inputs[1]))
        return self._emission(whole.shape[0], whole.size, row.size, [*layer.inputs, layer.output])


@register
class KeepRows(_Rows[QKeep]):
    """Each channel's rows but the oldest."""

    name = "keep"
    start = 8.0

    def emit(self, layer: Layer[QKeep], table: Table) -> Emission:
        whole, kept = (layer.graph.tensors[t] for t in (layer.op.inputs[0], layer.op.output))
        return self._emission(
            whole.shape[0], whole.size, whole.size - kept.size, [layer.inputs[0], layer.output]
        )


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
