"""Convolutions, Dense layers and lone normalisations."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.lowering.factored import factored
from secateur.lowering.lowerer import Lowering
from secateur.lowering.qgraph import QConv, QDense, QTensor
from secateur.lowering.registry import limits, lowers
from secateur.lowering.weights import QWeights, quantize_weights


@limits("conv2d", "depthwise_conv2d")
def _plain_window(graph: Graph, node: Node) -> tuple[str, str] | None:
    if node.attr("dilations") != (1, 1):
        return (f"has dilation {node.attr('dilations')}, which has no integer form yet",
                "use dilation_rate=1")  # fmt: skip
    if node.op == "conv2d" and node.attr("groups") != 1:
        return (f"has groups={node.attr('groups')}, which has no integer form yet",
                "use DepthwiseConv2D or groups=1")  # fmt: skip
    if node.op == "depthwise_conv2d" and node.params["kernel"].shape[3] != 1:
        m = node.params["kernel"].shape[3]
        return f"has depth_multiplier={m}, which has no integer form yet", "use depth_multiplier=1"
    return None


@limits("dense")
def _dense_on_vectors(graph: Graph, node: Node) -> tuple[str, str] | None:
    shape = graph.node(node.inputs[0]).shape
    if len(shape) != 1:
        return f"acts on a tensor of shape {shape}, which has no integer form yet", "flatten it"
    return None


@lowers("conv2d")
def _conv2d(lo: Lowering, node: Node) -> None:
    x = lo.image(node)
    rows = node.params["kernel"].transpose(3, 2, 0, 1)
    _conv(lo, node, x, rows, groups=1)


@lowers("depthwise_conv2d")
def _depthwise_conv2d(lo: Lowering, node: Node) -> None:
    x = lo.image(node)
    rows = node.params["kernel"].transpose(2, 3, 0, 1)
    _conv(lo, node, x, rows, groups=len(rows))


def _conv(lo: Lowering, node: Node, x: QTensor, rows: np.ndarray, groups: int) -> None:
    _, ci, kh, kw = rows.shape
    pair = node.attrs.get("factors")
    flat = rows.reshape(len(rows), -1)
    made = factored(flat, pair, (ci, kh, kw), (kh * kw, kw, 1))
    weights = made[0] if made else quantize_weights(flat)
    residual = lo.image(node, 1) if len(node.inputs) > 1 else None
    y, requant, r = lo.weighted(node, x, weights, residual)
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


@lowers("dense")
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


@lowers("batch_norm")
def _batch_norm(lo: Lowering, node: Node) -> None:
    """A lone normalisation is a depthwise 1x1 convolution whose weights are all one."""
    scale, shift = node.params["scale"], node.params["shift"]
    x = lo.image(node)
    weights = QWeights(np.ones((len(scale), 1), np.int8), np.ones(len(scale)), 1.0, "ternary")
    as_conv = replace(node, params={"factor": scale, "bias": shift})
    y, requant, _ = lo.weighted(as_conv, x, weights, None)
    for name in {y.name, node.output} if len(y.shape) == 1 else ():
        lo.q.tensors[name] = replace(lo.q.tensors[name], shape=x.shape)
    kernel = weights.values.reshape(-1, 1, 1, 1)
    lo.emit(
        QConv(node.name, (x.name,), y.name, kernel, requant, groups=len(scale), weight_bits=1.0)
    )
