"""Fold a low-bit activation into the weighted operator before it: integer thresholds a channel.

A sign is the low-bit activation of values -1 and 1 and the threshold 0.
"""

from __future__ import annotations

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.lowering.rewrite import WEIGHTED, copy, merge_into, only_reader

#: A level rises with its input, so it may be taken before a maximum or a change of shape.
_COMMUTING = ("max_pool", "flatten", "reshape")
#: Values, thresholds and basis of a sign.
SIGN = (np.array([-1.0, 1.0]), np.array([0.0]), np.array([2.0]))


def fold_levels(graph: Graph) -> Graph:
    """Sets attrs["levels"] of the operator before.

    Every sign becomes a quant_activation; one whose operand others read, or that nothing weighted
    makes, stays a node.
    """
    g = copy(graph)
    for node in g.nodes:
        if node.op == "sign":
            node.op = "quant_activation"
            node.attrs["levels"] = SIGN
    for node in [n for n in g.nodes if n.op == "quant_activation"]:
        direct = g.node(node.inputs[0])
        reader, producer = node, direct
        while only_reader(g, producer.output) is reader and producer.op in _COMMUTING:
            reader, producer = producer, g.node(producer.inputs[0])
        if only_reader(g, producer.output) is reader and _takes(producer):
            producer.attrs["levels"] = node.attrs["levels"]
            merge_into(g, direct, node)
    return g


def _takes(producer: Node) -> bool:
    return (
        producer.op in (*WEIGHTED, "batch_norm")
        and not {"clamp", "levels"} & set(producer.attrs)
        and len(producer.inputs) == 1
    )
