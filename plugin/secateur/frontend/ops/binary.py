"""Arithmetic of two tensors, with NumPy's broadcasting over the axes behind the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Array, align, broadcast, declare

if TYPE_CHECKING:
    from secateur.frontend.ir import Node

_TWO = {"operands": (2, 2), "pointwise": True}


@declare("add", broadcast, **_TWO)
def _add(node: Node, inputs: list[Array]) -> Array:
    """a + b."""
    a, b = align(inputs)
    return a + b


@declare("sub", broadcast, **_TWO)
def _sub(node: Node, inputs: list[Array]) -> Array:
    """a - b."""
    a, b = align(inputs)
    return a - b


@declare("mul", broadcast, **_TWO)
def _mul(node: Node, inputs: list[Array]) -> Array:
    """a * b."""
    a, b = align(inputs)
    return a * b


@declare("div", broadcast, **_TWO)
def _div(node: Node, inputs: list[Array]) -> Array:
    """a / b."""
    a, b = align(inputs)
    with np.errstate(all="ignore"):  # calibration reports what is not finite
        return a / b


@declare("maximum", broadcast, **_TWO)
def _maximum(node: Node, inputs: list[Array]) -> Array:
    """The larger of a and b."""
    a, b = align(inputs)
    return np.maximum(a, b)


@declare("minimum", broadcast, **_TWO)
def _minimum(node: Node, inputs: list[Array]) -> Array:
    """The smaller of a and b."""
    a, b = align(inputs)
    return np.minimum(a, b)
