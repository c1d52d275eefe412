"""Where values come from: the model's inputs and constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import REQUIRED, Array, Shape, declare

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


def _given(node: Node, shapes: list[Shape]) -> Shape:
    return node.shape


@declare(
    "input", _given, operands=(0, 0), attrs={"dtype": "float32", "by_frame": False}, dtype="attr"
)
def _input(node: Node, inputs: list[Array]) -> Array:
    """An input of the model. dtype: "float32", "uint8", "int8", "int16" or "int32" (indices).

    by_frame: the source reads one element of time a call and keeps what it needs of the others.
    """
    raise NotImplementedError("inputs are fed, not computed")


def _constant_shape(node: Node, shapes: list[Shape]) -> Shape:
    return tuple(node.params["value"].shape)


@declare("constant", _constant_shape, operands=(0, 0), params={"value": "[*shape]"})
def _constant(node: Node, inputs: list[Array]) -> Array:
    """A tensor that no input changes; the same for every sample of a batch."""
    return node.params["value"][None]


def _cast_shape(node: Node, shapes: list[Shape]) -> Shape:
    return shapes[0]


@declare("cast", _cast_shape, attrs={"dtype": REQUIRED}, dtype="attr", pointwise=True)
def _cast(node: Node, inputs: list[Array]) -> Array:
    """The same numbers as another type ("float32", "int32"); fractions are cut off."""
    return inputs[0].astype(node.attrs["dtype"])
