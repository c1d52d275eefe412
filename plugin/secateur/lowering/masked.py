"""Scores under a mask: what a softmax makes nothing of takes no codes.

A mask adds -10,000 to the scores of keys that a query shall not see. As part of the range of the
sum that leaves 39 between two codes, and every key that is seen would weigh the same. Some
e^-16 below the least score nothing is left in 8 or 16 bits, so the codes end there.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from secateur.frontend.ir import Graph
from secateur.lowering.calibrate import Range
from secateur.lowering.rewrite import only_reader

#: Constants below this hide a key, whatever its score.
HIDDEN = -1000.0
#: How far below the least score codes reach.
ROOM = 16.0


def under_masks(graph: Graph, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """`ranges`, and constants in `graph` (changed), of masked sums that softmaxes alone read."""
    out = dict(ranges)
    for node in graph.nodes:
        reader = only_reader(graph, node.output)
        if node.op != "add" or len(node.inputs) != 2 or reader is None or reader.op != "softmax":
            continue
        scores, mask = sorted(node.inputs, key=lambda t: graph.node(t).op == "constant")
        if graph.node(mask).op != "constant" or graph.node(scores).op == "constant":
            continue
        value = np.asarray(graph.node(mask).params["value"], np.float32)
        hidden = value <= HIDDEN
        if not hidden.any() or hidden.all():
            continue
        low, high = ranges[scores]
        seen = value[~hidden]
        out[node.output] = (low + float(seen.min()) - ROOM, high + float(seen.max()))
        if only_reader(graph, mask) is node:
            least = np.float32(min(float(seen.min()), 0.0) - (high - low) - 2 * ROOM)
            graph.node(mask).params["value"] = np.maximum(value, least)
    return out
