"""Windows, strides and padding of convolutions and pools."""

from __future__ import annotations

from typing import Any

from secateur.errors import ModelError
from secateur.frontend.build import Builder

from .base import SourceLayer, refuse

Pads = tuple[int, int, int, int]


def _must_slide(window: tuple[int, int], strides: tuple[int, int]) -> None:
    if min(*window, *strides) < 1:
        raise ModelError(
            f"a window of {window[0]}x{window[1]} cannot move by strides of {strides[0]} and "
            f"{strides[1]}; both are at least 1"
        )


def resolve_padding(
    padding: str, size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int]
) -> Pads:
    """TensorFlow's explicit (top, left, bottom, right) for 'same' or 'valid'."""
    _must_slide(window, strides)
    if padding.lower() == "valid":
        return (0, 0, 0, 0)
    (t, b), (left, r) = (
        (p // 2, p - p // 2)
        for p in (
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(size, window, strides, strict=True)
        )
    )
    return (t, left, b, r)


def window_shape(
    size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int], pads: Pads
) -> tuple[int, int]:
    """Output height and width of a sliding window. ModelError where it cannot slide."""
    _must_slide(window, strides)
    h = (size[0] + pads[0] + pads[2] - window[0]) // strides[0] + 1
    w = (size[1] + pads[1] + pads[3] - window[1]) // strides[1] + 1
    return h, w


def image(b: Builder, layer: SourceLayer, tensor: str) -> tuple[int, int, int]:
    """(H, W, C) of `tensor`; ModelError where it is a vector."""
    shape = b.shape(tensor)
    if len(shape) != 3:
        raise refuse(layer, f"gets a vector of shape {shape}", "give it an image or a sequence")
    return shape[0], shape[1], shape[2]


def pair(value: Any, one_d: bool) -> tuple[int, int]:
    """A Keras size argument as (y, x); 1-D layers act along x."""
    values = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    if one_d:
        return 1, values[0]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def sliding(
    layer: SourceLayer, size: tuple[int, int], window: tuple[int, int], one_d: bool
) -> tuple[tuple[int, int], Pads]:
    """Strides and pads of a convolution or pooling layer."""
    c = layer.config
    strides = c.get("strides")
    stride = window if strides is None else pair(strides, one_d)
    if one_d:
        stride = (1, stride[1])
    padding = c.get("padding", "valid")
    pads = (
        (0, window[1] - 1, 0, 0)
        if padding == "causal"
        else resolve_padding(padding, size, window, stride)
    )
    if min(window_shape(size, window, stride, pads)) < 1:
        raise refuse(layer, f"has a window {window} larger than its input {size}", "shrink it")
    return stride, pads
