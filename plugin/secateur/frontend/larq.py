"""Larq's quantized layers: kernels as their quantizer makes them, sign before binarized inputs.

Larq serves tf_keras alone and asks for TF_USE_LEGACY_KERAS=1 to be importable at all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.layers import SourceLayer

#: Larq layer: the Keras layer it quantizes, and its quantized weight.
_LAYERS = {
    "QuantConv1D": ("Conv1D", "kernel"),
    "QuantConv2D": ("Conv2D", "kernel"),
    "QuantDense": ("Dense", "kernel"),
    "QuantDepthwiseConv2D": ("DepthwiseConv2D", "depthwise"),
}
#: Quantizers whose forward pass is +1 where x >= 0, else -1.
_SIGNS = ("SteSign", "ApproxSign", "SwishSign")


def from_larq(layer: Any, weights: dict[str, np.ndarray]) -> SourceLayer:
    """The plain layer with the weights that Larq computes with; `weights` are the latent ones."""
    kind = type(layer).__name__
    if kind not in _LAYERS:
        raise ModelError(
            f"layer '{layer.name}' is Larq's {kind}, which cannot be converted; use "
            f"{', '.join(_LAYERS)} or plain layers"
        )
    config = layer.get_config()
    plain, weight = _LAYERS[kind]
    if config.get("padding") == "same" and config.get("pad_values", 0.0) != 0.0:
        raise ModelError(
            f"layer '{layer.name}' ({kind}) pads with {config['pad_values']}, which is not "
            "supported; use pad_values=0"
        )
    quantizer = getattr(layer, f"{weight}_quantizer", None)
    if quantizer is not None:
        name = "kernel" if "kernel" in weights else "depthwise_kernel"
        weights = {**weights, name: np.asarray(quantizer(weights[name]))}
    return SourceLayer(plain, layer.name, config, weights)


def input_sign(layer: Any) -> SourceLayer:
    """The sign that a layer's input quantizer stands for."""
    name = type(layer.input_quantizer).__name__
    if name not in _SIGNS:
        raise ModelError(
            f"layer '{layer.name}' quantizes its input with {name}, which cannot be converted; use "
            f"one of {', '.join(_SIGNS)}"
        )
    return SourceLayer("Sign", f"{layer.name}_input", {})
