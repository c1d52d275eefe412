"""Pooling."""

from __future__ import annotations

import numpy as np

from secateur.frontend.ir import Graph, Node
from secateur.lowering.lowerer import Lowering
from secateur.lowering.qgraph import QPool, QTensor, Requant
from secateur.lowering.registry import limits, lowers
from secateur.lowering.requant import requantize


@limits("max_pool", "avg_pool")
def _dense_window(graph: Graph, node: Node) -> tuple[str, str] | None:
    if node.attr("dilations") != (1, 1):
        return (f"has dilation {node.attr('dilations')}, which has no integer form yet",
                "pool neighbouring pixels")  # fmt: skip
    return None


@lowers("max_pool", wide=True)
def _max_pool(lo: Lowering, node: Node) -> None:
    x = lo.image(node)
    y = lo.new(node, like=x)
    a = node.attrs
    lo.emit(QPool(node.name, (x.name,), y.name, "max", a["window"], a["strides"], a["pads"]))


@lowers("avg_pool")
def _avg_pool(lo: Lowering, node: Node) -> None:
    x = lo.image(node)
    y = lo.new(node)
    a = node.attrs
    counts = pool_counts(x.shape[1:], a["window"], a["strides"], a["pads"], y.shape[1:])
    y, requant = averaged(lo, node, x, y, counts)
    lo.emit(
        QPool(
            node.name,
            (x.name,),
            y.name,
            "avg",
            a["window"],
            a["strides"],
            a["pads"],
            requant,
            counts,
        )
    )


def averaged(
    lo: Lowering, node: Node, x: QTensor, y: QTensor, counts: tuple[int, ...]
) -> tuple[QTensor, Requant]:
    """The output, and the constants from sums of so many codes of x to it, one for each count."""
    n = np.array(counts, np.float64)

    def constants(y: QTensor) -> tuple[Requant, int | None]:
        return requantize(
            x.scale / y.scale / n,
            np.full(len(n), float(y.zero_point)),
            x.zero_point * n,
            np.zeros(len(n)),
            255 * n,
        )

    y, (requant, _) = lo.fit(node, y, constants)
    return y, requant


def pool_counts(
    size: tuple[int, ...],
    window: tuple[int, int],
    strides: tuple[int, int],
    pads: tuple[int, int, int, int],
    out: tuple[int, ...],
) -> tuple[int, ...]:
    """Every number of valid pixels a window can hold, ascending."""
    sides = []
    for axis in (0, 1):
        starts = np.arange(out[axis]) * strides[axis] - pads[axis]
        valid = np.minimum(starts + window[axis], size[axis]) - np.maximum(starts, 0)
        sides.append(np.unique(valid))
    return tuple(int(c) for c in np.unique(np.outer(*sides)))
