"""Convolutions: plain, depthwise, separable."""

from __future__ import annotations

from secateur.frontend.build import Builder

from .activation import activation
from .base import Layer, handles, params, refuse, weight
from .geometry import image, sliding, window_shape


def _check_conv(layer: Layer) -> None:
    c = layer.config
    dilation = c.get("dilation_rate", 1)
    if any(d != 1 for d in (dilation if isinstance(dilation, list | tuple) else [dilation])):
        raise refuse(layer, f"has dilation_rate={dilation}", "use dilation_rate=1")
    if c.get("groups", 1) != 1:
        raise refuse(layer, f"has groups={c['groups']}", "use DepthwiseConv2D or groups=1")
    if c.get("depth_multiplier", 1) not in (1, None):
        raise refuse(
            layer, f"has depth_multiplier={c['depth_multiplier']}", "use depth_multiplier=1"
        )


@handles("Conv2D", "Conv1D")
def _conv(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    _check_conv(layer)
    one_d = layer.kind == "Conv1D"
    h, w, _ = image(b, layer, inputs[0])
    kernel = weight(layer, "kernel")
    if one_d:
        kernel = kernel[None]
    window = (kernel.shape[0], kernel.shape[1])
    strides, pads = sliding(layer, (h, w), window, one_d)
    oh, ow = window_shape((h, w), window, strides, pads)
    y = b.emit(
        "conv2d",
        layer.name,
        inputs,
        (oh, ow, kernel.shape[3]),
        {"strides": strides, "pads": pads},
        params(layer, kernel),
    )
    return activation(b, layer, y, layer.config.get("activation"))


@handles("DepthwiseConv2D", "DepthwiseConv1D")
def _depthwise(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    _check_conv(layer)
    y = _depthwise_node(b, layer, layer.name, inputs, layer.kind.endswith("1D"), bias=True)
    return activation(b, layer, y, layer.config.get("activation"))


def _depthwise_node(
    b: Builder, layer: Layer, name: str, inputs: list[str], one_d: bool, bias: bool
) -> str:
    h, w, c = image(b, layer, inputs[0])
    kernel = weight(layer, "depthwise_kernel", "kernel")
    if one_d:
        kernel = kernel[None]
    window = (kernel.shape[0], kernel.shape[1])
    strides, pads = sliding(layer, (h, w), window, one_d)
    oh, ow = window_shape((h, w), window, strides, pads)
    attrs = {"strides": strides, "pads": pads}
    weights = params(layer, kernel, bias)
    return b.emit("depthwise_conv2d", name, inputs, (oh, ow, c), attrs, weights)


@handles("SeparableConv2D", "SeparableConv1D")
def _separable(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    _check_conv(layer)
    one_d = layer.kind.endswith("1D")
    name = f"{layer.name}_depthwise"
    y = _depthwise_node(b, layer, name, inputs, one_d, bias=False)
    point = weight(layer, "pointwise_kernel")
    point = point[None] if one_d else point
    y = b.emit(
        "conv2d",
        layer.name,
        [y],
        (*b.shape(y)[:2], point.shape[3]),
        {"strides": (1, 1), "pads": (0, 0, 0, 0)},
        params(layer, point),
    )
    return activation(b, layer, y, layer.config.get("activation"))
