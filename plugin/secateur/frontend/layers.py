"""Keras layers to graph nodes, for every front end whose layers carry Keras' names and configs.

A front end walks its own model and hands each layer over as a `Layer`; one handler per type emits
nodes. The registry of handlers is the list of supported layers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph, Node

Pads = tuple[int, int, int, int]


@dataclass
class Layer:
    """A source layer: type, name, configuration, weights by their short name."""

    kind: str
    name: str
    config: dict[str, Any]
    weights: dict[str, np.ndarray] = field(default_factory=dict)


class Builder:
    """Collects nodes; keeps node and tensor names unique."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.nodes: list[Node] = []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.input: str | None = None

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a tensor emitted before, without the batch."""
        return self._shapes[tensor]

    def emit(
        self,
        op: str,
        name: str,
        inputs: list[str],
        shape: tuple[int, ...],
        attrs: dict[str, Any] | None = None,
        params: dict[str, np.ndarray] | None = None,
    ) -> str:
        """Append a node; returns its output tensor's name."""
        unique, i = name, 1
        while unique in self._shapes:
            i += 1
            unique = f"{name}_{i}"
        shape = tuple(int(d) for d in shape)
        self.nodes.append(
            Node(op, unique, tuple(inputs), unique, shape, dict(attrs or {}), dict(params or {}))
        )
        self._shapes[unique] = shape
        return unique

    def add_input(self, name: str, shape: tuple[int | None, ...]) -> str:
        """The model's one input; `shape` without the batch."""
        if any(d is None for d in shape):
            raise ModelError(
                f"the input '{name}' of model '{self.name}' has the open shape {tuple(shape)}; "
                "build the model with every dimension but the batch fixed"
            )
        if len(shape) not in (1, 2, 3):
            raise ModelError(
                f"the input '{name}' of model '{self.name}' has shape {tuple(shape)}; one to three "
                "dimensions are supported: (N,), (L, C) or (H, W, C)"
            )
        self.input = self.emit("input", name, [], canonical(tuple(int(d or 0) for d in shape)))
        return self.input

    def finish(self, output: str) -> Graph:
        """The finished graph."""
        if self.input is None:
            raise ModelError(f"model '{self.name}' has no input; start it with keras.Input(shape)")
        return Graph(self.name, self.nodes, self.input, output)


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


def canonical(shape: tuple[int, ...]) -> tuple[int, ...]:
    """(L, C) as (1, L, C); others as they are."""
    return (1, *shape) if len(shape) == 2 else tuple(shape)


