"""Fuse an Add (and its ReLU) into the convolution that makes one of its operands."""

from __future__ import annotations

from secateur.frontend.ir import Graph, Node
from secateur.lowering.rewrite import copy, keep_type, only_reader


def fuse_residual(graph: Graph) -> Graph:
    """The convolution gets the other operand as inputs[1] and runs where the Add stood."""
    g = copy(graph)
    for add in [n for n in g.nodes if n.op == "add"]:
        candidates = [g.node(t) for t in add.inputs if _fits(g, g.node(t), add)]
        if not candidates:
            continue
        conv = max(candidates, key=g.nodes.index)
        other = next(t for t in add.inputs if t != conv.output)
        conv.inputs = (conv.inputs[0], other)
        conv.output = add.output
        keep_type(conv, add)
        if "clamp" in add.attrs:
            conv.attrs["clamp"] = add.attrs["clamp"]
        g.nodes.remove(conv)
        g.nodes[g.nodes.index(add)] = conv
    return g


def _fits(g: Graph, node: Node, add: Node) -> bool:
    return (
        node.op == "conv2d"
        and not _depthwise(g, node)
        and not {"clamp", "levels"} & set(node.attrs)
        and len(node.inputs) == 1
        and only_reader(g, node.output) is add
        and all(g.node(t).shape == add.shape and g.node(t).op != "constant" for t in add.inputs)
    )


def _depthwise(g: Graph, conv: Node) -> bool:
    """Whether it filters each channel by itself: such kernels work plane by plane and take no
    residual."""
    return bool(1 < conv.attr("groups") == g.node(conv.inputs[0]).shape[2])
