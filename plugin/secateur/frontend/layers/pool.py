"""Pooling over windows and whole images."""

from __future__ import annotations

from secateur.frontend.build import Builder

from .base import Layer, handles
from .geometry import image, pair, sliding, window_shape


def _pool(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    one_d = layer.kind.endswith("1D")
    h, w, c = image(b, layer, inputs[0])
    window = pair(layer.config["pool_size"], one_d)
    strides, pads = sliding(layer, (h, w), window, one_d)
    oh, ow = window_shape((h, w), window, strides, pads)
    op = "max_pool" if layer.kind.startswith("Max") else "avg_pool"
    attrs = {"window": window, "strides": strides, "pads": pads}
    return b.emit(op, layer.name, inputs, (oh, ow, c), attrs)


handles("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D")(_pool)


@handles(
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"
)
def _global_pool(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    h, w, c = image(b, layer, inputs[0])
    op = "avg_pool" if "Average" in layer.kind else "max_pool"
    attrs = {"window": (h, w), "strides": (h, w), "pads": (0, 0, 0, 0)}
    y = b.emit(op, layer.name, inputs, (1, 1, c), attrs)
    if layer.config.get("keepdims"):
        return y
    return b.emit("flatten", f"{layer.name}_flatten", [y], (c,))
