"""Convolutions: full, grouped, depthwise, separable, transposed; one to three dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..trace import Constant, Tracer, rule
from .elementwise import apply, mixes

BORDER = "zero padding"
PATTERN = "overlapping strides"


def _axis(layer: Any) -> int:
    return 1 if layer.data_format == "channels_first" else -1


def _pixels(shape: tuple[int | None, ...], axis: int) -> int:
    """Positions of a map of this shape; an unknown side counts once."""
    sides = [n or 1 for n in shape[1:]]
    sides.pop(axis - 1 if axis > 0 else axis)
    return int(np.prod(sides))


def _padded(layer: Any) -> bool:
    return layer.padding != "valid" and any(k > 1 for k in layer.kernel_size)


def _sum(kernel: Any) -> np.ndarray:
    """Sums of absolute values over space, float64 [the last two axes]."""
    value = np.abs(np.asarray(kernel.value, np.float64))
    return value.reshape(-1, *value.shape[-2:]).sum(0)


def shifted(t: Tracer, ids: np.ndarray) -> None:
    """A removed channel of this layer is its bias, through the layer's own activation."""
    layer = t.op

    def constant(_output: int, _inputs: list[Constant | None]) -> Constant:
        bias = getattr(layer, "bias", None)
        value = np.zeros(len(ids)) if bias is None else np.asarray(bias.value, np.float64)
        return apply(layer.activation, value), np.ones(len(ids), bool)

    t.constant = constant
    if mixes(layer.activation):
        t.freeze(ids, f"the activation of '{layer.name}' mixes channels")


@rule("Conv1D", "Conv2D", "Conv3D")
def conv(t: Tracer) -> None:
    """The kernel is [..., inputs of a group, outputs]."""
    layer, axis = t.op, _axis(t.op)
    groups, size, n = layer.groups, layer.kernel.shape[-2], layer.filters
    macs = _pixels(t.out_shapes[0], axis)
    if groups > 1 and size == 1:  # one input a group: depthwise by another name
        inputs = t.along(axis)
        index = np.repeat(np.arange(len(inputs)), n // groups)
        ids = t.keep(axis, [index])
        t.layer.held = ids
        t.weight("kernel", {-1: ids}, macs)
        t.weight("bias", {0: ids})
        t.resize(filters=ids, groups=inputs)
        t.layer.strength = lambda: _sum(layer.kernel)[0]
        shifted(t, ids)
        return
    inputs, ids = t.read(axis), t.make(n, axis)
    first = inputs[:size]
    if groups > 1:  # all groups stay, each loses the same places
        for g in range(1, groups):
            t.ids.unite(first, inputs[g * size : (g + 1) * size])
            t.ids.unite(ids[: n // groups], ids[g * n // groups : (g + 1) * n // groups])
    t.weight("kernel", {-2: first, -1: ids}, macs)
    t.weight("bias", {0: ids})
    t.resize(filters=ids)

    def strength() -> np.ndarray:
        taps = _sum(layer.kernel).reshape(size, groups, n // groups)
        out = np.zeros((groups, size, groups, n // groups))
        for g in range(groups):
            out[g, :, g] = taps[:, g]
        return out.reshape(groups * size, n)

    def absorb(value: np.ndarray) -> tuple[np.ndarray, bool]:
        kernel = np.asarray(layer.kernel.value, np.float64)
        taps = kernel.reshape(-1, size, groups, n // groups).sum(0)
        out = np.einsum("gi,igo->go", value.reshape(groups, size), taps).reshape(-1)
        return out, not _padded(layer)

    t.layer.absorb, t.layer.border, t.layer.strength = absorb, BORDER, strength
    shifted(t, ids)


@rule("DepthwiseConv1D", "DepthwiseConv2D")
def depthwise(t: Tracer) -> None:
    """The kernel is [..., inputs, multiplier]; the outputs of an input lie side by side."""
    layer, axis = t.op, _axis(t.op)
    inputs = t.along(axis)
    if t.inputs[0] is None or t.inputs[0].ids is not inputs:
        t.whole(f"'{layer.name}' works across another axis than the channels'")
        return
    ids = t.keep(axis, [np.repeat(np.arange(len(inputs)), layer.depth_multiplier)])
    t.layer.held = ids
    t.weight("kernel", {-2: inputs}, _pixels(t.out_shapes[0], axis))
    t.weight("bias", {0: ids})
    t.layer.strength = lambda: _sum(layer.kernel).reshape(-1)
    shifted(t, ids)


@rule("SeparableConv1D", "SeparableConv2D")
def separable(t: Tracer) -> None:
    """A depthwise kernel that goes with the inputs and a pointwise one that makes the outputs."""
    layer, axis = t.op, _axis(t.op)
    inputs, ids = t.read(axis), t.make(layer.filters, axis)
    t.resize(filters=ids)
    macs = _pixels(t.out_shapes[0], axis)
    t.weight("depthwise_kernel", {-2: inputs}, macs)
    t.weight("pointwise_kernel", {-2: np.repeat(inputs, layer.depth_multiplier), -1: ids}, macs)
    t.weight("bias", {0: ids})

    def absorb(value: np.ndarray) -> tuple[np.ndarray, bool]:
        taps = np.asarray(layer.depthwise_kernel.value, np.float64)
        taps = taps.reshape(-1, *taps.shape[-2:]).sum(0)  # [inputs, multiplier]
        mix = np.asarray(layer.pointwise_kernel.value, np.float64)
        out = (value[:, None] * taps).reshape(-1) @ mix.reshape(mix.shape[-2:])
        return out, not _padded(layer)

    def strength() -> np.ndarray:
        taps, mix = _sum(layer.depthwise_kernel), _sum(layer.pointwise_kernel)
        return np.einsum("im,imo->io", taps, mix.reshape(*taps.shape, -1))

    t.layer.absorb, t.layer.border, t.layer.strength = absorb, BORDER, strength
    shifted(t, ids)


@rule("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose")
def transposed(t: Tracer) -> None:
    """The kernel is [..., outputs, inputs]; a constant input leaves the pattern of the strides."""
    layer, axis = t.op, _axis(t.op)
    inputs, ids = t.read(axis), t.make(layer.filters, axis)
    t.weight("kernel", {-1: inputs, -2: ids}, _pixels(t.shapes[0], axis))
    t.weight("bias", {0: ids})
    t.resize(filters=ids)

    def absorb(value: np.ndarray) -> tuple[np.ndarray, bool]:
        kernel = np.asarray(layer.kernel.value, np.float64)
        taps = kernel.reshape(-1, *kernel.shape[-2:]).sum(0)  # [outputs, inputs]
        # every output is reached by kernel / stride taps on the mean
        out = taps @ value / np.prod(layer.strides)
        return out, all(
            k == 1 and s == 1 for k, s in zip(layer.kernel_size, layer.strides, strict=True)
        )

    t.layer.strength = lambda: _sum(layer.kernel).T
    t.layer.absorb, t.layer.border = absorb, PATTERN
    shifted(t, ids)
