"""Fold a normalisation of the model's input (Rescaling, Normalization) into the layer behind it."""

from __future__ import annotations

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.lowering.rewrite import copy, only_reader

#: Scales of features further apart than that would take bits from the small ones' weights.
_APART = 4.0
#: A kernel of fewer different values than that for each weight is compressed.
_VARIED = 0.5


def fold_input(graph: Graph) -> Graph:
    """W * (a x + b) becomes (W a) * x + W b, where the layer pads nothing or b is 0.

    One scale without a shift stays a node, which costs nothing: it is another scale of the same
    codes. So does one by which compressed weights would get other values than they have.
    """
    g = copy(graph)
    for norm in [n for n in g.nodes if n.op == "batch_norm"]:
        if g.node(norm.inputs[0]).op != "input":
            continue
        layer = only_reader(g, norm.output)
        if layer is None or layer.inputs[0] != norm.output or not _takes(layer, norm):
            continue
        a, b = (norm.params[k].astype(np.float64) for k in ("scale", "shift"))
        kernel = layer.params["kernel"].astype(np.float64)
        rows = kernel if layer.op == "dense" else kernel.sum(axis=(0, 1))
        depthwise = layer.op == "depthwise_conv2d"
        shift = (rows * b[:, None]).reshape(-1) if depthwise else b @ rows
        along = a[:, None]
        layer.params["kernel"] = (kernel * along).astype(np.float32)
        bias = layer.params.get("bias", np.zeros(len(shift))).astype(np.float64)
        if shift.any() or "bias" in layer.params:
            layer.params["bias"] = (bias + shift).astype(np.float32)
        layer.inputs = (norm.inputs[0], *layer.inputs[1:])
        own = norm.attrs.get("parameters")
        if own:
            layer.attrs["merged"] = {**layer.attrs.get("merged", {}), norm.name: own}
        g.nodes.remove(norm)
    return g


def _takes(layer: Node, norm: Node) -> bool:
    a, b = norm.params["scale"], norm.params["shift"]
    alike = bool((a == a[0]).all())
    if {"clamp", "levels", "activations", "step", "range"} & set(norm.attrs):
        return False
    if layer.op not in ("conv2d", "depthwise_conv2d", "dense") or "factors" in layer.attrs:
        return False
    if layer.op == "conv2d" and layer.attr("groups") != 1:
        return False
    if b.any() and layer.op != "dense" and any(layer.attrs["pads"]):
        return False
    if alike:
        return bool(b.any()) and a[0] != 0
    k = layer.params["kernel"]
    varied = np.unique(k[k != 0]).size >= _VARIED * np.count_nonzero(k)
    near = np.abs(a).min() > 0 and np.abs(a).max() <= _APART * np.abs(a).min()
    return bool(varied and near)
