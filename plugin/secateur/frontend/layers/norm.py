"""Normalization layers."""

from __future__ import annotations

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder

from .base import Layer, handles, refuse, weight


@handles("BatchNormalization")
def _batch_norm(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    shape = b.shape(inputs[0])
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    rank = len(out) if out is not None else len(shape)
    if axis not in (-1, rank):  # Keras counts the batch
        raise refuse(layer, f"normalises axis {axis}", "normalise the last axis")
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
    return b.emit("batch_norm", layer.name, inputs, shape, {}, params)
