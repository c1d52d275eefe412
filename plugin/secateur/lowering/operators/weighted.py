"""Convolutions, Dense layers and lone normalisations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.frontend.ir import Node
from secateur.lowering.factored import factored
from secateur.lowering.lowerer import Lowering
from secateur.lowering.movement import QAlias
from secateur.lowering.qgraph import QConv, QDense, QTensor
from secateur.lowering.registry import lowers
from secateur.lowering.weights import QWeights, quantize_weights
from secateur.lowering.wide import maker


@lowers("conv2d", wide=True)
def _conv2d(lo: Lowering, node: Node) -> None:
    groups = int(node.attr("groups"))
    kernel = dilated(node.params["kernel"], node.attr("dilations"))
    channels = lo.shape(node.inputs[0])[2]
    if 1 < groups == channels:  # one input channel each: m filters for it
        kh, kw, _, co = kernel.shape
        _depthwise(lo, node, kernel.reshape(kh, kw, groups, co // groups))
        return
    convolve(lo, node, block_diagonal(kernel, groups).transpose(3, 2, 0, 1), groups=1)


@lowers("depthwise_conv2d", wide=True)
def _depthwise_conv2d(lo: Lowering, node: Node) -> None:
    _depthwise(lo, node, dilated(node.params["kernel"], node.attr("dilations")))


def _depthwise(lo: Lowering, node: Node, kernel: np.ndarray) -> None:
    """kernel: [kh, kw, c, m]."""
    kh, kw, c, m = kernel.shape
    if c == 1:
        convolve(lo, node, kernel.transpose(3, 2, 0, 1), groups=1)
        return
    if m > 1:  # the input's channels m times, so that each filter has its own
        h, w, _ = lo.shape(node.inputs[0])
        at = lo.addresses(node.inputs[0]).reshape(h, w, c)
        name = f"{node.name}_repeated"
        lo.shapes[name] = (h, w, c * m)
        repeat = Node("reshape", name, node.inputs, name, (h, w, c * m), {"shape": (h, w, c * m)})
        lo.view(repeat, at.repeat(m, axis=2).reshape(-1))
        node = replace(node, inputs=(name, *node.inputs[1:]))
    rows = kernel.reshape(kh, kw, c * m, 1).transpose(2, 3, 0, 1)
    convolve(lo, node, rows, groups=c * m)


def dilated(kernel: np.ndarray, dilations: tuple[int, int]) -> np.ndarray:
    """A kernel [kh, kw, ...] with zeros between its taps: sparse encodings do not store them."""
    dy, dx = dilations
    if (dy, dx) == (1, 1):
        return kernel
    kh, kw = kernel.shape[:2]
    wide = np.zeros(((kh - 1) * dy + 1, (kw - 1) * dx + 1, *kernel.shape[2:]), kernel.dtype)
    wide[::dy, ::dx] = kernel
    return wide


def block_diagonal(kernel: np.ndarray, groups: int) -> np.ndarray:
    """A grouped kernel [kh, kw, ci / groups, co] as one from all channels to all, zeros between."""
    if groups == 1:
        return kernel
    kh, kw, each, co = kernel.shape
    whole = np.zeros((kh, kw, each * groups, co), kernel.dtype)
    n = co // groups
    for g in range(groups):
        mine = slice(g * n, (g + 1) * n)
        whole[:, :, g * each : (g + 1) * each, mine] = kernel[..., mine]
    return whole


def _plain(node: Node) -> bool:
    """Whether a node's kernel is executed as it was trained: no zeros put in."""
    if node.op == "dense":
        return True
    m = node.params["kernel"].shape[3] if node.op == "depthwise_conv2d" else 1
    groups = node.attr("groups") if node.op == "conv2d" else 1
    return node.attr("dilations") == (1, 1) and groups == 1 and m == 1


def convolve(lo: Lowering, node: Node, rows: np.ndarray, groups: int) -> None:
    """Emit the convolution of operand 0 with kernels [co, ci / groups, kh, kw]."""
    _conv(lo, node, lo.image(node), rows, groups)


