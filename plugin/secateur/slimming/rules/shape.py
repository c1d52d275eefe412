"""Reshapes, transpositions, splits and slices: the same elements at other places."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..channels import Axis
from ..trace import Count, Tracer, rule


@rule("Flatten", "Reshape")
def reshape(t: Tracer) -> None:
    """Allowed while every channel ends on one axis, alone or many times over."""
    x = t.inputs[0]
    if x is None or any(n is None for n in (*t.shapes[0][1:], *t.out_shapes[0][1:])):
        t.whole(f"'{t.op.name}' reshapes what has no channel axis or no fixed size")
        return
    out = _placed(x, t.shapes[0], t.out_shapes[0])
    if out is None:
        t.whole(f"'{t.op.name}' spreads channels over several axes")
        return
    ids = t.keep(out.axis, [out.ids])
    size = out.axis - 1
    if hasattr(t.op, "target_shape"):  # the layer
        wanted = list(t.op.target_shape)
        t.resize(target_shape=lambda count: _with(wanted, size, count(ids)))
    elif hasattr(t.op, "newshape"):  # keras.ops.reshape, whose shape has the batch
        whole = list(t.op.newshape)
        t.resize(newshape=lambda count: _with(whole, size + 1, count(ids)))


def _with(shape: list[Any], axis: int, size: int) -> tuple[Any, ...]:
    out = list(shape)
    if out[axis] != -1:
        out[axis] = size
    return tuple(out)


def _placed(x: Axis, shape: tuple[Any, ...], new: tuple[Any, ...]) -> Axis | None:
    """The axis of the new shape along which the channels lie, and which channel is where."""
    sides = [1] * (len(shape) - 1)
    sides[x.axis - 1] = len(x.ids)
    labels = np.broadcast_to(np.arange(len(x.ids)).reshape(sides), shape[1:]).reshape(new[1:])
    for axis in reversed(range(labels.ndim)):
        line = labels[tuple(slice(None) if a == axis else slice(1) for a in range(labels.ndim))]
        if (labels == line).all():
            return Axis(axis + 1, line.reshape(-1))
    return None


@rule("Permute", "Transpose")
def permute(t: Tracer) -> None:
    """Axes in another order."""
    x = t.inputs[0]
    if x is None:
        return
    rank = len(t.shapes[0])
    if hasattr(t.op, "dims"):  # the layer, without the batch
        order = [0, *t.op.dims]
    else:
        axes = t.op.axes
        order = [a % rank for a in axes] if axes is not None else list(reversed(range(rank)))
    if order[0] != 0:
        t.whole(f"'{t.op.name}' moves the batch")
        return
    t.moved(order.index(x.axis))


@rule("ExpandDims")
def expand(t: Tracer) -> None:
    """One more axis of size 1."""
    x = t.inputs[0]
    axis = t.op.axis
    if x is None or not isinstance(axis, int) or axis % len(t.out_shapes[0]) == 0:
        t.whole(f"'{t.op.name}' adds axes in a way that is not followed")
        return
    axis %= len(t.out_shapes[0])
    t.moved(x.axis + (axis <= x.axis))


@rule("Squeeze")
def squeeze(t: Tracer) -> None:
    """Axes of size 1 less."""
    x, rank = t.inputs[0], len(t.shapes[0])
    axis = t.op.axis
    if axis is None:
        axes = [a for a, n in enumerate(t.shapes[0]) if n == 1]
    else:
        axes = [a % rank for a in (axis if isinstance(axis, list | tuple) else [axis])]
    if x is None or x.axis in axes:
        t.whole(f"'{t.op.name}' takes the channel axis away")
        return
    t.moved(x.axis - sum(a < x.axis for a in axes))


@rule("RepeatVector")
def repeat(t: Tracer) -> None:
    """[n, channels] becomes [n, times, channels]."""
    t.moved(-1)


@rule("Split")
def split(t: Tracer) -> None:
    """Every part is cut where its channels are."""
    x = t.inputs[0]
    if x is None:
        return
    axis = t.op.axis % len(t.shapes[0])
    if axis == 0:
        t.whole(f"'{t.op.name}' splits the batch")
        return
    if axis != x.axis:
        for k in range(len(t.outputs)):
            t.keep(x.axis, [np.arange(len(x.ids))], k)
        return
    end, parts = 0, []
    for k, shape in enumerate(t.out_shapes):
        start, end = end, end + (shape[axis] or 0)
        parts.append(t.keep(axis, [np.arange(start, end)], k))
    t.resize(
        indices_or_sections=lambda count: [
            int(n) for n in np.cumsum([count(part) for part in parts])[:-1]
        ]
    )


@rule("GetItem")
def get_item(t: Tracer) -> None:
    """`x[..., a:b]`: slices of step 1, whole numbers on other axes."""
    x, rank = t.inputs[0], len(t.shapes[0])
    args, kwargs = t.node.arguments.args, t.node.arguments.kwargs
    key = kwargs["key"] if "key" in kwargs else args[1]
    keys = list(key) if isinstance(key, tuple) else [key]
    plain = all(isinstance(k, int | slice) or k is Ellipsis for k in keys)
    if x is None or not plain:
        t.whole(f"'{t.op.name}' picks elements in a way that is not followed")
        return
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (rank - len(keys) + 1)
    keys += [slice(None)] * (rank - len(keys))
    picked = keys[x.axis]
    if isinstance(picked, int) or picked.step not in (None, 1) or isinstance(keys[0], int):
        t.whole(f"'{t.op.name}' takes the channel axis apart")
        return
    ids = x.ids
    start, stop, _ = picked.indices(len(ids))
    axis = x.axis - sum(isinstance(k, int) for k in keys[: x.axis])
    t.keep(axis, [np.arange(start, stop)])

    def rearrange(args: tuple[Any, ...], kwargs: dict[str, Any], count: Count) -> Any:
        first = count(ids[:start])
        new = list(keys)
        new[x.axis] = slice(first, first + count(ids[start:stop]))
        if "key" in kwargs:
            return args, {**kwargs, "key": tuple(new)}
        return (args[0], tuple(new)), kwargs

    t.rearrange = rearrange
