"""Fold a sign into the weighted operator before it: one integer threshold a channel."""

from __future__ import annotations

from secateur.frontend.ir import Graph
from secateur.lowering.rewrite import WEIGHTED, copy, merge_into, only_reader


def fold_sign(graph: Graph) -> Graph:
    """Sets attrs["sign"]; a sign whose operand others read, or nothing weighted makes, stays."""
    g = copy(graph)
    for sign in [n for n in g.nodes if n.op == "sign"]:
        producer = g.node(sign.inputs[0])
        if producer.op not in (*WEIGHTED, "batch_norm") or "clamp" in producer.attrs:
            continue
        if only_reader(g, producer.output) is sign:
            producer.attrs["sign"] = True
            merge_into(g, producer, sign)
    return g