def _conv(lo: Lowering, node: Node, x: QTensor, rows: np.ndarray, groups: int) -> None:
    _, ci, kh, kw = rows.shape
    pair = node.attrs.get("factors") if _plain(node) else None
    flat = rows.reshape(len(rows), -1)
    made = factored(flat, pair, (ci, kh, kw), (kh * kw, kw, 1))
    weights = made[0] if made else quantize_weights(flat)
    residual = lo.image(node, 1) if len(node.inputs) > 1 else None
    y, requant, r = lo.weighted(node, x, weights, residual)
    _as_image(lo, node, y, (len(rows), *x.shape[1:]))
    names = (x.name,) if residual is None else (x.name, residual.name)
    lo.emit(
        QConv(
            node.name,
            names,
            y.name,
            weights.values.reshape(rows.shape),
            requant,
            node.attrs["strides"],
            node.attrs["pads"],
            groups,
            r,
            weights.bits,
            made[1] if made else None,
        )
    )


def _as_image(lo: Lowering, node: Node, y: QTensor, shape: tuple[int, ...]) -> None:
    """Declare `y` an image of `shape` (C, H, W) where `node` gives a tensor of another rank, as
    Dense does on the last of four axes: convolutions and chains count rows of images."""
    for name in {y.name, node.output} if len(y.shape) != 3 else ():
        lo.q.tensors[name] = replace(lo.q.tensors[name], shape=shape)


@lowers("dense", wide=True)
def _dense(lo: Lowering, node: Node) -> None:
    if len(lo.shape(node.inputs[0])) > 1:  # on the last axis of an image: a pointwise convolution
        x = lo.as_image(node)
        rows = node.params["kernel"].T
        attrs = {**node.attrs, "strides": (1, 1), "pads": (0, 0, 0, 0)}
        _conv(lo, replace(node, attrs=attrs), x, rows[:, :, None, None], groups=1)
        return
    x = lo.source(node)
    rows = node.params["kernel"].T
    at = lo.values[node.inputs[0]].at
    if at is not None:
        rows = rows[:, np.argsort(at)]
    dims, strides = (1, 1, rows.shape[1]), (0, 0, 1)
    if len(x.shape) == 3:
        c, h, w = x.shape
        dims, strides = (h, w, c), (w, 1, h * w)
    made = factored(rows, node.attrs.get("factors"), dims, strides)
    weights = made[0] if made else quantize_weights(rows)
    y, requant, _ = lo.weighted(node, x, weights, None)
    lo.emit(
        QDense(
            node.name,
            (x.name,),
            y.name,
            weights.values,
            requant,
            weights.bits,
            made[1] if made else None,
        )
    )


@lowers("batch_norm", wide=True)
def _batch_norm(lo: Lowering, node: Node) -> None:
    """A lone normalisation is a depthwise 1x1 convolution whose weights are all one."""
    scale, shift = node.params["scale"], node.params["shift"]
    if _alias(lo, node):
        return
    x = lo.image(node) if len(node.shape) == 1 else lo.as_image(node)
    weights = QWeights(np.ones((len(scale), 1), np.int8), np.ones(len(scale)), 1.0, "ternary")
    as_conv = replace(node, params={"factor": scale, "bias": shift})
    y, requant, _ = lo.weighted(as_conv, x, weights, None)
    _as_image(lo, node, y, x.shape)
    kernel = weights.values.reshape(-1, 1, 1, 1)
    lo.emit(
        QConv(node.name, (x.name,), y.name, kernel, requant, groups=len(scale), weight_bits=1.0)
    )


def _alias(lo: Lowering, node: Node) -> bool:
    """Whether one factor for all elements made the same codes another tensor's: at no cost."""
    a, b = (np.asarray(node.params[k], np.float64) for k in ("scale", "shift"))
    x = lo.q.tensors[lo.values[node.inputs[0]].sources[0]]
    if (
        not (a == a[0]).all() or not (b == b[0]).all() or a[0] <= 0
        or {"clamp", "levels", "range", "step"} & set(node.attrs)
        or x.planes or x.dtype == "int32" or x.wide != (node.output in lo.wide)
        or maker(lo.graph, node.inputs[0]).op != "input"
    ):  # fmt: skip
        return False
    scale = x.scale * float(a[0])
    zero = x.zero_point - float(b[0]) / scale
    if abs(zero - round(zero)) > 1e-3 or not x.bottom <= round(zero) <= x.top:
        return False
    if x.wide and round(zero):
        return False
    whole = lo.source(node)
    if (whole.scale, whole.zero_point) != (x.scale, x.zero_point):  # padded beyond its codes
        return False
    y = replace(whole, name=node.output, scale=scale, zero_point=round(zero))
    y = lo.elementwise(node, y)
    lo.emit(QAlias(node.name, (whole.name,), y.name))
    return True
