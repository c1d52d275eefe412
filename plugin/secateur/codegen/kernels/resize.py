"""Bilinear resampling."""

from __future__ import annotations

from ...lowering.operators.resize import QResize
from ..emit import CArray, CFunction, Emission, render
from .base import Kernel, Layer, register


@register
class Resize(Kernel):
    """Four neighbours and their weights for each pixel."""

    name = "resize"

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QResize)

    def cost(self, layer: Layer) -> float:
        return 22.0 * layer.graph.tensors[layer.op.output].size

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QResize)
        t = layer.graph.tensors
        (c, h, w), (_, oh, ow) = t[op.inputs[0]].shape, t[op.output].shape
        arrays = [
            CArray(f"{layer.prefix}_{side}", "uint16_t", taps, f"{layer.c_name}: taps")
            for side, taps in (("rows", op.rows), ("columns", op.columns))
        ]
        name = f"resize_{h}x{w}_{oh}x{ow}_{c}"
        text = render("resize.c.j2", name=name, c=c, h=h, w=w, oh=oh, ow=ow)
        call = f"{name}({arrays[0].name}, {arrays[1].name}, {layer.inputs[0]}, {layer.output});"
        return Emission(call, [CFunction(name, text)], arrays)
