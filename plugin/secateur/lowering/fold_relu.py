"""Fold ReLU into the clamp of the operator before it, through operators it commutes with."""

from __future__ import annotations

from secateur.frontend.ir import Graph, Node
from secateur.lowering.rewrite import WEIGHTED, copy, merge_into, only_reader

_CLAMPING = (*WEIGHTED, "batch_norm", "add", "avg_pool")
_COMMUTING = ("max_pool", "flatten", "reshape", "zero_pad")


def fold_relu(graph: Graph) -> Graph:
    """Sets attrs["clamp"] = (0.0, cap or None); a ReLU whose operand others read stays a node."""
    g = copy(graph)
    for relu in [n for n in g.nodes if n.op == "relu"]:
        _from_zero(relu)
        direct = g.node(relu.inputs[0])
        reader, producer = relu, direct
        while only_reader(g, producer.output) is reader and producer.op in _COMMUTING:
            reader, producer = producer, g.node(producer.inputs[0])
        if producer.op not in _CLAMPING or only_reader(g, producer.output) is not reader:
            continue
        caps = [
            c for c in (producer.attrs.get("clamp", (0, None))[1], relu.attrs["max_value"]) if c
        ]
        producer.attrs["clamp"] = (0.0, min(caps) if caps else None)
        if "range" in relu.attrs:
            producer.attrs["range"] = relu.attrs["range"]
        _from_zero(producer)
        merge_into(g, direct, relu)
    return g


def _from_zero(node: Node) -> None:
    """A range that is fixed begins at 0 where nothing below comes out: the least code is the 0 that
    a clamp stops at."""
    if "range" in node.attrs:
        node.attrs["range"] = (0.0, node.attrs["range"][1])
