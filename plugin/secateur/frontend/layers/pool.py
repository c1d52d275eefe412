"""Pooling over windows and whole images."""

from __future__ import annotations

from typing import Any

from secateur.frontend.build import Builder

from .base import SourceLayer, handles, refuse
from .geometry import image, pair, sliding


def _pool(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    one_d = layer.kind.endswith("1D")
    h, w, _ = image(b, layer, inputs[0])
    window = pair(layer.config["pool_size"], one_d)
    strides, pads = sliding(layer, (h, w), window, one_d)
    op = "max_pool" if layer.kind.startswith("Max") else "avg_pool"
    attrs = {"window": window, "strides": strides, "pads": pads}
    return b.emit(op, layer.name, inputs, None, attrs)


handles("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D")(_pool)


@handles(
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"
)
def _global_pool(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    h, w, c = image(b, layer, inputs[0])
    op = "avg_pool" if "Average" in layer.kind else "max_pool"
    attrs = {"window": (h, w), "strides": (h, w), "pads": (0, 0, 0, 0)}
    y = b.emit(op, layer.name, inputs, (1, 1, c), attrs)
    if layer.config.get("keepdims"):
        return y
    return b.emit("flatten", f"{layer.name}_flatten", [y], (c,))


@handles(
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D",
    "AdaptiveMaxPooling1D", "AdaptiveMaxPooling2D",
)  # fmt: skip
def _adaptive(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    h, w, _ = image(b, layer, inputs[0])
    size: Any = pair(layer.config["output_size"], layer.kind.endswith("1D"))
    if h % size[0] or w % size[1]:
        raise refuse(
            layer, f"divides an image ({h}, {w}) into {size} windows of unequal size",
            "use a size that divides it",
        )  # fmt: skip
    window = (h // size[0], w // size[1])
    op = "max_pool" if "Max" in layer.kind else "avg_pool"
    attrs = {"window": window, "strides": window, "pads": (0, 0, 0, 0)}
    return b.emit(op, layer.name, inputs, None, attrs)
