"""Layers that only networks of keras.applications have."""

from __future__ import annotations

import numpy as np

from secateur.frontend.build import Builder

from .base import SourceLayer, handles, refuse


@handles("LayerScale")
def _layer_scale(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    """ConvNeXt's factor for each channel (arXiv:2103.17239), its only weight."""
    if len(layer.weights) != 1:
        raise refuse(layer, f"has {len(layer.weights)} weights", "use keras.applications' own")
    (gamma,) = layer.weights.values()
    zero = np.zeros((1,), np.float32)
    return b.affine(layer.name, inputs[0], np.asarray(gamma, np.float32), zero)
