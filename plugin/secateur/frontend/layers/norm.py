"""Normalization layers, trained and of preprocessing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder

from .activation import source_axis
from .base import SourceLayer, handles, refuse, weight


def on_last_axis(
    b: Builder, layer: SourceLayer, tensor: str, axis: Any, make: Callable[[str], str]
) -> str:
    """`make` on the tensor with Keras' `axis` moved to the end, and back behind it."""
    if isinstance(axis, list | tuple):
        if len(axis) != 1:
            raise refuse(layer, f"normalises the axes {list(axis)}", "normalise one axis")
        axis = axis[0]
    rank = len(b.nominal(tensor))
    at = source_axis(layer, axis, rank)
    order = [*(i for i in range(rank) if i != at), at]
    y = make(b.transpose(f"{layer.name}_last", tensor, order))
    return b.transpose(f"{layer.name}_back", y, [order.index(i) for i in range(rank)])


@handles("BatchNormalization", "SyncBatchNormalization")
def _batch_norm(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    mean = weight(layer, "moving_mean").astype(np.float64)
    var = weight(layer, "moving_variance").astype(np.float64)
    scale = 1.0 / np.sqrt(var + float(layer.config.get("epsilon", 1e-3)))
    if "gamma" in layer.weights:
        scale = scale * layer.weights["gamma"].astype(np.float64)
    shift = -mean * scale
    if "beta" in layer.weights:
        shift = shift + layer.weights["beta"].astype(np.float64)
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise ModelError(
            f"layer '{layer.name}' (BatchNormalization) has a negative moving_variance; train it "
            "further or restore an earlier checkpoint"
        )
    params = {"scale": scale.astype(np.float32), "shift": shift.astype(np.float32)}
    return on_last_axis(
        b, layer, inputs[0], layer.config.get("axis", -1),
        lambda t: b.emit("batch_norm", layer.name, [t], b.shape(t), {}, params),
    )  # fmt: skip


def _scaled(layer: SourceLayer, scale: str, shift: str) -> dict[str, np.ndarray]:
    named = {"scale": layer.weights.get(scale), "shift": layer.weights.get(shift)}
    return {k: np.asarray(v, np.float32) for k, v in named.items() if v is not None}


def _row_norm(
    b: Builder, layer: SourceLayer, t: str, op: str, params: dict[str, np.ndarray]
) -> str:
    axis = layer.config.get("axis", -1)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    rank, carried = len(b.nominal(t)), len(b.shape(t))
    places = sorted(source_axis(layer, a, rank) for a in axes)
    epsilon = float(layer.config.get("epsilon") or 1e-7)

    def make(t: str, n: int) -> str:
        attrs = {"axes": tuple(range(carried - n, carried)), "epsilon": epsilon}
        return b.emit(op, layer.name, [t], None, attrs, params)

    if places == list(range(rank - len(places), rank)):
        return make(t, len(places))
    if len(places) > 1:
        raise refuse(layer, f"normalises axes {axes}", "normalise the last ones")
    return on_last_axis(b, layer, t, axes[0], lambda t: make(t, 1))


@handles("LayerNormalization")
def _layer_norm(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    if layer.config.get("rms_scaling"):
        raise refuse(layer, "has rms_scaling=True", "use RMSNormalization")
    return _row_norm(b, layer, inputs[0], "layer_norm", _scaled(layer, "gamma", "beta"))


@handles("RMSNormalization")
def _rms_norm(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    return _row_norm(b, layer, inputs[0], "rms_norm", _scaled(layer, "scale", "-"))


@handles("GroupNormalization")
def _group_norm(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    params = _scaled(layer, "gamma", "beta")

    def make(t: str) -> str:
        groups = int(layer.config.get("groups", 32))
        attrs = {
            "groups": b.shape(t)[-1] if groups == -1 else groups,
            "epsilon": float(layer.config.get("epsilon", 1e-3)),
        }
        return b.emit("group_norm", layer.name, [t], None, attrs, params)

    return on_last_axis(b, layer, inputs[0], layer.config.get("axis", -1), make)


@handles("UnitNormalization")
def _unit_norm(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    axis = layer.config.get("axis", -1)
    axes = list(axis) if isinstance(axis, list | tuple) else [axis]
    rank = len(b.nominal(inputs[0]))
    places = tuple(b.axis(inputs[0], source_axis(layer, a, rank)) for a in axes)
    attrs = {"axes": tuple(sorted(places)), "epsilon": 1e-24}
    return b.emit("l2_norm", layer.name, inputs, None, attrs)


@handles("Rescaling")
def _rescaling(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    scale, offset = (
        np.asarray(layer.config.get(k, d), np.float32) for k, d in (("scale", 1), ("offset", 0))
    )
    if (scale.size == 1 and offset.size == 1) or max(scale.ndim, offset.ndim) == 1:
        return b.affine(layer.name, inputs[0], scale, offset)
    y = b.arithmetic("mul", layer.name, inputs[0], scale)
    return b.arithmetic("add", f"{layer.name}_offset", y, offset)


@handles("Normalization")
def _normalization(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    c = layer.config
    mean, variance = (
        np.asarray(layer.weights[k] if c.get(k) is None else c[k], np.float64)
        for k in ("mean", "variance")
    )
    nominal = b.nominal(inputs[0])
    axis = c.get("axis", -1)
    axes = [] if axis is None else list(axis) if isinstance(axis, list | tuple) else [axis]
    places = [source_axis(layer, a, len(nominal)) for a in axes]
    shape = tuple(n if i in places else 1 for i, n in enumerate(nominal)) or (1,)
    if mean.size != 1:
        mean, variance = mean.reshape(shape), variance.reshape(shape)
    root = np.maximum(np.sqrt(variance), 1e-7)
    if c.get("invert"):
        scale, shift = root, mean
    else:
        scale, shift = 1 / root, -mean / root
    if scale.size == 1 or scale.size == scale.shape[-1]:
        return b.affine(layer.name, inputs[0], scale, shift)
    y = b.arithmetic("mul", layer.name, inputs[0], scale.astype(np.float32))
    return b.arithmetic("add", f"{layer.name}_shift", y, shift.astype(np.float32))
