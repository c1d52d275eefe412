"""Pooling over windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import REQUIRED, Array, Shape, declare, image
from .conv import pad_image, sliding_shape, windows

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


def _pool_shape(node: Node, shapes: list[Shape]) -> Shape:
    h, w, c = image(shapes[0])
    return (*sliding_shape(node, (h, w), node.attr("window")), c)


_WINDOW = {"window": REQUIRED, "strides": REQUIRED, "pads": REQUIRED, "dilations": (1, 1)}


@declare("max_pool", _pool_shape, attrs=_WINDOW)
def _max_pool(node: Node, inputs: list[Array]) -> Array:
    """Largest value of a window (h, w); padding takes no part. A whole image is one window."""
    a = node.attrs
    x = pad_image(inputs[0], a["pads"], -np.inf)
    return windows(x, a["window"], a["strides"], node.attr("dilations")).max(axis=(-2, -1))


@declare("avg_pool", _pool_shape, attrs=_WINDOW)
def _avg_pool(node: Node, inputs: list[Array]) -> Array:
    """Mean of a window (h, w); padding is not counted."""
    a, dilations = node.attrs, node.attr("dilations")
    x = pad_image(inputs[0], a["pads"])
    total = windows(x, a["window"], a["strides"], dilations).sum(axis=(-2, -1))
    ones = pad_image(np.ones((1, *inputs[0].shape[1:3], 1), np.float32), a["pads"])
    return total / windows(ones, a["window"], a["strides"], dilations).sum(axis=(-2, -1))
