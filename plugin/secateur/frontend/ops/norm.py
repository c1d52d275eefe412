"""Normalization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import REQUIRED, Array, Shape, ShapeError, channel_axis, check_axis, declare

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


def _per_channel(node: Node, shapes: list[Shape]) -> Shape:
    for name in node.params:
        channel_axis(node, name, shapes[0])
    return shapes[0]


@declare("batch_norm", _per_channel, params={"scale": "[c]", "shift": "[c]"})
def _batch_norm(node: Node, inputs: list[Array]) -> Array:
    """x * scale + shift for each channel (the last axis), moments folded in already.

    Also what multiplies by or adds constants of one value a channel.
    """
    p = node.params
    return inputs[0] * p["scale"].astype(np.float32) + p["shift"].astype(np.float32)


def _scaled(node: Node, y: Array) -> Array:
    for name, apply in (("scale", np.multiply), ("shift", np.add)):
        if name in node.params:
            y = apply(y, node.params[name].astype(np.float32))
    return y


def _norm_shape(node: Node, shapes: list[Shape]) -> Shape:
    shape = shapes[0]
    axes = node.attr("axes")
    if tuple(axes) != tuple(range(len(shape) - len(axes), len(shape))) or not axes:
        raise ShapeError(f"normalises axes {axes} of shape {shape}, not the last ones")
    for name, p in node.params.items():
        if p.shape != shape[-len(axes) :]:
            raise ShapeError(f"has {name} of shape {p.shape} for inputs of shape {shape}")
    return shape


_SCALED = {"scale": "[*normalised axes]?", "shift": "[*normalised axes]?"}


@declare("layer_norm", _norm_shape, attrs={"axes": REQUIRED, "epsilon": REQUIRED}, params=_SCALED)
def _layer_norm(node: Node, inputs: list[Array]) -> Array:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift over the last axes, `axes`."""
    x = inputs[0]
    axes = tuple(a + 1 for a in node.attrs["axes"])
    centred = x - x.mean(axis=axes, keepdims=True)
    variance = np.square(centred).mean(axis=axes, keepdims=True)
    return _scaled(node, centred / np.sqrt(variance + np.float32(node.attrs["epsilon"])))


@declare("rms_norm", _norm_shape, attrs={"axes": REQUIRED, "epsilon": REQUIRED}, params=_SCALED)
def _rms_norm(node: Node, inputs: list[Array]) -> Array:
    """x / sqrt(mean of squares + epsilon) * scale + shift over the last axes, `axes`."""
    x = inputs[0]
    axes = tuple(a + 1 for a in node.attrs["axes"])
    square = np.square(x).mean(axis=axes, keepdims=True)
    return _scaled(node, x / np.sqrt(square + np.float32(node.attrs["epsilon"])))


def _group_shape(node: Node, shapes: list[Shape]) -> Shape:
    if shapes[0][-1] % node.attr("groups"):
        raise ShapeError(f"divides {shapes[0][-1]} channels into {node.attr('groups')} groups")
    return _per_channel(node, shapes)


@declare(
    "group_norm",
    _group_shape,
    attrs={"groups": REQUIRED, "epsilon": REQUIRED},
    params={"scale": "[c]?", "shift": "[c]?"},
)
def _group_norm(node: Node, inputs: list[Array]) -> Array:
    """layer_norm over all positions and one group of neighbouring channels, scaled by channel.

    groups = c is instance normalization.
    """
    x, groups = inputs[0], node.attrs["groups"]
    v = x.reshape(len(x), -1, groups, x.shape[-1] // groups)
    centred = v - v.mean(axis=(1, 3), keepdims=True)
    variance = np.square(centred).mean(axis=(1, 3), keepdims=True)
    y = centred / np.sqrt(variance + np.float32(node.attrs["epsilon"]))
    return _scaled(node, y.reshape(x.shape))


def _axis_shape(node: Node, shapes: list[Shape]) -> Shape:
    for axis in node.attr("axes"):
        check_axis(axis, shapes[0])
    return shapes[0]


@declare("l2_norm", _axis_shape, attrs={"axes": REQUIRED, "epsilon": 1e-12})
def _l2_norm(node: Node, inputs: list[Array]) -> Array:
    """x / sqrt(max(sum of squares, epsilon)) over `axes`: vectors of length 1."""
    axes = tuple(a + 1 for a in node.attrs["axes"])
    square = np.square(inputs[0]).sum(axis=axes, keepdims=True)
    return inputs[0] / np.sqrt(np.maximum(square, np.float32(node.attr("epsilon"))))
