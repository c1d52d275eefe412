"""Reductions and orderings. Reduced axes stay, with size 1; a `reshape` behind drops them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import REQUIRED, Array, Shape, ShapeError, check_axis, declare

if TYPE_CHECKING:
    from secateur.frontend.ir import Node

_REDUCTIONS: dict[str, Callable[..., Any]] = {
    "mean": np.mean,
    "sum": np.sum,
    "max": np.max,
    "min": np.min,
    "prod": np.prod,
}


def _reduce_shape(node: Node, shapes: list[Shape]) -> Shape:
    if node.attr("function") not in _REDUCTIONS:
        raise ShapeError(f"reduces by '{node.attr('function')}'")
    axes = {check_axis(a, shapes[0]) for a in node.attr("axes")}
    return tuple(1 if i in axes else n for i, n in enumerate(shapes[0]))


@declare("reduce", _reduce_shape, attrs={"function": REQUIRED, "axes": REQUIRED})
def _reduce(node: Node, inputs: list[Array]) -> Array:
    """mean, sum, max, min or prod (`function`) over `axes`; for whole images there are pools."""
    axes = tuple(a + 1 for a in node.attrs["axes"])
    y = _REDUCTIONS[node.attrs["function"]](inputs[0], axis=axes, keepdims=True)
    return np.asarray(y, np.float32)


def _one(node: Node, shapes: list[Shape]) -> Shape:
    axis = check_axis(node.attr("axis"), shapes[0])
    return tuple(1 if i == axis else n for i, n in enumerate(shapes[0]))


@declare(
    "arg_max",
    _one,
    attrs={"axis": REQUIRED, "smallest": False, "last": False},
    dtype="int32",
)
def _arg_max(node: Node, inputs: list[Array]) -> Array:
    """Index of the largest (or smallest) element along `axis`; of equals the first (or last)."""
    x, axis = inputs[0], node.attrs["axis"] + 1
    x = -x if node.attr("smallest") else x
    if node.attr("last"):
        found = x.shape[axis] - 1 - np.argmax(np.flip(x, axis), axis=axis)
    else:
        found = np.argmax(x, axis=axis)
    return np.expand_dims(found, axis).astype(np.int32)


def _top_shape(node: Node, shapes: list[Shape]) -> Shape:
    axis, k = check_axis(node.attr("axis"), shapes[0]), node.attr("k")
    if not 1 <= k <= shapes[0][axis]:
        raise ShapeError(f"takes {k} of the {shapes[0][axis]} elements of axis {axis}")
    return tuple(int(k) if i == axis else n for i, n in enumerate(shapes[0]))


def _order(node: Node, x: Array) -> Array:
    axis = node.attrs["axis"] + 1
    x = x if node.attr("smallest") else -x
    order = np.argsort(x, axis=axis, kind="stable")
    return np.take(order, np.arange(node.attrs["k"]), axis=axis)


_TOP = {"axis": REQUIRED, "k": REQUIRED, "smallest": False}


@declare("top_k", _top_shape, attrs=_TOP)
def _top_k(node: Node, inputs: list[Array]) -> Array:
    """The k largest (or smallest) elements along `axis`, in that order."""
    found = _order(node, inputs[0])
    return np.take_along_axis(inputs[0], found, axis=node.attrs["axis"] + 1)


@declare("top_k_indices", _top_shape, attrs=_TOP, dtype="int32")
def _top_k_indices(node: Node, inputs: list[Array]) -> Array:
    """The indices of what `top_k` gives; of equal elements the lower index is first."""
    return _order(node, inputs[0]).astype(np.int32)
