"""Layers that combine several tensors."""

from __future__ import annotations

from secateur.frontend.build import Builder

from .base import Layer, handles, refuse


@handles("Add")
def _add(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    shapes = [b.shape(t) for t in inputs]
    if len(inputs) < 2 or len(set(shapes)) != 1:
        what = f"adds tensors of shapes {', '.join(map(str, shapes))}"
        raise refuse(layer, what, "add two or more tensors of one shape")
    y = inputs[0]
    for other in inputs[1:]:
        y = b.emit("add", layer.name, [y, other], shapes[0])
    return y
