"""Bilinear and nearest-neighbour resampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.frontend.ir import Node
from secateur.frontend.ops.shape import source_positions
from secateur.lowering.lowerer import Lowering
from secateur.lowering.operators.moving import move
from secateur.lowering.qgraph import QGraph, QOp
from secateur.lowering.registry import executes, lowers

BITS = 7  #: of a weight; two make 14, with a code 22
WIDE_BITS = 15  #: the same for 16-bit codes, whose sums have 64


@dataclass
class QResize(QOp):
    """u = (sum of four neighbours' codes times weights + 2^(2 bits - 1)) >> (2 bits).

    rows, columns: int32 [size, 3]: lower neighbour, upper one, weight of the upper one in units of
    2^-bits; a pixel's weight is the product of its row's and column's.
    """

    rows: np.ndarray
    columns: np.ndarray
    bits: int = BITS
    kind: ClassVar[str] = "resize"


@executes(QResize)
def _resize_codes(qgraph: QGraph, op: QResize, inputs: list[np.ndarray]) -> np.ndarray:
    u = inputs[0].astype(np.int64)
    one = 1 << op.bits
    wx = op.columns[:, 2].astype(np.int64)
    across = u[..., op.columns[:, 0]] * (one - wx) + u[..., op.columns[:, 1]] * wx
    wy = op.rows[:, 2].astype(np.int64)[:, None]
    v: np.ndarray = across[:, :, op.rows[:, 0]] * (one - wy) + across[:, :, op.rows[:, 1]] * wy
    return ((v + (1 << (2 * op.bits - 1))) >> (2 * op.bits)).astype(inputs[0].dtype)


@lowers("resize", wide=True)
def _resize(lo: Lowering, node: Node) -> None:
    if node.attr("mode") == "nearest":
        move(lo, node)
        return
    x = lo.image(node)
    y = lo.new(node, like=x)
    h, w, _ = lo.shape(node.inputs[0])
    bits = WIDE_BITS if x.wide else BITS
    taps = []
    for n, m, scale in zip((h, w), node.shape[:2], node.attr("scales"), strict=True):
        at = np.clip(source_positions(n, m, node.attr("grid"), scale), 0, n - 1)
        low = np.minimum(np.floor(at).astype(np.int64), n - 1)
        high = np.minimum(low + 1, n - 1)
        weight = np.rint((at - low) * (1 << bits))
        taps.append(np.stack([low, high, weight], axis=1).astype(np.int32))
    lo.emit(QResize(node.name, (x.name,), y.name, taps[0], taps[1], bits))
