"""Products of two activations, and rows of a constant table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, affine, stored_shape
from secateur.lowering.qgraph import QGraph, QOp, QTensor, Requant
from secateur.lowering.reference import requantize as apply
from secateur.lowering.registry import executes, lowers
from secateur.lowering.requant import requantize
from secateur.lowering.strided import Loop, Loops, merged, strides, walk


@dataclass
class QMatMul(QOp):
    """acc = sum over `depth` of (a - z_a) (b - z_b), requantized.

    outer: over the output as stored, steps in a and b; depth: steps in a and b.
    """

    outer: Loops
    depth: Loop
    requant: Requant
    kind: ClassVar[str] = "matmul"


@dataclass
class QEmbedding(QOp):
    """Row min(max(i, 0), entries - 1) of `table` for each index i, int32.

    table: uint8 [entries, size], codes of the output; out_step: elements between those of a row.
    """

    table: np.ndarray
    count: int
    out_step: int
    kind: ClassVar[str] = "embedding"


@executes(QMatMul)
def _matmul_codes(qgraph: QGraph, op: QMatMul, inputs: list[np.ndarray]) -> np.ndarray:
    terms = []
    for k, u in enumerate(inputs):
        at = walk(op.outer, k)[:, None] + np.arange(op.depth.count) * op.depth.steps[k]
        z = qgraph.tensors[op.inputs[k]].zero_point
        terms.append(u.reshape(len(u), -1)[:, at].astype(np.int32) - z)
    acc = np.einsum("nij,nij->ni", terms[0], terms[1], dtype=np.int64)
    return apply(acc[:, None, :], op.requant)


@executes(QEmbedding)
def _embedding_codes(qgraph: QGraph, op: QEmbedding, inputs: list[np.ndarray]) -> np.ndarray:
    i = np.clip(inputs[0].reshape(len(inputs[0]), -1).astype(np.int64), 0, len(op.table) - 1)
    return op.table[i].transpose(0, 2, 1)  # the elements of a row are planes


@lowers("matmul")
def _matmul(lo: Lowering, node: Node) -> None:
    a, b = (lo.settle(t) for t in node.inputs)
    sa, sb = (lo.shape(t) for t in node.inputs)
    if a.dtype != "uint8" or b.dtype != "uint8":
        raise ModelError(f"{node.title} multiplies indices; cast them to numbers first")
    rank = len(node.shape)
    batch = node.shape[:-2]
    steps_a, steps_b = strides(sa), strides(sb)
    row, depth_a = steps_a[-2], steps_a[-1]
    column, depth_b = (steps_b[-2], steps_b[-1]) if node.attr("transpose_b") else (
        steps_b[-1], steps_b[-2],
    )  # fmt: skip
    lead_a = _lead(sa, steps_a, rank)
    lead_b = _lead(sb, steps_b, rank)
    loops = [
        Loop(node.shape[-1], (0, column)),
        *(Loop(n, (x, y)) for n, x, y in zip(batch, lead_a, lead_b, strict=True)),
        Loop(node.shape[-2], (row, 0)),
    ]
    depth = Loop(sa[-1], (depth_a, depth_b))
    reach = 255.0 * 255.0 * depth.count
    if reach >= 2**31:
        raise ModelError(
            f"{node.title} sums {depth.count} products, which can leave the 32-bit accumulator; "
            "split it"
        )
    one = np.ones(1)
    y = lo.new(node)
    y, (requant, _) = lo.fit(
        node, y,
        lambda y: requantize(
            one * a.scale * b.scale / y.scale, one * y.zero_point, 0 * one, -reach * one,
            reach * one,
        ),
    )  # fmt: skip
    lo.emit(QMatMul(node.name, (a.name, b.name), y.name, merged(loops), depth, requant))


def _lead(shape: tuple[int, ...], steps: tuple[int, ...], rank: int) -> tuple[int, ...]:
    """Steps of a matrix' leading axes, for each of those of the product."""
    own = tuple(0 if n == 1 else s for n, s in zip(shape[:-2], steps[:-2], strict=True))
    return (0,) * (rank - 2 - len(own)) + own


@lowers("embedding")
def _embedding(lo: Lowering, node: Node) -> None:
    x = lo.settle(node.inputs[0])
    if x.dtype != "int32":
        raise ModelError(
            f"{node.title} looks up {node.inputs[0]}, which is no tensor of indices; feed its "
            "indices as an input of their own"
        )
    table = node.params["table"].astype(np.float64)
    scale, zero = affine(float(table.min()), float(table.max()))
    codes = np.clip(np.floor(table / scale + 0.5) + zero, 0, 255).astype(np.uint8)
    y = lo.declare(node, QTensor(node.output, stored_shape(node.shape), scale, zero))
    lo.emit(QEmbedding(node.name, (x.name,), y.name, codes, x.size, x.size))
