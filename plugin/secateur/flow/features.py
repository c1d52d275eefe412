"""Input features whose ranges differ by orders of magnitude: a scale for each of them.

One int8 scale takes the range of the largest feature, and the others may vary by less than a code.
Where the first layers read that, each feature gets a factor: the caller divides by it, and they
multiply.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from .. import names
from ..frontend.ir import Graph, Node

#: What a single scale must leave of the first layer's signal, and what factors must gain, in dB. A
#: normal distribution in 8 bits has about 40.
_LEAST_DB, _GAIN_DB = 30.0, 10.0
#: Share of a feature's values that tell its usual extent.
_USUAL = 0.999
_FIRST = ("dense", "conv2d", "depthwise_conv2d", "batch_norm")
#: A kernel of fewer different values than that for each weight is compressed, and stays as it is.
_VARIED = 0.5


@dataclass(frozen=True)
class Scaled:
    """A graph and calibration data whose features are divided by factors."""

    graph: Graph
    given: dict[str, np.ndarray]
    factors: dict[str, np.ndarray]  #: input -> float64 [channels]; only those that have them
    notes: list[str]


def scaled(graph: Graph, given: Mapping[str, np.ndarray], wide: bool = True) -> Scaled:
    """`graph` with factors where the calibration data `given` want them, said in a note.

    wide: whether a layer of 16 bits may be put in front of compressed weights, whose values factors
    would change. The arguments stay as they are.
    """
    out = Scaled(graph, dict(given), {}, [])
    for tensor, x in given.items():
        node = graph.node(tensor)
        if {"step", "range"} & set(node.attrs) or node.attr("dtype") not in ("float32",):
            continue
        if tensor in graph.outputs:
            continue
        bits = 16 if node.attrs.get("activations") == "int16" else 8
        readers = graph.consumers(tensor)
        weights = [_weight_of(graph, n, x.shape[-1]) for n in readers]
        columns = x.reshape(-1, x.shape[-1]).astype(np.float64)
        most = np.abs(columns).max(axis=0)
        if len(most) < 2 or not most.max() > 0:
            continue
        factors = np.where(most > 0, most / most.max(), 1.0)
        squares = _squares(weights, columns.var(axis=0))
        before = _db(columns, np.ones_like(factors), squares, bits)
        after = _db(columns, factors, squares, bits)
        if before >= _LEAST_DB or after < before + _GAIN_DB:
            continue
        # a few far samples are for the calibration method, not for a scale of that feature
        usual = np.quantile(np.abs(columns), _USUAL, axis=0)
        clipped = np.clip(columns, -usual, usual)
        if _db(clipped, np.ones_like(factors), squares, bits) >= _LEAST_DB:
            continue
        worst = int(np.argmin(np.where(most > 0, most, np.inf)))
        what = (
            f"input '{names.shown(tensor)}': its {len(most)} features go up to {most[worst]:.3g} "
            f"(feature {worst}) and {most.max():.3g}; with one scale for all, {bits} bits leave "
            f"{before:.0f} dB of what the first layer makes of them"
        )
        made = (
            None if any(w is None for w in weights) else _folded(out.graph, tensor, factors, wide)
        )
        if made is None:
            out.notes.append(
                f"{what}: scale them alike in training"
                + (", or use input_dtype='int16'" if bits == 8 else "")
            )
            continue
        out.notes.append(
            f"{what}. So each has a scale of its own ({after:.0f} dB), by which the caller "
            "divides: the generated header has them, and a function"
        )
        out.factors[tensor] = factors
        scaled_x = (x / factors).astype(np.float32)
        out = replace(out, graph=made, given={**out.given, tensor: scaled_x})
    return out


def _weight_of(graph: Graph, node: Node, channels: int) -> np.ndarray | None:
    """Sum of squares of what a first layer multiplies each feature by; None where it is none."""
    if node.op == "batch_norm":
        return np.square(node.params["scale"].astype(np.float64))
    if node.op not in _FIRST or len(node.inputs) != 1:
        return None
    k = np.square(node.params["kernel"].astype(np.float64))
    if node.op == "dense":
        return k.sum(axis=1) if len(k) == channels else None
    if node.op == "conv2d" and node.attr("groups") != 1:
        return None
    return k.sum(axis=(0, 1, 3))


def _squares(weights: list[np.ndarray | None], variance: np.ndarray) -> np.ndarray:
    """What all first layers make of each feature; all of them alike, where that is not known."""
    known = [w for w in weights if w is not None]
    if len(known) < len(weights):
        return np.where(variance > 0, 1 / np.maximum(variance, 1e-300), 0.0)
    return sum(known, np.zeros(len(variance)))


def _db(x: np.ndarray, factors: np.ndarray, squares: np.ndarray, bits: int) -> float:
    """Signal to noise of the first layer's sums, features taken as independent."""
    v = x / factors
    step = (max(v.max(), 0.0) - min(v.min(), 0.0)) / 255
    if bits == 16:
        step = np.abs(v).max() / 32767
    noise = float((squares * np.square(step * factors)).sum()) / 12
    signal = float((squares * x.var(axis=0)).sum())
    return 10 * np.log10(signal / noise) if noise and signal else np.inf


def _folded(graph: Graph, tensor: str, factors: np.ndarray, wide: bool) -> Graph | None:
    """`graph` for an input divided by `factors`."""
    nodes = []
    at = f"{tensor}_features"
    needed = False
    for n in graph.nodes:
        if tensor not in n.inputs:
            nodes.append(n)
            continue
        if n.op == "batch_norm":
            params = {**n.params, "scale": n.params["scale"] * factors.astype(np.float32)}
            nodes.append(replace(n, params=params))
            continue
        k = n.params["kernel"]
        if np.unique(k[k != 0]).size >= _VARIED * np.count_nonzero(k):
            along = factors[:, None] if n.op != "dense" or k.ndim == 2 else factors
            params = {**n.params, "kernel": (k * along).astype(np.float32)}
            nodes.append(replace(n, params=params))
            continue
        needed = True
        nodes.append(replace(n, inputs=(at, *n.inputs[1:])))
    if needed:
        if not wide:
            return None
        whole = {"scale": factors.astype(np.float32), "shift": np.zeros(len(factors), np.float32)}
        source = graph.node(tensor)
        attrs = {"activations": "int16", "parameters": 0}
        put = Node("batch_norm", at, (tensor,), at, source.shape, attrs, whole)
        i = next(i for i, n in enumerate(nodes) if n.output == tensor)
        nodes.insert(i + 1, put)
    return replace(graph, nodes=nodes)
