"""What a network that runs step by step keeps: the last rows of a tensor, or their sums."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import REQUIRED, Array, Shape, ShapeError, declare

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


def _ring_shape(node: Node, shapes: list[Shape]) -> Shape:
    shape, axis = shapes[0], int(node.attr("axis"))
    if len(shape) != 3 or axis not in (0, 1) or shape[axis] != 1:
        raise ShapeError(f"keeps rows along axis {axis} of a tensor of shape {shape}")
    out = list(shape)
    out[axis] = int(node.attr("rows"))
    return (out[0], out[1], out[2])


_RING = {
    "axis": REQUIRED, "rows": REQUIRED,
    "apart": False,  # the newest is kept once what needs all of them has run
}  # fmt: skip


@declare("last_rows", _ring_shape, attrs=_RING)
def _last_rows(node: Node, inputs: list[Array]) -> Array:
    """The last `rows` elements of time: here those of a first step, zeros and the new one."""
    x, axis = inputs[0], int(node.attr("axis")) + 1
    pads = [(0, 0)] * x.ndim
    pads[axis] = (int(node.attr("rows")) - 1, 0)
    return np.pad(x, pads)


def _mean_shape(node: Node, shapes: list[Shape]) -> Shape:
    shape = shapes[0]
    if len(shape) != 3:
        raise ShapeError(f"takes the mean of rows of shape {shape}")
    return (1, 1, shape[2])


@declare("mean_of_last", _mean_shape, attrs={"rows": REQUIRED})
def _mean_of_last(node: Node, inputs: list[Array]) -> Array:
    """The mean of the last `rows` elements of time, channel by channel: here as `last_rows`."""
    total = inputs[0].sum(axis=(1, 2), keepdims=True)
    return np.asarray(total / (int(node.attr("rows")) * inputs[0][0, :, :, 0].size))
