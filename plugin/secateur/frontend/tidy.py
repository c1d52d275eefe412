"""Passes every front end ends with: constants folded, reshapes merged, transposes cancelled.

Each leaves the graph's function unchanged. Graphs without constants, transposes or reshapes in a
row come out as they went in.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.frontend.layout import cancel_transposes
from secateur.frontend.ops import OPS

_LAYOUTS = ("reshape", "flatten")


def tidy(graph: Graph) -> Graph:
    """All passes."""
    g = _copy(graph)
    g = fold_constants(g)
    g = merge_reshapes(g)
    g = cancel_transposes(g)
    g = merge_reshapes(fold_constants(g))
    return drop_dead(shorten(g))


def _copy(graph: Graph) -> Graph:
    nodes = [replace(n, attrs=dict(n.attrs), params=dict(n.params)) for n in graph.nodes]
    return replace(graph, nodes=nodes)


def _redirect(graph: Graph, old: str, new: str) -> None:
    for n in graph.nodes:
        n.inputs = tuple(new if t == old else t for t in n.inputs)
    graph.outputs = tuple(new if t == old else t for t in graph.outputs)


def drop_dead(graph: Graph) -> Graph:
    """Constants, layout changes and a layer's second outputs that nobody reads go; other nodes are
    lowering's to judge."""
    kept: list[Node] = []
    read = set(graph.outputs)
    for n in reversed(graph.nodes):
        if n.output in read or n.op not in ("constant", "transpose", "cell_state", *_LAYOUTS):
            kept.append(n)
            read.update(n.inputs)
    graph.nodes = kept[::-1]
    return graph


def fold_constants(graph: Graph) -> Graph:
    """Nodes whose operands are all constant become constants."""
    values = {n.output: n.params["value"] for n in graph.nodes if n.op == "constant"}
    for i, n in enumerate(graph.nodes):
        if n.inputs and all(t in values for t in n.inputs):
            y = OPS[n.op].run(n, [values[t][None] for t in n.inputs])
            values[n.output] = np.ascontiguousarray(y.reshape(n.shape))
            graph.nodes[i] = Node(
                "constant", n.name, (), n.output, n.shape, {}, {"value": values[n.output]}
            )
    return graph


def merge_reshapes(graph: Graph) -> Graph:
    """A reshape of a reshape is one; one that changes nothing is none."""
    made = {n.output: n for n in graph.nodes}
    for n in list(graph.nodes):
        if n.op not in _LAYOUTS:
            continue
        source = made[n.inputs[0]]
        while source.op in _LAYOUTS:
            n.inputs = source.inputs
            source = made[n.inputs[0]]
        if source.shape == n.shape:
            if n.output in graph.outputs and source.output in (*graph.outputs, *graph.inputs):
                continue
            graph.nodes.remove(n)
            _redirect(graph, n.output, source.output)
    return graph


def shorten(graph: Graph) -> Graph:
    """Arithmetic with one constant a channel becomes batch_norm; means of whole images, pools."""
    values = {n.output: n.params["value"] for n in graph.nodes if n.op == "constant"}
    for i, n in enumerate(graph.nodes):
        if n.op == "reduce":
            graph.nodes[i] = _as_pool(n, graph.node(n.inputs[0]).shape)
        if n.op not in ("add", "sub", "mul", "div"):
            continue
        which = [j for j in (0, 1) if n.inputs[j] in values]
        if len(which) != 1 or (which[0] == 0 and n.op in ("sub", "div")):
            continue
        value = values[n.inputs[which[0]]].astype(np.float32)
        c = n.shape[-1]
        other = graph.node(n.inputs[1 - which[0]])
        if other.shape != n.shape or value.size not in (1, value.shape[-1]):
            continue
        if value.shape[-1] not in (1, c) or (n.op == "div" and not value.all()):
            continue
        v = np.broadcast_to(value.ravel(), (c,))
        one, zero = np.ones(c, np.float32), np.zeros(c, np.float32)
        scale = v if n.op == "mul" else 1 / v if n.op == "div" else one
        shift = v if n.op == "add" else -v if n.op == "sub" else zero
        graph.nodes[i] = Node(
            "batch_norm", n.name, (other.output,), n.output, n.shape, n.attrs,
            {"scale": np.ascontiguousarray(scale), "shift": np.ascontiguousarray(shift)},
        )  # fmt: skip
    return graph


def _as_pool(n: Node, shape: tuple[int, ...]) -> Node:
    """A mean or maximum over all pixels of an image as a pool of one window."""
    op = {"mean": "avg_pool", "max": "max_pool"}.get(n.attrs["function"])
    pixels = {0, 1} - {i for i in (0, 1) if len(shape) == 3 and shape[i] == 1}
    if op is None or len(shape) != 3 or not pixels <= set(n.attrs["axes"]) <= {0, 1}:
        return n
    attrs = {k: v for k, v in n.attrs.items() if k not in ("function", "axes")}
    attrs |= {"window": shape[:2], "strides": shape[:2], "pads": (0, 0, 0, 0)}
    return Node(op, n.name, n.inputs, n.output, n.shape, attrs)
