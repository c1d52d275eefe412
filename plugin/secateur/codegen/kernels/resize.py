"""Bilinear resampling."""

from __future__ import annotations

from ...lowering.operators.resize import QResize
from ..emit import CArray, CFunction, Emission, render
from ..tables import Table
from .base import Kernel, Layer, register


@register
class Resize(Kernel[QResize, Table]):
    """Four neighbours and their weights for each pixel."""

    name = "resize"
    wide = True

    def cost(self, layer: Layer[QResize]) -> float:
        return 22.0 * layer.out_size

    def table(self, layer: Layer[QResize]) -> Table:
        sides = (("rows", layer.op.rows), ("columns", layer.op.columns))
        note = f"{layer.c_name}: taps"
        return Table(
            tuple(CArray(f"{layer.prefix}_{side}", "uint16_t", x, note) for side, x in sides)
        )

    def emit(self, layer: Layer[QResize], table: Table) -> Emission:
        op = layer.op
        t = layer.graph.tensors
        (c, h, w), (_, oh, ow) = t[op.inputs[0]].shape, t[op.output].shape
        name = f"resize_{h}x{w}_{oh}x{ow}_{c}"
        kind = layer.ctype(op.output)
        text = render(
            "resize.c.j2", name=name, c=c, h=h, w=w, oh=oh, ow=ow, kind=kind, bits=op.bits,
            word="uint32_t" if kind == "uint8_t" else "int64_t",
        )  # fmt: skip
        args = [*table.names, *layer.pointers]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])
