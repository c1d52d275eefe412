"""Small surgery on float graphs, shared by the passes. Passes never change their argument."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.frontend.ir import Graph, Node

#: Operators with a kernel, a per-channel factor and a bias.
WEIGHTED = ("conv2d", "depthwise_conv2d", "dense")


def copy(graph: Graph) -> Graph:
    """A graph whose nodes and attribute dictionaries may be changed freely; arrays are shared."""
    nodes = [replace(n, attrs=dict(n.attrs), params=dict(n.params)) for n in graph.nodes]
    return replace(graph, nodes=nodes)


def redirect(graph: Graph, old: str, new: str) -> None:
    """Make every reader of tensor `old` (the model's outputs included) read `new`."""
    for n in graph.nodes:
        n.inputs = tuple(new if t == old else t for t in n.inputs)
    graph.outputs = tuple(new if t == old else t for t in graph.outputs)


def only_reader(graph: Graph, tensor: str) -> Node | None:
    """The one node that reads `tensor`, once, if it is no output of the model as well."""
    readers = [n for n in graph.nodes for t in n.inputs if t == tensor]
    return readers[0] if len(readers) == 1 and tensor not in graph.outputs else None


def merge_into(graph: Graph, producer: Node, node: Node) -> None:
    """Remove `node`; `producer` now makes its output under its name."""
    graph.nodes.remove(node)
    producer.output = node.output
    keep_type(producer, node)
    extra = node.attrs.get("parameters")
    if extra:
        merged = dict(producer.attrs.get("merged", {}))
        merged.update(node.attrs.get("merged", {}))
        merged[node.name] = extra
        producer.attrs["merged"] = merged


def keep_type(node: Node, other: Node) -> None:
    """Whichever of two nodes that become one has been asked for a type: `node` keeps it."""
    node.attrs |= {k: other.attrs[k] for k in ("activations", "step") if k in other.attrs}


def sweep(graph: Graph) -> Graph:
    """Remove nodes whose output nobody reads."""
    live = {*graph.outputs, *graph.inputs}
    kept: list[Node] = []
    for n in reversed(graph.nodes):
        if n.output in live:
            kept.append(n)
            live.update(n.inputs)
    graph.nodes = kept[::-1]
    return graph


def one_value(array: np.ndarray) -> float | None:
    """What every element of an array is; None where they differ."""
    first = array.flat[0]
    return float(first) if np.all(array == first) else None
