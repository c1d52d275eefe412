"""Activations, as layers and as the `activation=` argument of others."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder

from .base import SourceLayer, add_layer, handles, refuse, weight

#: Keras' name of an activation: function of `ops.activation.FUNCTIONS` and its arguments.
_FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("sigmoid", {}),
    "tanh": ("tanh", {}),
    "hard_sigmoid": ("hard_sigmoid", {}),
    "hard_tanh": ("hard_tanh", {}),
    "silu": ("silu", {}),
    "swish": ("silu", {}),
    "hard_silu": ("hard_silu", {}),
    "hard_swish": ("hard_silu", {}),
    "gelu": ("gelu", {}),
    "elu": ("elu", {}),
    "celu": ("celu", {}),
    "selu": ("selu", {}),
    "mish": ("mish", {}),
    "softplus": ("softplus", {}),
    "softsign": ("softsign", {}),
    "exponential": ("exponential", {}),
    "log_sigmoid": ("log_sigmoid", {}),
    "leaky_relu": ("leaky_relu", {"slope": 0.2}),
    "hard_shrink": ("hard_shrink", {"threshold": 0.5}),
    "soft_shrink": ("soft_shrink", {"threshold": 0.5, "offset": 0.5}),
    "tanh_shrink": ("tanh_shrink", {}),
}
#: Layers that are activations, as which an `activation=` argument may be given.
_LAYERS = ("ReLU", "LeakyReLU", "ELU", "Softmax", "Activation")


def supported_activations() -> list[str]:
    """Every name that `activation=` may have."""
    return sorted({*_FUNCTIONS, "linear", "relu", "relu6", "softmax", "log_softmax"})


def activation(b: Builder, layer: SourceLayer, tensor: str, spec: Any) -> str:
    """Emit what an `activation=` argument (name or serialised object) asks for."""
    if isinstance(spec, dict):
        config = spec.get("config")
        if spec.get("class_name") in _LAYERS:
            inner = SourceLayer(
                spec["class_name"], f"{layer.name}_{spec['class_name'].lower()}", config or {},
                keras2=layer.keras2,
            )  # fmt: skip
            return add_layer(b, inner, [tensor])
        spec = config if isinstance(config, str) else spec.get("class_name")
    if spec in (None, "linear"):
        return tensor
    shape = b.shape(tensor)
    name = layer.name if layer.kind == "Activation" else f"{layer.name}_{spec}"
    if spec in ("relu", "relu6"):
        cap = 6.0 if spec == "relu6" else None
        return b.emit("relu", name, [tensor], shape, {"max_value": cap})
    if spec in ("softmax", "log_softmax"):
        return b.softmax(name, tensor, -1, log=spec == "log_softmax")
    if spec in _FUNCTIONS:
        function, arguments = _FUNCTIONS[spec]
        if function == "hard_sigmoid" and layer.keras2:
            arguments = {"slope": 0.2, "offset": 0.5}
        return b.activation(name, tensor, function, **arguments)
    raise ModelError(
        f"layer '{layer.name}' ({layer.kind}) has the activation '{spec}', which cannot be "
        f"converted; supported activations: {', '.join(supported_activations())}"
    )


@handles("ReLU", "Relu")
def _relu(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    c = layer.config
    cap = c.get("max_value")
    cap = None if cap is None else float(cap)
    slope, threshold = (float(c.get(k) or 0) for k in ("negative_slope", "threshold"))
    if slope or threshold:
        return b.activation(
            layer.name, inputs[0], "leaky_relu", slope=slope, threshold=threshold, max_value=cap
        )
    return b.emit("relu", layer.name, inputs, b.shape(inputs[0]), {"max_value": cap})


@handles("LeakyReLU")
def _leaky(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    c = layer.config
    slope = float(np.asarray(c.get("negative_slope", c.get("alpha", 0.3))))
    return b.activation(layer.name, inputs[0], "leaky_relu", slope=slope)


@handles("PReLU")
def _prelu(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    alpha = np.asarray(weight(layer, "alpha"), np.float32)
    if alpha.size == alpha.shape[-1]:
        alpha = alpha.ravel()
    if alpha.size == 1:  # shared by all
        alpha = np.broadcast_to(alpha.ravel(), (b.shape(inputs[0])[-1],))
    return b.emit("prelu", layer.name, inputs, None, {}, {"alpha": alpha})


@handles("ELU")
def _elu(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    return b.activation(layer.name, inputs[0], "elu", alpha=float(layer.config.get("alpha", 1.0)))


@handles("Sign")
def _sign(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    return b.emit("sign", layer.name, inputs, b.shape(inputs[0]))


@handles("QuantActivation")
def _quant_activation(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
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
def _activation(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    return activation(b, layer, inputs[0], layer.config["activation"])


@handles("Softmax")
def _softmax(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    axes = layer.config.get("axis", -1)
    axes = list(axes) if isinstance(axes, list | tuple) else [axes]
    rank = len(b.nominal(inputs[0]))
    places = [source_axis(layer, a, rank) for a in axes]
    if len(places) == 1:
        return b.softmax(layer.name, inputs[0], places[0])
    raise refuse(layer, f"normalises axes {axes} together", "reshape them into one axis before it")


def source_axis(layer: SourceLayer, axis: Any, rank: int) -> int:
    """Keras' axis, which counts the batch, as one of `rank` axes without it."""
    a = int(axis)
    found = a - 1 if a >= 0 else a + rank
    if not 0 <= found < rank:
        what = "works along the batch" if a in (0, -rank - 1) else f"has no axis {a}"
        raise refuse(layer, what, "work on the axes behind the batch")
    return found
