"""Activations, as layers and as the `activation=` argument of others."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder

from .base import Layer, add_layer, handles, refuse, weight


def activation(b: Builder, layer: Layer, tensor: str, spec: Any) -> str:
    """Emit what an `activation=` argument (name or serialised object) asks for."""
    if isinstance(spec, dict):
        config = spec.get("config")
        if spec.get("class_name") in ("ReLU", "Softmax", "Activation"):
            inner = Layer(
                spec["class_name"], f"{layer.name}_{spec['class_name'].lower()}", config or {}
            )
            return add_layer(b, inner, [tensor])
        spec = config if isinstance(config, str) else spec.get("class_name")
    if spec in (None, "linear"):
        return tensor
    shape = b.shape(tensor)
    name = layer.name if layer.kind == "Activation" else f"{layer.name}_{spec}"
    if spec in ("relu", "relu6"):
        cap = 6.0 if spec == "relu6" else None
        return b.emit("relu", name, [tensor], shape, {"max_value": cap})
    if spec == "softmax":
        return b.emit("softmax", name, [tensor], shape)
    raise ModelError(
        f"layer '{layer.name}' ({layer.kind}) has the activation '{spec}', which cannot be "
        "converted; supported activations: linear, relu, relu6, softmax"
    )


@handles("ReLU", "Relu")
def _relu(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    c = layer.config
    for key in ("negative_slope", "threshold"):
        if c.get(key):
            raise refuse(layer, f"has {key}={c[key]}", f"use {key}=0")
    cap = c.get("max_value")
    cap = None if cap is None else float(cap)
    return b.emit("relu", layer.name, inputs, b.shape(inputs[0]), {"max_value": cap})


@handles("Sign")
def _sign(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    return b.emit("sign", layer.name, inputs, b.shape(inputs[0]))


@handles("QuantActivation")
def _quant_activation(
    b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    c = layer.config
    bits, top = int(c["bits"]), float(c["max_value"])
    shape = b.shape(inputs[0])
    if c["kind"] == "sign":
        return b.emit("sign", layer.name, inputs, shape)
    if bits == 8:  # the codes of an ordinary activation, with a range of its own
        attrs = {"max_value": top, "range": (0.0, top)}
        return b.emit("relu", layer.name, inputs, shape, attrs)
    if c["levels"] == "learned":
        basis = np.sort(weight(layer, "basis").astype(np.float64))
    else:
        basis = top / (2**bits - 1) * 2.0 ** np.arange(bits)
    if not basis.min() > 0:
        raise refuse(layer, f"has the basis {basis.tolist()}, not above 0", "train it further")
    subsets = np.arange(2**bits)[:, None] >> np.arange(bits) & 1
    values = np.sort(subsets @ basis)
    attrs = {"levels": (values, (values[1:] + values[:-1]) / 2, basis)}
    return b.emit("quant_activation", layer.name, inputs, shape, attrs)


@handles("Activation")
def _activation(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    return activation(b, layer, inputs[0], layer.config["activation"])


@handles("Softmax")
def _softmax(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) and len(axis) == 1 else axis
    if axis not in (-1, len(b.shape(inputs[0]))):
        raise refuse(layer, f"normalises axis {axis}", "use axis=-1")
    return b.emit("softmax", layer.name, inputs, b.shape(inputs[0]))
