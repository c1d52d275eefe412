"""Reshapes at the two places where they can vanish: behind the input and behind a Dense layer.

Runs after calibration, because it changes the order of elements inside the graph.
"""

from __future__ import annotations

import numpy as np

from secateur.frontend.ir import Graph
from secateur.lowering.rewrite import copy, only_reader


def planar(shape: tuple[int, ...]) -> np.ndarray:
    """For each stored position (last axis first), the row-major index it holds."""
    return np.moveaxis(np.arange(int(np.prod(shape))).reshape(shape), -1, 0).ravel()


def place_reshapes(graph: Graph) -> Graph:
    """An input takes the shape it is reshaped to; a Dense layer's neurons take planar order."""
    g = copy(graph)
    for node in [n for n in g.nodes if n.op == "reshape"]:
        producer = g.node(node.inputs[0])
        if only_reader(g, producer.output) is not node or len(producer.shape) != 1:
            continue
        if producer.op == "input":
            producer.shape = node.shape
        elif producer.op == "dense":
            order = planar(node.shape)
            for key, value in producer.params.items():
                producer.params[key] = value[..., order]
            producer.shape = node.shape
    return g
