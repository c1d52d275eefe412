"""Layers that move elements: padding, Flatten, Reshape."""

from __future__ import annotations

import numpy as np

from secateur.frontend.build import Builder, canonical

from .base import Layer, handles, refuse
from .geometry import image


@handles("ZeroPadding2D", "ZeroPadding1D")
def _zero_pad(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    h, w, c = image(b, layer, inputs[0])
    p = layer.config["padding"]
    if layer.kind == "ZeroPadding1D":
        left, r = (p, p) if isinstance(p, int) else (p[0], p[1])
        pads = (0, int(left), 0, int(r))
    else:
        y, x = (p, p) if isinstance(p, int) else p
        (t, bt), (left, r) = ((v, v) if isinstance(v, int) else v for v in (y, x))
        pads = (int(t), int(left), int(bt), int(r))
    shape = (h + pads[0] + pads[2], w + pads[1] + pads[3], c)
    return b.emit("zero_pad", layer.name, inputs, shape, {"pads": pads})


@handles("Flatten")
def _flatten(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    shape = b.shape(inputs[0])
    if len(shape) == 1:
        return inputs[0]
    return b.emit("flatten", layer.name, inputs, (int(np.prod(shape)),))


@handles("Reshape")
def _reshape(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    size = int(np.prod(b.shape(inputs[0])))
    target = [int(d) for d in layer.config["target_shape"]]
    if -1 in target:
        known = int(np.prod([d for d in target if d != -1]))
        target[target.index(-1)] = size // known
    if len(target) not in (1, 2, 3):
        raise refuse(
            layer, f"makes a tensor of shape {tuple(target)}", "use one to three dimensions"
        )
    shape = canonical(tuple(target))
    if shape == b.shape(inputs[0]):
        return inputs[0]
    if len(shape) == 1:
        return b.emit("flatten", layer.name, inputs, shape)
    return b.emit("reshape", layer.name, inputs, shape, {"shape": shape})
