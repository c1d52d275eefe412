"""Fold batch normalisation into the per-channel factor and bias of the operator before it.

The factor ends up in the requantization multiplier, never in a weight: a ternary layer stays
ternary and a codebook stays one codebook.
"""

from __future__ import annotations

import numpy as np

from secateur.frontend.ir import Graph
from secateur.lowering.rewrite import WEIGHTED, copy, merge_into, only_reader


def fold_norm(graph: Graph) -> Graph:
    """y = norm(op(x) * factor + bias) becomes y = op(x) * factor' + bias' (float64 [channels])."""
    g = copy(graph)
    for norm in [n for n in g.nodes if n.op == "batch_norm"]:
        producer = g.node(norm.inputs[0])
        if producer.op not in WEIGHTED or "clamp" in producer.attrs:
            continue
        if only_reader(g, producer.output) is not norm:
            continue
        scale = norm.params["scale"].astype(np.float64)
        shift = norm.params["shift"].astype(np.float64)
        p = producer.params
        p["factor"] = scale * p.get("factor", np.ones_like(scale))
        p["bias"] = p.get("bias", np.zeros_like(scale)).astype(np.float64) * scale + shift
        merge_into(g, producer, norm)
    return g
