"""Between bytes and bit planes."""

from __future__ import annotations

from ...lowering.qgraph import QPack
from ..emit import CFunction, Emission, render
from ..tables import Table
from .base import Layer, Plain, register
from .binary import toggles


@register
class Pack(Plain[QPack]):
    """A low-bit tensor from codes in bytes to bit planes, or back."""

    name = "pack"

    def reads(self, layer: Layer[QPack]) -> bool:
        return True

    def work(self, layer: Layer[QPack]) -> dict[str, float]:
        t = layer.graph.tensors[layer.op.output]
        what = "packed" if t.packed else "unpacked"
        return {what: float(t.size), f"{what}_bits": float(t.size * len(t.planes))}

    def emit(self, layer: Layer[QPack], table: Table) -> Emission:
        t = layer.graph.tensors[layer.op.output]
        channels, pixels = t.rows
        name = f"{'pack' if t.packed else 'unpack'}{len(t.planes)}_{channels}x{pixels}"
        # where every code has its planes as bits, a bit is at hand; else codes are compared
        even = t.planes == tuple(1 << k for k in range(len(t.planes)))
        shift = 1 if t.planes == (2,) else 0
        text = render(
            "pack.c.j2", name=name, channels=channels, pixels=pixels, t=t, even=even or shift,
            shift=shift, toggles=toggles(t.planes), codes=t.codes,
        )  # fmt: skip
        return Emission(f"{name}({layer.inputs[0]}, {layer.output});", [CFunction(name, text)])
