"""What a tolerant reader puts where it understands nothing: see `secateur check-model`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from secateur.errors import ModelError

from .base import REQUIRED, Array, Shape, declare

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


def _given(node: Node, shapes: list[Shape]) -> Shape:
    return node.shape


@declare("opaque", _given, operands=(0, None), attrs={"reason": REQUIRED})
def _opaque(node: Node, inputs: list[Array]) -> Array:
    """A layer that cannot be read, for the sentence `reason`; it cannot be executed either."""
    raise ModelError(str(node.attrs["reason"]))
