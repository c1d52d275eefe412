"""What a network that runs step by step keeps: the last rows of a tensor."""

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


@declare("last_rows", _ring_shape, attrs={"axis": REQUIRED, "rows": REQUIRED})
def _last_rows(node: Node, inputs: list[Array]) -> Array:
    """The last `rows` elements of time: here those of a first step, zeros and the new one."""
    x, axis = inputs[0], int(node.attr("axis")) + 1
    pads = [(0, 0)] * x.ndim
    pads[axis] = (int(node.attr("rows")) - 1, 0)
    return np.pad(x, pads)
