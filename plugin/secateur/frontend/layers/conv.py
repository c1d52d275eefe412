"""Convolutions: plain, grouped, dilated, depthwise, separable, transposed."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.frontend.build import Builder

from .activation import activation
from .base import SourceLayer, handles, params, refuse, weight
from .geometry import Pads, image, pair, sliding

_POINT: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0)}


def _window_attrs(
    layer: SourceLayer, size: tuple[int, int], kernel: np.ndarray, one_d: bool
) -> dict[str, Any]:
    dilations = pair(layer.config.get("dilation_rate", 1), one_d)
    span = tuple((k - 1) * d + 1 for k, d in zip(kernel.shape[:2], dilations, strict=True))
    strides, pads = sliding(layer, size, (span[0], span[1]), one_d)
    attrs: dict[str, Any] = {"strides": strides, "pads": pads}
    if dilations != (1, 1):
        attrs["dilations"] = dilations
    return attrs


@handles("Conv2D", "Conv1D")
def _conv(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    one_d = layer.kind == "Conv1D"
    h, w, c = image(b, layer, inputs[0])
    kernel = weight(layer, "kernel")
    if one_d:
        kernel = kernel[None]
    attrs = _window_attrs(layer, (h, w), kernel, one_d)
    groups = int(layer.config.get("groups") or 1)
    if 1 < groups == c:  # output channels go group by group, as a depthwise convolution's do
        kernel = kernel.reshape(*kernel.shape[:2], c, kernel.shape[3] // c)
        y = b.emit("depthwise_conv2d", layer.name, inputs, None, attrs, params(layer, kernel))
    else:
        if groups > 1:
            attrs["groups"] = groups
        y = b.emit("conv2d", layer.name, inputs, None, attrs, params(layer, kernel))
    return activation(b, layer, y, layer.config.get("activation"))


@handles("DepthwiseConv2D", "DepthwiseConv1D")
def _depthwise(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    y = _depthwise_node(b, layer, layer.name, inputs, layer.kind.endswith("1D"), bias=True)
    return activation(b, layer, y, layer.config.get("activation"))


def _depthwise_node(
    b: Builder, layer: SourceLayer, name: str, inputs: list[str], one_d: bool, bias: bool
) -> str:
    h, w, c = image(b, layer, inputs[0])
    kernel = weight(layer, "depthwise_kernel", "kernel")
    if one_d:
        kernel = kernel[None]
    attrs = _window_attrs(layer, (h, w), kernel, one_d)
    # On one channel it is a convolution, its multiplier the number of filters.
    op = "conv2d" if c == 1 and kernel.shape[3] > 1 else "depthwise_conv2d"
    return b.emit(op, name, inputs, None, attrs, params(layer, kernel, bias))


@handles("SeparableConv2D", "SeparableConv1D")
def _separable(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    one_d = layer.kind.endswith("1D")
    name = f"{layer.name}_depthwise"
    y = _depthwise_node(b, layer, name, inputs, one_d, bias=False)
    point = weight(layer, "pointwise_kernel")
    point = point[None] if one_d else point
    y = b.emit("conv2d", layer.name, [y], None, _POINT, params(layer, point))
    return activation(b, layer, y, layer.config.get("activation"))


@handles("Conv2DTranspose", "Conv1DTranspose")
def _transposed(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    one_d = layer.kind == "Conv1DTranspose"
    h, w, _ = image(b, layer, inputs[0])
    kernel = weight(layer, "kernel")
    if one_d:
        kernel = kernel[None]
    c = layer.config
    strides, dilations = pair(c.get("strides", 1), one_d), pair(c.get("dilation_rate", 1), one_d)
    if int(c.get("groups") or 1) != 1:
        raise refuse(layer, f"has groups={c['groups']}", "use groups=1")
    if out is None:
        raise refuse(layer, "has an output of unknown size", "build the model first")
    size = (1, out[0]) if one_d else (out[0], out[1])
    attrs = transposed_attrs(
        (h, w), size, (kernel.shape[0], kernel.shape[1]), strides, dilations,
        str(c.get("padding", "valid")),
    )  # fmt: skip
    y = b.emit("conv2d_transpose", layer.name, inputs, None, attrs, params(layer, kernel))
    return activation(b, layer, y, c.get("activation"))


def transposed_attrs(
    size: tuple[int, int],
    out: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    padding: str,
) -> dict[str, Any]:
    """TensorFlow's transposed convolution: the gradient of one whose input had size `out`."""
    before, after, extra = [], [], []
    for n, m, k, s, d in zip(size, out, window, strides, dilations, strict=True):
        span = (k - 1) * d + 1
        whole = (n - 1) * s + span
        cut = max(whole - m, 0) // 2 if padding.lower() == "same" else 0
        before.append(cut)
        after.append(max(whole - cut - m, 0))
        extra.append(max(m + cut - whole, 0))
    pads: Pads = (before[0], before[1], after[0], after[1])
    attrs: dict[str, Any] = {"strides": strides, "pads": pads, "extra": tuple(extra)}
    if dilations != (1, 1):
        attrs["dilations"] = dilations
    return attrs
