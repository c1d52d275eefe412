"""Fully connected layers."""

from __future__ import annotations

from secateur.frontend.build import Builder

from .activation import activation
from .base import Layer, handles, params, weight


@handles("Dense")
def _dense(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    kernel = weight(layer, "kernel")
    shape = b.shape(inputs[0])
    if len(shape) == 3:  # Keras applies Dense along the last axis: a pointwise convolution
        y = b.emit(
            "conv2d",
            layer.name,
            inputs,
            (*shape[:2], kernel.shape[1]),
            {"strides": (1, 1), "pads": (0, 0, 0, 0)},
            params(layer, kernel[None, None]),
        )
    else:
        y = b.emit("dense", layer.name, inputs, (kernel.shape[1],), {}, params(layer, kernel))
    return activation(b, layer, y, layer.config.get("activation"))