def resolve_padding(
    padding: str, size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int]
) -> Pads:
    """TensorFlow's explicit (top, left, bottom, right) for 'same' or 'valid'."""
    if padding.lower() == "valid":
        return (0, 0, 0, 0)
    (t, b), (left, r) = (
        (p // 2, p - p // 2)
        for p in (
            max((-(-n // s) - 1) * s + k - n, 0)
            for n, k, s in zip(size, window, strides, strict=True)
        )
    )
    return (t, left, b, r)


def window_shape(
    size: tuple[int, int], window: tuple[int, int], strides: tuple[int, int], pads: Pads
) -> tuple[int, int]:
    """Output height and width of a sliding window."""
    h = (size[0] + pads[0] + pads[2] - window[0]) // strides[0] + 1
    w = (size[1] + pads[1] + pads[3] - window[1]) // strides[1] + 1
    return h, w


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


def _image(b: Builder, layer: Layer, tensor: str) -> tuple[int, int, int]:
    shape = b.shape(tensor)
    if len(shape) != 3:
        raise refuse(layer, f"gets a vector of shape {shape}", "give it an image or a sequence")
    return shape[0], shape[1], shape[2]


def _pair(value: Any, one_d: bool) -> tuple[int, int]:
    """A Keras size argument as (y, x); 1-D layers act along x."""
    values = [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
    if one_d:
        return 1, values[0]
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def _geometry(
    layer: Layer, size: tuple[int, int], window: tuple[int, int], one_d: bool
) -> tuple[tuple[int, int], Pads]:
    """Strides and pads of a convolution or pooling layer."""
    c = layer.config
    strides = c.get("strides")
    stride = window if strides is None else _pair(strides, one_d)
    if one_d:
        stride = (1, stride[1])
    padding = c.get("padding", "valid")
    pads = (
        (0, window[1] - 1, 0, 0)
        if padding == "causal"
        else resolve_padding(padding, size, window, stride)
    )
    if min(window_shape(size, window, stride, pads)) < 1:
        raise refuse(layer, f"has a window {window} larger than its input {size}", "shrink it")
    return stride, pads


def _check_conv(layer: Layer) -> None:
    c = layer.config
    dilation = c.get("dilation_rate", 1)
    if any(d != 1 for d in (dilation if isinstance(dilation, list | tuple) else [dilation])):
        raise refuse(layer, f"has dilation_rate={dilation}", "use dilation_rate=1")
    if c.get("groups", 1) != 1:
        raise refuse(layer, f"has groups={c['groups']}", "use DepthwiseConv2D or groups=1")
    if c.get("depth_multiplier", 1) not in (1, None):
        raise refuse(
            layer, f"has depth_multiplier={c['depth_multiplier']}", "use depth_multiplier=1"
        )


def _params(layer: Layer, kernel: np.ndarray, bias: bool = True) -> dict[str, np.ndarray]:
    params = {"kernel": np.asarray(kernel, np.float32)}
    if bias and layer.config.get("use_bias", True) and "bias" in layer.weights:
        params["bias"] = np.asarray(layer.weights["bias"], np.float32)
    return params


def _weight(layer: Layer, *names: str) -> np.ndarray:
    for n in names:
        if n in layer.weights:
            return layer.weights[n]
    raise ModelError(
        f"layer '{layer.name}' ({layer.kind}) has no weight '{names[0]}'; build the model before "
        "converting it"
    )


@handles("Conv2D", "Conv1D")
def _conv(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    _check_conv(layer)
    one_d = layer.kind == "Conv1D"
    h, w, _ = _image(b, layer, inputs[0])
    kernel = _weight(layer, "kernel")
    if one_d:
        kernel = kernel[None]
    window = (kernel.shape[0], kernel.shape[1])
    strides, pads = _geometry(layer, (h, w), window, one_d)
    oh, ow = window_shape((h, w), window, strides, pads)
    y = b.emit(
        "conv2d",
        layer.name,
        inputs,
        (oh, ow, kernel.shape[3]),
        {"strides": strides, "pads": pads},
        _params(layer, kernel),
    )
    return activation(b, layer, y, layer.config.get("activation"))


@handles("DepthwiseConv2D", "DepthwiseConv1D")
def _depthwise(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    _check_conv(layer)
    y = _depthwise_node(b, layer, layer.name, inputs, layer.kind.endswith("1D"), bias=True)
    return activation(b, layer, y, layer.config.get("activation"))


def _depthwise_node(
    b: Builder, layer: Layer, name: str, inputs: list[str], one_d: bool, bias: bool
) -> str:
    h, w, c = _image(b, layer, inputs[0])
    kernel = _weight(layer, "depthwise_kernel", "kernel")
    if one_d:
        kernel = kernel[None]
    window = (kernel.shape[0], kernel.shape[1])
    strides, pads = _geometry(layer, (h, w), window, one_d)
    oh, ow = window_shape((h, w), window, strides, pads)
    attrs = {"strides": strides, "pads": pads}
    params = _params(layer, kernel, bias)
    return b.emit("depthwise_conv2d", name, inputs, (oh, ow, c), attrs, params)


@handles("SeparableConv2D", "SeparableConv1D")
def _separable(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    _check_conv(layer)
    one_d = layer.kind.endswith("1D")
    name = f"{layer.name}_depthwise"
    y = _depthwise_node(b, layer, name, inputs, one_d, bias=False)
    point = _weight(layer, "pointwise_kernel")
    point = point[None] if one_d else point
    y = b.emit(
        "conv2d",
        layer.name,
        [y],
        (*b.shape(y)[:2], point.shape[3]),
        {"strides": (1, 1), "pads": (0, 0, 0, 0)},
        _params(layer, point),
    )
    return activation(b, layer, y, layer.config.get("activation"))


@handles("Dense")
def _dense(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    kernel = _weight(layer, "kernel")
    shape = b.shape(inputs[0])
    if len(shape) == 3:  # Keras applies Dense along the last axis: a pointwise convolution
        y = b.emit(
            "conv2d",
            layer.name,
            inputs,
            (*shape[:2], kernel.shape[1]),
            {"strides": (1, 1), "pads": (0, 0, 0, 0)},
            _params(layer, kernel[None, None]),
        )
    else:
        y = b.emit("dense", layer.name, inputs, (kernel.shape[1],), {}, _params(layer, kernel))
    return activation(b, layer, y, layer.config.get("activation"))


@handles("BatchNormalization")
def _batch_norm(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    shape = b.shape(inputs[0])
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list | tuple) else axis
    rank = len(out) if out is not None else len(shape)
    if axis not in (-1, rank):  # Keras counts the batch
        raise refuse(layer, f"normalises axis {axis}", "normalise the last axis")
    mean = _weight(layer, "moving_mean").astype(np.float64)
    var = _weight(layer, "moving_variance").astype(np.float64)
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
        basis = np.sort(_weight(layer, "basis").astype(np.float64))
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


def _pool(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    one_d = layer.kind.endswith("1D")
    h, w, c = _image(b, layer, inputs[0])
    window = _pair(layer.config["pool_size"], one_d)
    strides, pads = _geometry(layer, (h, w), window, one_d)
    oh, ow = window_shape((h, w), window, strides, pads)
    op = "max_pool" if layer.kind.startswith("Max") else "avg_pool"
    attrs = {"window": window, "strides": strides, "pads": pads}
    return b.emit(op, layer.name, inputs, (oh, ow, c), attrs)


handles("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D")(_pool)


@handles(
    "GlobalAveragePooling1D", "GlobalAveragePooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D"
)
def _global_pool(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    h, w, c = _image(b, layer, inputs[0])
    op = "avg_pool" if "Average" in layer.kind else "max_pool"
    attrs = {"window": (h, w), "strides": (h, w), "pads": (0, 0, 0, 0)}
    y = b.emit(op, layer.name, inputs, (1, 1, c), attrs)
    if layer.config.get("keepdims"):
        return y
    return b.emit("flatten", f"{layer.name}_flatten", [y], (c,))


@handles("Add")
def _add(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    shapes = [b.shape(t) for t in inputs]
    if len(inputs) < 2 or len(set(shapes)) != 1:
        what = f"adds tensors of shapes {', '.join(map(str, shapes))}"
        raise refuse(layer, what, "add two or more tensors of one shape")
    y = inputs[0]
    for other in inputs[1:]:
        y = b.emit("add", layer.name, [y, other], shapes[0])
    return y


@handles("ZeroPadding2D", "ZeroPadding1D")
def _zero_pad(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    h, w, c = _image(b, layer, inputs[0])
    p = layer.config["padding"]
    if layer.kind == "ZeroPadding1D":
        left, r = (p, p) if isinstance(p, int) else (p[0], p[1])
        pads = (0, int(left), 0, int(r))
    else:
        y, x = (p, p) if isinstance(p, int) else p
        (t, bt), (left, r) = ((v, v) if isinstance(v, int) else v for v in (y, x))
        pads = (int(t), int(left), int(bt), int(r))
    shape = (h + pads[0] + pads[2], w + pads[1] + pads[3], c)
    return b.emit("zero_pad", layer.name, inputs, shape, {"pads": pads})


@handles("Flatten")
def _flatten(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    shape = b.shape(inputs[0])
    if len(shape) == 1:
        return inputs[0]
    return b.emit("flatten", layer.name, inputs, (int(np.prod(shape)),))


@handles("Reshape")
def _reshape(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    size = int(np.prod(b.shape(inputs[0])))
    target = [int(d) for d in layer.config["target_shape"]]
    if -1 in target:
        known = int(np.prod([d for d in target if d != -1]))
        target[target.index(-1)] = size // known
    if len(target) not in (1, 2, 3):
        raise refuse(
            layer, f"makes a tensor of shape {tuple(target)}", "use one to three dimensions"
        )
    shape = canonical(tuple(target))
    if shape == b.shape(inputs[0]):
        return inputs[0]
    if len(shape) == 1:
        return b.emit("flatten", layer.name, inputs, shape)
    return b.emit("reshape", layer.name, inputs, shape, {"shape": shape})


@handles(
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
    "Identity",
)
def _identity(b: Builder, layer: Layer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    return inputs[0]
