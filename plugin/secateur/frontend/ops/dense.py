"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import REQUIRED, Array, Shape, ShapeError, align, declare
from .conv import affine

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


def _dense_shape(node: Node, shapes: list[Shape]) -> Shape:
    kernel = node.params["kernel"].shape
    if len(kernel) != 2 or kernel[0] != shapes[0][-1]:
        raise ShapeError(f"has a kernel {kernel} for inputs of shape {shapes[0]}")
    return (*shapes[0][:-1], kernel[1])


def _dense_macs(node: Node, shapes: list[Shape]) -> int:
    return int(np.prod(node.shape[:-1])) * node.params["kernel"].size


@declare(
    "dense",
    _dense_shape,
    operands=(1, 2),
    params={"kernel": "[in, out]", "bias": "[out]?", "factor": "[out]?"},
    macs=_dense_macs,
)
def _dense(node: Node, inputs: list[Array]) -> Array:
    """Product with a constant matrix along the last axis of a tensor of any rank."""
    return affine(node, inputs[0] @ node.params["kernel"].astype(np.float32), inputs)


def _matmul_shape(node: Node, shapes: list[Shape]) -> Shape:
    a, b = shapes
    if len(a) < 2 or len(b) < 2:
        raise ShapeError(f"multiplies tensors of shapes {a} and {b}, which are no matrices")
    k, m = (b[-1], b[-2]) if node.attr("transpose_b") else (b[-2], b[-1])
    try:
        batch = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        batch, k = (), -1
    if a[-1] != k:
        raise ShapeError(f"multiplies tensors of shapes {a} and {b}, which do not fit")
    return (*(int(d) for d in batch), a[-2], m)


def _matmul_macs(node: Node, shapes: list[Shape]) -> int:
    return int(np.prod(node.shape)) * shapes[0][-1]


@declare(
    "matmul",
    _matmul_shape,
    operands=(2, 2),
    attrs={"transpose_b": False},
    macs=_matmul_macs,
)
def _matmul(node: Node, inputs: list[Array]) -> Array:
    """Product of two activations over their last two axes; the axes before them broadcast."""
    a, b = align(inputs)
    return a @ (b.swapaxes(-1, -2) if node.attr("transpose_b") else b)


def _embedding_shape(node: Node, shapes: list[Shape]) -> Shape:
    found = (*shapes[0], node.params["table"].shape[1])
    return (1, *found) if len(found) == 2 else found


@declare("embedding", _embedding_shape, params={"table": "[entries, size]"})
def _embedding(node: Node, inputs: list[Array]) -> Array:
    """Row i of a constant table for each index i; indices (L,) give (1, L, size).

    Indices outside the table are taken as its first or last entry.
    """
    table = node.params["table"].astype(np.float32)
    return table[np.clip(inputs[0].astype(np.int64), 0, len(table) - 1)]


def _gather_shape(node: Node, shapes: list[Shape]) -> Shape:
    axis, shape = node.attr("axis"), shapes[0]
    indices = node.attr("indices")
    if min(indices) < 0 or max(indices) >= shape[axis]:
        raise ShapeError(f"takes elements outside axis {axis} of shape {shape}")
    return (*shape[:axis], len(indices), *shape[axis + 1 :])


@declare("gather", _gather_shape, attrs={"axis": REQUIRED, "indices": REQUIRED}, dtype="same")
def _gather(node: Node, inputs: list[Array]) -> Array:
    """The elements `indices` (a tuple known at conversion) along `axis`."""
    return np.take(inputs[0], node.attrs["indices"], axis=node.attrs["axis"] + 1)
