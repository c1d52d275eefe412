"""Layers that combine several tensors."""

from __future__ import annotations

import numpy as np

from secateur.frontend.build import Builder

from .activation import source_axis
from .base import SourceLayer, handles, refuse

_OPS = {
    "Add": "add", "Average": "add", "Multiply": "mul", "Maximum": "maximum",
    "Minimum": "minimum",
}  # fmt: skip


@handles(*_OPS)
def _merge(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    if len(inputs) < 2:
        raise refuse(layer, "combines one tensor alone", "give it two or more")
    y = inputs[0]
    for other in inputs[1:]:
        y = b.arithmetic(_OPS[layer.kind], layer.name, y, other)
    if layer.kind == "Average":
        y = b.affine(f"{layer.name}_mean", y, 1 / len(inputs), 0)
    return y


@handles("Subtract")
def _subtract(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    return b.arithmetic("sub", layer.name, inputs[0], inputs[1])


@handles("Concatenate")
def _concatenate(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    axis = source_axis(layer, layer.config.get("axis", -1), len(b.nominal(inputs[0])))
    return b.concat(layer.name, inputs, axis)


@handles("Dot")
def _dot(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    axes = layer.config["axes"]
    pair = list(axes) if isinstance(axes, list | tuple) else [axes, axes]
    first, second = inputs
    ranks = [len(b.nominal(t)) for t in inputs]
    places = [source_axis(layer, a, r) for a, r in zip(pair, ranks, strict=True)]
    if layer.config.get("normalize"):
        first, second = (
            b.emit("l2_norm", f"{layer.name}_{i}", [t], None, {"axes": (b.axis(t, p),)})
            for i, (t, p) in enumerate(zip((first, second), places, strict=True))
        )
    if ranks == [1, 1]:
        y = b.arithmetic("mul", layer.name, first, second)
        return b.reduce("sum", f"{layer.name}_sum", y, [0], keep=True)
    if ranks != [2, 2]:
        raise refuse(layer, f"multiplies tensors of ranks {ranks}", "use vectors or matrices")
    if places[0] == 0:
        first = b.transpose(f"{layer.name}_first", first, (1, 0))
    attrs = {"transpose_b": True} if places[1] == 1 else {}
    return b.emit("matmul", layer.name, [first, second], None, attrs)


def scaled_product(b: Builder, name: str, query: str, key: str, value: str, scale: float) -> str:
    """softmax(query x key^T * scale) x value, over the last two axes."""
    if scale != 1:
        query = b.affine(f"{name}_scale", query, np.float32(scale), 0)
    scores = b.emit("matmul", f"{name}_scores", [query, key], None, {"transpose_b": True})
    share = b.softmax(f"{name}_softmax", scores, -1)
    return b.emit("matmul", f"{name}_values", [share, value], None, {})
