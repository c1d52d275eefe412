"""Layers, the builder that collects nodes, and the registry of handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder


@dataclass
class Layer:
    """A source layer: type, name, configuration, weights by their short name."""

    kind: str
    name: str
    config: dict[str, Any]
    weights: dict[str, np.ndarray] = field(default_factory=dict)


Handler = Callable[[Builder, Layer, list[str], "tuple[int, ...] | None"], str]
_HANDLERS: dict[str, Handler] = {}
_INTERNAL = {"Relu", "Sign"}  #: made by front ends, never written by users as layers


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for layer types."""

    def add(f: Handler) -> Handler:
        for k in kinds:
            _HANDLERS[k] = f
        return f

    return add


def supported() -> list[str]:
    """Names of every layer type that can be converted."""
    return sorted({*(k for k in _HANDLERS if k not in _INTERNAL), "InputLayer"})


def add_layer(
    b: Builder, layer: Layer, inputs: list[str], out_shape: tuple[int, ...] | None = None
) -> str:
    """Emit `layer`; `out_shape` is what the framework says (without batch). Returns its tensor."""
    handler = _HANDLERS.get(layer.kind)
    if handler is None:
        raise ModelError(
            f"layer '{layer.name}' is of type {layer.kind}, which cannot be converted; replace it "
            f"with supported layers: {', '.join(supported())}"
        )
    for tensor, value in layer.weights.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(
                f"weight '{tensor}' of layer '{layer.name}' holds NaN or infinity; training has "
                "diverged: restore an earlier checkpoint or lower the learning rate"
            )
    if layer.config.get("data_format") == "channels_first":
        raise refuse(layer, "uses data_format='channels_first'", "build it with 'channels_last'")
    first = len(b.nodes)
    out = handler(b, layer, inputs, out_shape)
    if len(b.nodes) > first and layer.weights:
        b.nodes[first].attrs["parameters"] = int(sum(v.size for v in layer.weights.values()))
    return out


def refuse(layer: Layer, what: str, way_out: str) -> ModelError:
    """The error for a layer that is supported, but not like this."""
    return ModelError(
        f"layer '{layer.name}' ({layer.kind}) {what}, which is not supported; {way_out}"
    )


def params(layer: Layer, kernel: np.ndarray, bias: bool = True) -> dict[str, np.ndarray]:
    """The parameters of a weighted node: `kernel`, and the layer's bias if it has one."""
    params = {"kernel": np.asarray(kernel, np.float32)}
    if bias and layer.config.get("use_bias", True) and "bias" in layer.weights:
        params["bias"] = np.asarray(layer.weights["bias"], np.float32)
    return params


def weight(layer: Layer, *names: str) -> np.ndarray:
    """The layer's weight under the first of `names` that it has; ModelError if it has none."""
    for n in names:
        if n in layer.weights:
            return layer.weights[n]
    raise ModelError(
        f"layer '{layer.name}' ({layer.kind}) has no weight '{names[0]}'; build the model before "
        "converting it"
    )
