"""Declarations of float operators: everything a new one needs stands in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from secateur.frontend.ir import Node

Array = np.ndarray
Shape = tuple[int, ...]
Run = Callable[["Node", list[Array]], Array]
ShapeRule = Callable[["Node", list[Shape]], Shape]


class _Required:
    """Marks attributes without a default."""

    def __repr__(self) -> str:
        return "required"


REQUIRED = _Required()


class ShapeError(ValueError):
    """An operator's operands, attributes or parameters do not go together; the message says how."""


@dataclass(frozen=True)
class Op:
    """One operator of the float graph.

    attrs maps names to defaults (REQUIRED: none); params maps names to shapes in words, a trailing
    `?` marks optional ones. `shape` gives the output's shape (without the batch) from node and
    operand shapes and raises ShapeError; `run` computes it in NumPy, arrays [N, *shape]. A constant
    operand arrives as [1, *shape]. `dtype` is the output's: "float32", "int32", or "same" (the
    first operand's). `macs` counts multiply-accumulates. `pointwise`: an element of the output
    depends on the elements at its own (broadcast) position alone, whatever the axes mean.
    """

    name: str
    run: Run
    shape: ShapeRule
    operands: tuple[int, int | None] = (1, 1)  #: least and most; None: no limit
    attrs: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    dtype: str = "float32"
    pointwise: bool = False
    macs: Callable[[Node, list[Shape]], int] = lambda node, shapes: 0
    #: what is inside and needs a range of its own, by name, for operands [N, *shape]
    inside: Callable[[Node, list[Array]], dict[str, Array]] | None = None

    @property
    def doc(self) -> str:
        """What it computes."""
        return (self.run.__doc__ or "").strip()


#: Every declared operator by name.
OPS: dict[str, Op] = {}

#: Attributes that any node may carry: see `secateur.frontend.ir`.
COMMON = frozenset(
    {
        "parameters",
        "factors",
        "merged",
        "clamp",
        "levels",
        "range",
        "shown",
        "activations",
        "step",
        "nominal",
    }
)


def declare(name: str, shape: ShapeRule, **rest: Any) -> Callable[[Run], Run]:
    """Declare an operator; the decorated function is its float reference. See `Op`."""

    def add(run: Run) -> Run:
        if name in OPS:
            raise ValueError(f"operator {name!r} is declared twice")
        OPS[name] = Op(name, run, shape, **rest)
        return run

    return add


def same(node: Node, shapes: list[Shape]) -> Shape:
    """Shape rule: that of the first operand."""
    return shapes[0]


def broadcast(node: Node, shapes: list[Shape]) -> Shape:
    """Shape rule: NumPy's broadcasting, aligned at the last axis."""
    try:
        return tuple(int(d) for d in np.broadcast_shapes(*shapes))
    except ValueError as e:
        listed = ", ".join(map(str, shapes))
        raise ShapeError(f"combines tensors of shapes {listed}, which do not broadcast") from e


def align(arrays: Sequence[Array]) -> list[Array]:
    """Arrays [N, *shape] of one rank: ones are put in behind the batch."""
    rank = max(a.ndim for a in arrays)
    return [a.reshape(len(a), *(1,) * (rank - a.ndim), *a.shape[1:]) for a in arrays]


def image(shape: Shape) -> tuple[int, int, int]:
    """(H, W, C) of an operand; ShapeError where it has another rank."""
    if len(shape) != 3:
        raise ShapeError(f"gets a tensor of shape {shape}, where an image (H, W, C) is needed")
    return shape[0], shape[1], shape[2]


def channel_axis(node: Node, param: str, shape: Shape) -> None:
    """ShapeError unless `param` has one value for each element of the last axis."""
    size = node.params[param].shape
    if size != (shape[-1],):
        raise ShapeError(f"has {param} of shape {size} for {shape[-1]} channels")


def check_axis(axis: Any, shape: Shape) -> int:
    """`axis` counted from 0; ShapeError where the tensor has no such axis."""
    a = int(axis)
    if not -len(shape) <= a < len(shape):
        raise ShapeError(f"works on axis {a} of a tensor of shape {shape}")
    return a % len(shape)
