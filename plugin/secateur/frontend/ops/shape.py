"""Operators that move elements. Axes count without the batch, from 0."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import REQUIRED, Array, Shape, ShapeError, check_axis, declare, image
from .conv import pad_image

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


def _zero_pad_shape(node: Node, shapes: list[Shape]) -> Shape:
    h, w, c = image(shapes[0])
    t, left, b, r = node.attr("pads")
    return (h + t + b, w + left + r, c)


@declare("zero_pad", _zero_pad_shape, attrs={"pads": REQUIRED})
def _zero_pad(node: Node, inputs: list[Array]) -> Array:
    """An image with pads (top, left, bottom, right) of zeros; a convolution absorbs it."""
    return pad_image(inputs[0], node.attrs["pads"])


def _pad_shape(node: Node, shapes: list[Shape]) -> Shape:
    pads = node.attr("pads")
    if len(pads) != len(shapes[0]) or min(min(p) for p in pads) < 0:
        raise ShapeError(f"pads shape {shapes[0]} by {pads}")
    if node.attr("mode") not in _MODES:
        raise ShapeError(f"pads with mode '{node.attr('mode')}'")
    return tuple(int(n + a + b) for n, (a, b) in zip(shapes[0], pads, strict=True))


_MODES = {"constant": "constant", "reflect": "reflect", "symmetric": "symmetric", "edge": "edge",
          "wrap": "wrap"}  # fmt: skip


@declare(
    "pad",
    _pad_shape,
    attrs={"pads": REQUIRED, "mode": "constant", "value": 0.0},
    dtype="same",
)
def _pad(node: Node, inputs: list[Array]) -> Array:
    """pads ((before, after), ...) on every axis.

    mode "constant" (with `value`), "reflect" (without the edge), "symmetric" (with it), "edge" or
    "wrap". Zeros around an image are the operator `zero_pad`.
    """
    pads = ((0, 0), *node.attrs["pads"])
    mode: Any = _MODES[node.attr("mode")]
    if mode == "constant":
        return np.pad(inputs[0], pads, mode, constant_values=node.attr("value"))
    return np.pad(inputs[0], pads, mode)


def _size(shape: Shape) -> int:
    return int(np.prod(shape))


def _flatten_shape(node: Node, shapes: list[Shape]) -> Shape:
    return (_size(shapes[0]),)


def _view(node: Node, inputs: list[Array]) -> Array:
    return inputs[0].reshape(len(inputs[0]), *node.shape)


@declare("flatten", _flatten_shape, dtype="same")
def _flatten(node: Node, inputs: list[Array]) -> Array:
    """The elements as a vector, last axis fastest."""
    return _view(node, inputs)


def _reshape_shape(node: Node, shapes: list[Shape]) -> Shape:
    shape = tuple(int(d) for d in node.attr("shape"))
    if _size(shape) != _size(shapes[0]):
        raise ShapeError(f"turns shape {shapes[0]} into {shape}, which has another size")
    return shape


@declare("reshape", _reshape_shape, attrs={"shape": REQUIRED}, dtype="same")
def _reshape(node: Node, inputs: list[Array]) -> Array:
    """The elements in their order (last axis fastest) as another shape."""
    return _view(node, inputs)


def _transpose_shape(node: Node, shapes: list[Shape]) -> Shape:
    perm = node.attr("perm")
    if sorted(perm) != list(range(len(shapes[0]))):
        raise ShapeError(f"permutes the axes of shape {shapes[0]} by {tuple(perm)}")
    return tuple(shapes[0][p] for p in perm)


@declare("transpose", _transpose_shape, attrs={"perm": REQUIRED}, dtype="same")
def _transpose(node: Node, inputs: list[Array]) -> Array:
    """Axis i of the output is axis perm[i] of the input."""
    return inputs[0].transpose(0, *(p + 1 for p in node.attrs["perm"]))


def _slices(node: Node) -> tuple[slice, ...]:
    """Python slices for begin, size and strides; a stride below 0 runs backwards from `begin`."""
    out = []
    for b, n, s in zip(node.attr("begin"), node.attr("size"), node.attr("strides"), strict=True):
        end = b + n * s
        out.append(slice(b, None if end < 0 else end, s))
    return tuple(out)


def _slice_shape(node: Node, shapes: list[Shape]) -> Shape:
    a = node.attr
    if not len(a("begin")) == len(a("size")) == len(a("strides")) == len(shapes[0]):
        raise ShapeError(f"slices shape {shapes[0]} along other axes than it has")
    for b, n, s, whole in zip(a("begin"), a("size"), a("strides"), shapes[0], strict=True):
        if n < 1 or s == 0 or not (0 <= b < whole and 0 <= b + (n - 1) * s < whole):
            raise ShapeError(f"takes {n} of {whole} elements from {b} in steps of {s}")
    return tuple(int(n) for n in a("size"))


@declare(
    "slice",
    _slice_shape,
    attrs={"begin": REQUIRED, "size": REQUIRED, "strides": REQUIRED},
    dtype="same",
)
def _slice(node: Node, inputs: list[Array]) -> Array:
    """size[i] elements of axis i from begin[i] in steps of strides[i], below 0 backwards."""
    index = (slice(None), *_slices(node))
    return inputs[0][index]


def _concat_shape(node: Node, shapes: list[Shape]) -> Shape:
    first = list(shapes[0])
    axis = check_axis(node.attr("axis"), shapes[0])
    for s in shapes[1:]:
        if len(s) != len(first) or any(
            x != y for i, (x, y) in enumerate(zip(s, first, strict=True)) if i != axis
        ):
            listed = ", ".join(map(str, shapes))
            raise ShapeError(f"joins tensors of shapes {listed} along axis {axis}")
    first[axis] = sum(s[axis] for s in shapes)
    return tuple(first)


@declare("concat", _concat_shape, operands=(1, None), attrs={"axis": REQUIRED}, dtype="same")
def _concat(node: Node, inputs: list[Array]) -> Array:
    """The operands one behind the other along `axis`."""
    n = max(len(x) for x in inputs)  # constants have a batch of 1
    parts = [np.broadcast_to(x, (n, *x.shape[1:])) for x in inputs]
    axis = node.attrs["axis"]
    return np.concatenate(parts, axis=axis if axis < 0 else axis + 1)


def _tile_shape(node: Node, shapes: list[Shape]) -> Shape:
    repeats = node.attr("repeats")
    if len(repeats) != len(shapes[0]) or min(repeats) < 1:
        raise ShapeError(f"repeats shape {shapes[0]} {tuple(repeats)} times")
    return tuple(int(n * r) for n, r in zip(shapes[0], repeats, strict=True))


@declare("tile", _tile_shape, attrs={"repeats": REQUIRED}, dtype="same")
def _tile(node: Node, inputs: list[Array]) -> Array:
    """The whole tensor repeats[i] times along axis i; along an axis of size 1: broadcasting."""
    return np.tile(inputs[0], (1, *node.attrs["repeats"]))


def _resize_shape(node: Node, shapes: list[Shape]) -> Shape:
    _, _, c = image(shapes[0])
    h, w = node.attr("size")
    if node.attr("mode") not in ("nearest", "bilinear") or node.attr("grid") not in _GRIDS:
        raise ShapeError(f"resizes by mode '{node.attr('mode')}' on grid '{node.attr('grid')}'")
    return (int(h), int(w), c)


_GRIDS = ("half_pixel", "asymmetric", "align_corners")


def source_positions(n: int, size: int, grid: str, scale: float | None = None) -> Array:
    """Where in an axis of n elements each of `size` resized ones lies, as real numbers."""
    i = np.arange(size, dtype=np.float64)
    ratio = n / size if scale is None else 1 / scale
    if grid == "half_pixel":
        return (i + 0.5) * ratio - 0.5
    if grid == "align_corners":
        return i * ((n - 1) / (size - 1)) if size > 1 else np.zeros(1)
    return i * ratio


def nearest_indices(
    n: int, size: int, grid: str, rounding: str, scale: float | None = None
) -> Array:
    """The element that nearest-neighbour resizing takes for each position."""
    x = source_positions(n, size, grid, scale)
    rounded = {
        "floor": np.floor(x + 1e-9),
        "ceil": np.ceil(x - 1e-9),
        "round": np.floor(x + 0.5),  # ties up
        "round_down": np.ceil(x - 0.5),  # ties down
    }[rounding]
    return np.clip(rounded, 0, n - 1).astype(np.int64)


@declare(
    "resize",
    _resize_shape,
    attrs={
        "size": REQUIRED,
        "mode": "nearest",
        "grid": "half_pixel",
        "rounding": "floor",
        "scales": (None, None),
    },
)
def _resize(node: Node, inputs: list[Array]) -> Array:
    """An image resampled to size (h, w).

    mode "nearest" or "bilinear". Output pixel i of an axis with n input and m output pixels lies at
    (i + 0.5) * n/m - 0.5 on the grid "half_pixel", at i * n/m on "asymmetric", at
    i * (n-1)/(m-1) on "align_corners"; `scales` (y, x) replace m/n where a file states them.
    Nearest takes `rounding` "floor", "ceil", "round" (ties up) or "round_down" of that; bilinear
    weighs the two neighbours; both stop at the edges. Upsampling by a whole factor is "nearest" on
    "asymmetric" with "floor".
    """
    x, a = inputs[0], node.attr
    for axis in (0, 1):
        n, m, scale = x.shape[axis + 1], node.shape[axis], a("scales")[axis]
        if a("mode") == "nearest":
            i = nearest_indices(n, m, a("grid"), a("rounding"), scale)
            x = np.take(x, i, axis=axis + 1)
            continue
        at = np.clip(source_positions(n, m, a("grid"), scale), 0, n - 1)
        low = np.minimum(np.floor(at).astype(np.int64), n - 1)
        high = np.minimum(low + 1, n - 1)
        share = (at - low).astype(np.float32).reshape((-1, 1, 1) if axis == 0 else (-1, 1))
        lower, upper = np.take(x, low, axis=axis + 1), np.take(x, high, axis=axis + 1)
        x = lower + (upper - lower) * share
    return x


def _to_space_shape(node: Node, shapes: list[Shape]) -> Shape:
    h, w, c = image(shapes[0])
    b = node.attr("block")
    if c % (b * b):
        raise ShapeError(f"spreads {c} channels over blocks of {b} x {b}")
    return (h * b, w * b, c // (b * b))


@declare("depth_to_space", _to_space_shape, attrs={"block": REQUIRED, "order": "dcr"}, dtype="same")
def _depth_to_space(node: Node, inputs: list[Array]) -> Array:
    """Channels become pixels of a block x block square.

    order "dcr": channel (y * block + x) * c + k goes to channel k of pixel (y, x); "crd": channel
    (k * block + y) * block + x does.
    """
    x, b = inputs[0], node.attrs["block"]
    n, h, w, c = x.shape
    if node.attr("order") == "dcr":
        v = x.reshape(n, h, w, b, b, c // (b * b)).transpose(0, 1, 3, 2, 4, 5)
    else:
        v = x.reshape(n, h, w, c // (b * b), b, b).transpose(0, 1, 4, 2, 5, 3)
    return v.reshape(n, h * b, w * b, c // (b * b))


def _to_depth_shape(node: Node, shapes: list[Shape]) -> Shape:
    h, w, c = image(shapes[0])
    b = node.attr("block")
    if h % b or w % b:
        raise ShapeError(f"cuts an image ({h}, {w}) into blocks of {b} x {b}")
    return (h // b, w // b, c * b * b)


@declare("space_to_depth", _to_depth_shape, attrs={"block": REQUIRED}, dtype="same")
def _space_to_depth(node: Node, inputs: list[Array]) -> Array:
    """Pixel (y, x) of a block gives channels (y * block + x) * c onwards."""
    x, b = inputs[0], node.attrs["block"]
    n, h, w, c = x.shape
    v = x.reshape(n, h // b, b, w // b, b, c).transpose(0, 1, 3, 2, 4, 5)
    return v.reshape(n, h // b, w // b, c * b * b)
