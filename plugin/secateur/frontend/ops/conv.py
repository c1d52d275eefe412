"""Convolutions. Kernels have Keras' layouts; images are (H, W, C)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import REQUIRED, Array, Shape, ShapeError, declare, image

if TYPE_CHECKING:
    from secateur.frontend.ir import Node

Pads = tuple[int, int, int, int]


def pad_image(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """`x` [N, H, W, C] with (top, left, bottom, right) more pixels of `value`."""
    t, left, b, r = pads
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (t, b), (left, r), (0, 0)), constant_values=value)


def windows(
    x: Array,
    window: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int] = (1, 1),
) -> Array:
    """[N, oh, ow, C, kh, kw] view of the windows of padded `x` [N, H, W, C]."""
    axes: Any = (1, 2)  # NumPy 1's stubs take one axis only
    span = tuple((k - 1) * d + 1 for k, d in zip(window, dilations, strict=True))
    v = np.lib.stride_tricks.sliding_window_view(x, span, axis=axes)
    return v[:, :: strides[0], :: strides[1], :, :: dilations[0], :: dilations[1]]


def affine(node: Node, y: Array, inputs: list[Array]) -> Array:
    """factor, bias and residual of a (fused) weighted operator; channels are last."""
    if "factor" in node.params:
        y = y * node.params["factor"].astype(np.float32)
    if "bias" in node.params:
        y = y + node.params["bias"].astype(np.float32)
    if len(inputs) > 1:
        y = y + inputs[1].reshape(y.shape)
    return y


def sliding_shape(node: Node, size: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
    """Output rows and columns of a window that slides over `size`."""
    t, left, b, r = node.attr("pads")
    if min(t, left, b, r) < 0:
        raise ShapeError(f"has the negative padding {(t, left, b, r)}")
    out = []
    dilations = node.attrs.get("dilations", (1, 1))
    if min(*window, *node.attr("strides"), *dilations) < 1:
        raise ShapeError(f"has a window {window} with strides or dilations below 1")
    for n, k, s, d, p in zip(
        size, window, node.attr("strides"), dilations, (t + b, left + r), strict=True
    ):
        out.append((n + p - (k - 1) * d - 1) // s + 1)
    if min(out) < 1:
        raise ShapeError(f"has a window {window} larger than its input {size}")
    return out[0], out[1]


def _conv_shape(node: Node, shapes: list[Shape]) -> Shape:
    h, w, c = image(shapes[0])
    kernel, groups = node.params["kernel"].shape, node.attr("groups")
    if len(kernel) != 4 or kernel[2] * groups != c or kernel[3] % groups:
        raise ShapeError(f"has a kernel {kernel} in {groups} groups for {c} channels")
    return (*sliding_shape(node, (h, w), (kernel[0], kernel[1])), kernel[3])


def _conv_macs(node: Node, shapes: list[Shape]) -> int:
    return int(np.prod(node.shape[:2])) * node.params["kernel"].size


_SLIDING = {"strides": REQUIRED, "pads": REQUIRED, "dilations": (1, 1)}


@declare(
    "conv2d",
    _conv_shape,
    operands=(1, 2),
    attrs={**_SLIDING, "groups": 1},
    params={"kernel": "[kh, kw, ci / groups, co]", "bias": "[co]?", "factor": "[co]?"},
    macs=_conv_macs,
)
def _conv2d(node: Node, inputs: list[Array]) -> Array:
    """Convolution of an image, 1-D ones as height 1.

    strides (sy, sx), pads (top, left, bottom, right) with zeros, dilations (dy, dx). Output
    channels go group by group.
    """
    kernel, groups = node.params["kernel"], node.attr("groups")
    kh, kw, ci, co = kernel.shape
    x = pad_image(inputs[0], node.attrs["pads"])
    w = windows(x, (kh, kw), node.attrs["strides"], node.attr("dilations"))
    n, oh, ow = w.shape[:3]
    parts = []
    for g in range(groups):
        cols = w[:, :, :, g * ci : (g + 1) * ci].reshape(n * oh * ow, ci * kh * kw)
        part = kernel[..., g * (co // groups) : (g + 1) * (co // groups)]
        parts.append(cols @ part.transpose(2, 0, 1, 3).reshape(ci * kh * kw, -1).astype(np.float32))
    y = parts[0] if groups == 1 else np.concatenate(parts, axis=1)
    return affine(node, y.reshape(n, oh, ow, co), inputs)


def _depthwise_shape(node: Node, shapes: list[Shape]) -> Shape:
    h, w, c = image(shapes[0])
    kernel = node.params["kernel"].shape
    if len(kernel) != 4 or kernel[2] != c:
        raise ShapeError(f"has a depthwise kernel {kernel} for {c} channels")
    return (*sliding_shape(node, (h, w), (kernel[0], kernel[1])), c * kernel[3])


@declare(
    "depthwise_conv2d",
    _depthwise_shape,
    operands=(1, 2),
    attrs=_SLIDING,
    params={"kernel": "[kh, kw, c, m]", "bias": "[c * m]?", "factor": "[c * m]?"},
    macs=_conv_macs,
)
def _depthwise(node: Node, inputs: list[Array]) -> Array:
    """m filters for each channel; output channel i * m + j is filter j of channel i.

    Attributes as conv2d's. m is 1 but for layers with a depth multiplier.
    """
    kernel = node.params["kernel"].astype(np.float32)
    kh, kw, c, m = kernel.shape
    (sy, sx), (dy, dx) = node.attrs["strides"], node.attr("dilations")
    x = pad_image(inputs[0], node.attrs["pads"])
    oh, ow = node.shape[:2]
    y = np.zeros((len(x), oh, ow, c, m) if m > 1 else (len(x), oh, ow, c), np.float32)
    for i in range(kh):
        for j in range(kw):
            part = x[:, i * dy : i * dy + oh * sy : sy, j * dx : j * dx + ow * sx : sx]
            part = part[:, :oh, :ow]
            y += part[..., None] * kernel[i, j] if m > 1 else part * kernel[i, j, :, 0]
    return affine(node, y.reshape(len(x), oh, ow, c * m), inputs)


def _transposed_shape(node: Node, shapes: list[Shape]) -> Shape:
    h, w, c = image(shapes[0])
    kernel, groups = node.params["kernel"].shape, node.attr("groups")
    if len(kernel) != 4 or kernel[3] != c or c % groups:
        raise ShapeError(f"has a kernel {kernel} in {groups} groups for {c} channels")
    (t, left, b, r), (ey, ex) = node.attr("pads"), node.attr("extra")
    (sy, sx), (dy, dx) = node.attr("strides"), node.attr("dilations")
    oh = (h - 1) * sy + (kernel[0] - 1) * dy + 1 + ey - t - b
    ow = (w - 1) * sx + (kernel[1] - 1) * dx + 1 + ex - left - r
    if min(oh, ow) < 1:
        raise ShapeError(f"makes an empty image ({oh}, {ow})")
    return (oh, ow, kernel[2] * groups)


def _transposed_macs(node: Node, shapes: list[Shape]) -> int:
    return int(np.prod(shapes[0][:2])) * node.params["kernel"].size


@declare(
    "conv2d_transpose",
    _transposed_shape,
    attrs={**_SLIDING, "extra": (0, 0), "groups": 1},
    params={"kernel": "[kh, kw, co / groups, ci]", "bias": "[co]?", "factor": "[co]?"},
    macs=_transposed_macs,
)
def _conv2d_transpose(node: Node, inputs: list[Array]) -> Array:
    """Transposed convolution: input pixel (y, x) adds its kernel at (y * sy, x * sx).

    Of the sum, `pads` (top, left, bottom, right) rows and columns are cut off, behind `extra`
    (rows, columns) of zeros that were added at its bottom and right.
    """
    kernel, groups = node.params["kernel"].astype(np.float32), node.attr("groups")
    kh, kw, co, c = kernel.shape
    ci = c // groups
    x = inputs[0]
    n, h, w = x.shape[:3]
    (sy, sx), (dy, dx) = node.attrs["strides"], node.attr("dilations")
    (t, left, _, _), (oh, ow, _) = node.attrs["pads"], node.shape
    # rows and columns past the sum: `extra`, and what a window reaches beyond the cut
    full = np.zeros(
        (n, max(t + oh, (h - 1) * sy + (kh - 1) * dy + 1),
         max(left + ow, (w - 1) * sx + (kw - 1) * dx + 1), co * groups), np.float32,
    )  # fmt: skip
    for g in range(groups):
        flat = x[..., g * ci : (g + 1) * ci].reshape(-1, ci)
        out = full[..., g * co : (g + 1) * co]
        for i in range(kh):
            for j in range(kw):
                part = flat @ kernel[i, j, :, g * ci : (g + 1) * ci].T
                rows = slice(i * dy, i * dy + (h - 1) * sy + 1, sy)
                columns = slice(j * dx, j * dx + (w - 1) * sx + 1, sx)
                out[:, rows, columns] += part.reshape(n, h, w, co)
    return affine(node, full[:, t : t + oh, left : left + ow], inputs)
