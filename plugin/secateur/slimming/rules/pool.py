"""Poolings, padding, cropping, resizing and reductions over space."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..trace import Constant, Tracer, rule


def _spatial(t: Tracer) -> bool:
    """Whether the channels are where the layer expects them; all stay if not."""
    x = t.inputs[0]
    rank = len(t.shapes[0])
    wanted = 1 if getattr(t.op, "data_format", None) == "channels_first" else rank - 1
    if x is None or x.axis != wanted:
        t.whole(f"'{t.op.name}' works along the channels")
        return False
    return True


@rule(
    "MaxPooling1D", "MaxPooling2D", "MaxPooling3D",
    "AveragePooling1D", "AveragePooling2D", "AveragePooling3D",
    "AdaptiveAveragePooling1D", "AdaptiveAveragePooling2D", "AdaptiveMaxPooling1D",
    "AdaptiveMaxPooling2D",
    "UpSampling1D", "UpSampling2D", "UpSampling3D", "Cropping1D", "Cropping2D", "Cropping3D",
    "Resizing",
)  # fmt: skip
def pool(t: Tracer) -> None:
    """A window over space; padding of a mean or a maximum does not count, so constants stay."""
    if _spatial(t):
        t.same()
        if getattr(t.op, "pad_to_aspect_ratio", False) and t.op.fill_mode == "constant":
            fill = float(t.op.fill_value)

            def constant(_output: int, inputs: list[Constant | None]) -> Constant:
                assert inputs[0] is not None
                value, everywhere = inputs[0]
                return value, everywhere & (value == fill)

            t.constant = constant


@rule(
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalAveragePooling3D",
    "GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D",
)  # fmt: skip
def everything(t: Tracer) -> None:
    """Space goes, the channels are left."""
    if _spatial(t):
        first = getattr(t.op, "data_format", None) == "channels_first"
        t.moved(1 if first or not t.op.keepdims else -1)


@rule("ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D")
def padding(t: Tracer) -> None:
    """Zeros around: a constant other than 0 ends at the border."""
    if not _spatial(t):
        return
    t.same()
    t.constant = _bordered


def _bordered(_output: int, inputs: list[Constant | None]) -> Constant:
    assert inputs[0] is not None
    value, everywhere = inputs[0]
    return value, everywhere & (value == 0)


@rule("Pad")
def pad(t: Tracer) -> None:
    """`keras.ops.pad`: of space, or of channels (the shortcut without weights of a ResNet)."""
    x = t.inputs[0]
    if x is None or t.op.mode != "constant" or len(t.inputs) > 1:
        t.whole(f"'{t.op.name}' fills in what depends on channels")
        return
    widths = np.broadcast_to(np.asarray(t.op.pad_width), (len(t.shapes[0]), 2))
    before, after = widths[x.axis]
    t.keep(x.axis, [np.pad(np.arange(len(x.ids)), (before, after), constant_values=-1)])
    others = np.delete(widths, x.axis, axis=0)
    if others.any():
        t.constant = _bordered


def _axes(op: Any, rank: int) -> list[int]:
    axis = op.axis
    if axis is None:
        return list(range(rank))
    return [a % rank for a in (axis if isinstance(axis, list | tuple) else [axis])]


@rule("Mean", "Max", "Min", "Amax", "Amin", "Sum", "Any", "All")
def reduce(t: Tracer) -> None:
    """`keras.ops.mean` and the like over other axes than the channels'."""
    x, rank = t.inputs[0], len(t.shapes[0])
    axes = _axes(t.op, rank)
    if x is None or x.axis in axes or 0 in axes:
        t.whole(f"'{t.op.name}' works along the channels")
        return
    t.moved(x.axis if t.op.keepdims else x.axis - sum(a < x.axis for a in axes))
    if type(t.op).__name__ == "Sum":
        sides = [t.shapes[0][a] for a in axes]
        known = None not in sides  # how often a constant is added up
        times = int(np.prod([n or 1 for n in sides]))

        def constant(_output: int, inputs: list[Constant | None]) -> Constant:
            assert inputs[0] is not None
            value, everywhere = inputs[0]
            return value * times, everywhere & (known | (value == 0))

        t.constant = constant
