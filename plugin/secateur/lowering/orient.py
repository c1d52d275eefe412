"""Choose whether images are stored row by row or column by column.

Kernels work on tiles of up to sixteen neighbours in a row, so rows should be long: 25x5 spectra are
better stored as 5 rows of 25. Transposing a whole graph costs nothing at run time but a transposed
copy of the input.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil

import numpy as np

from .factored import Factors
from .qgraph import QConv, QDense, QGraph, QPad, QPool


def orient(graph: QGraph) -> QGraph:
    """The graph or its transpose, whichever needs fewer tiles; `graph` itself is not changed."""
    if not all(op.turns or isinstance(op, QConv | QPool | QPad | QDense) for op in graph):
        return graph
    if all(len(graph.tensors[t].shape) != 3 for t in graph.inputs):
        return graph
    other = transpose(graph)
    return other if tile_cost(other) < 0.97 * tile_cost(graph) else graph


def tile_cost(graph: QGraph) -> int:
    """Weights times pixels of whole tiles, summed over the convolutions."""
    total = 0
    for op in graph:
        if not isinstance(op, QConv):
            continue
        _, h, w = graph.tensors[op.output].shape
        if (
            op.groups > 1
        ):  # strips of two columns, chunks of up to six rows with two rows of overlap
            rows = min(ceil(h / r) * (r + 1) for r in range(1, min(h, 6) + 1))
            pixels = 2 * ceil(w / 2) * rows
        elif op.weight.shape[2:] == (1, 1) and op.stride == (1, 1):
            pixels = 16 * ceil(h * w / 16)  # flattened: the same either way
        else:
            pixels = min(16 * ceil(w / (16 // t)) * ceil(h / t) for t in (1, 2, 4))
        total += op.weight.size * pixels
    return total


def transpose(graph: QGraph) -> QGraph:
    """The same function with images stored as (C, W, H)."""
    tensors = {
        n: replace(t, shape=(t.shape[0], t.shape[2], t.shape[1])) if len(t.shape) == 3 else t
        for n, t in graph.tensors.items()
    }
    ops = []
    for op in graph:
        if isinstance(op, QConv):
            weight = np.ascontiguousarray(op.weight.transpose(0, 1, 3, 2))
            op = replace(
                op,
                weight=weight,
                factors=_transposed(op.factors, op.weight.shape[1:], weight),
                stride=op.stride[::-1],
                pads=_swap(op.pads),
            )
        elif isinstance(op, QPool):
            op = replace(op, window=op.window[::-1], stride=op.stride[::-1], pads=_swap(op.pads))
        elif isinstance(op, QPad):
            op = replace(op, pads=_swap(op.pads))
        elif isinstance(op, QDense):
            shape = graph.tensors[op.inputs[0]].shape
            if len(shape) == 3:
                w = op.weight.reshape(-1, *shape).transpose(0, 1, 3, 2)
                weight = np.ascontiguousarray(w.reshape(op.weight.shape))
                op = replace(op, weight=weight, factors=_transposed(op.factors, shape, weight))
        ops.append(op)
    return replace(graph, ops=ops, tensors=tensors, transposed=not graph.transposed)


def _swap(pads: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    top, left, bottom, right = pads
    return (left, top, right, bottom)


def _transposed(
    factors: Factors | None, shape: tuple[int, ...], weight: np.ndarray
) -> Factors | None:
    """`factors` for the transposed `weight`, whose columns were planes of `shape`."""
    if factors is None:
        return None
    c, h, w = shape
    moved = factors.transposed((c, h, w))
    return moved if np.array_equal(moved.weights(), weight.reshape(len(weight), -1)) else None
