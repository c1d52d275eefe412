"""Layers, the builder that collects nodes, and the registry of handlers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder


@dataclass
class SourceLayer:
    """A source layer: type, name, configuration, weights by their short name.

    Operations of Keras that are no layers have the kind "ops.Name".
    """

    kind: str
    name: str
    config: dict[str, Any]
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    #: Positional arguments of its call and named ones, tensors as Ref, where they matter.
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    keras2: bool = False  #: of tf_keras: a few functions differ from Keras 3's
    shown: str = ""  #: the expression that stands for it in the source: "x * 0.5"
    key: int = 0  #: equal for two uses of one layer; 0: used once
    refused: str = ""  #: why the front end cannot read it, as a sentence


class Ref(str):
    """A tensor's name among the arguments of a call."""

    __slots__ = ()


Handler = Callable[[Builder, SourceLayer, list[str], "tuple[int, ...] | None"], str]
_HANDLERS: dict[str, Handler] = {}
_INTERNAL = {"Relu", "Sign"}  #: made by front ends, never written by users as layers


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for layer types: Keras' own by class name, those of others by the name
    that they are registered under, "package>ClassName"."""

    def add(f: Handler) -> Handler:
        for k in kinds:
            _HANDLERS[k] = f
        return f

    return add


def kind_of_others(kind: str, registered: str) -> str:
    """The type of a layer that is not Keras' own: the name it is registered under, where a handler
    reads that, else one that is refused; a bare class name may only sound like Keras'."""
    reads = ">" in registered and registered in _HANDLERS
    return registered if reads else f"{kind} (custom code)"


def supported() -> list[str]:
    """Names of every layer type that can be converted."""
    names = (k for k in (*_HANDLERS, *_SPREADS) if k not in _INTERNAL and k[:4] != "ops.")
    return sorted({*names, "InputLayer"})


def supported_operations() -> list[str]:
    """Names of the functions of `keras.ops` (and their tf twins) that can be converted."""
    kinds = {*_HANDLERS, *_SPREADS}
    return sorted(k.removeprefix("ops.") for k in kinds if k.startswith("ops."))


def add_layer(
    b: Builder, layer: SourceLayer, inputs: list[str], out_shape: tuple[int, ...] | None = None
) -> str:
    """Emit `layer`; `out_shape` is what the framework says (without batch). Returns its tensor.

    Raises ModelError for what cannot be read; a tolerant builder gets an `opaque` node instead.
    """
    first = len(b.nodes)
    try:
        out = _add(b, layer, inputs, out_shape)
    except ModelError as error:
        e = _as_written(layer, error)
        if not b.tolerant or out_shape is None:
            raise e from error
        out = b.opaque(layer.name, inputs, out_shape, str(e))
    if out_shape is not None:
        b.name_shape(out, out_shape)
    made = b.nodes[first:]
    for node in made:
        if layer.shown:
            node.attrs["shown"] = layer.shown
    if made and layer.weights:
        count = int(sum(v.size for v in layer.weights.values()))
        counted = bool(layer.key) and layer.key in b.counted
        for node in made:
            node.attrs.setdefault("parameters", 0)
        made[0].attrs["parameters"] = 0 if counted else count
        b.counted.add(layer.key)
    return out


def _as_written(layer: SourceLayer, error: ModelError) -> ModelError:
    """The error with the expression that its user wrote, where it names only Keras' name for it."""
    if not layer.shown or layer.shown in str(error):
        return error
    return ModelError(f"{error} (it is '{layer.shown}' in the source)")


Spread = Callable[[Builder, SourceLayer, list[str]], list[str]]
_SPREADS: dict[str, Spread] = {}


def spreads(*kinds: str) -> Callable[[Spread], Spread]:
    """Register a handler for operations with several outputs; it gives a tensor for each."""

    def add(f: Spread) -> Spread:
        for k in kinds:
            _SPREADS[k] = f
        return f

    return add


def add_layers(
    b: Builder, layer: SourceLayer, inputs: list[str], shapes: list[tuple[int, ...]]
) -> list[str]:
    """`add_layer` for whatever number of outputs, whose shapes (without batch) are given."""
    if len(shapes) == 1 and layer.kind not in _SPREADS:
        return [add_layer(b, layer, inputs, shapes[0])]
    try:
        if layer.refused:
            raise ModelError(layer.refused)
        if layer.kind not in _SPREADS:
            raise refuse(layer, f"has {len(shapes)} outputs", "use one that has one output")
        found = _SPREADS[layer.kind](b, layer, inputs)
    except ModelError as error:
        e = _as_written(layer, error)
        if not b.tolerant:
            raise e from error
        found = [b.opaque(layer.name, inputs, s, str(e)) for s in shapes]
    for t, shape in zip(found, shapes, strict=True):
        b.name_shape(t, shape)
    return found


def _add(
    b: Builder, layer: SourceLayer, inputs: list[str], out_shape: tuple[int, ...] | None
) -> str:
    if layer.refused:
        raise ModelError(layer.refused)
    handler = _HANDLERS.get(layer.kind)
    if handler is None and layer.kind.startswith("ops."):
        what = layer.shown or layer.kind.removeprefix("ops.")
        raise ModelError(
            f"the operation '{what}' (layer '{layer.name}') cannot be converted; use one of "
            + ", ".join(supported_operations())
        )
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
        return _channels_first(handler, b, layer, inputs, out_shape)
    return handler(b, layer, inputs, out_shape)


def _channels_first(
    handler: Handler, b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    """A layer on (C, ...) images is the same on (..., C) ones, between transposes."""
    rank = len(b.nominal(inputs[0]))
    last = (*range(1, rank), 0)
    moved = [b.transpose(f"{layer.name}_last", t, last) for t in inputs]
    config = {**layer.config, "data_format": "channels_last"}
    shape = None if out is None or len(out) != rank else tuple(out[i] for i in last)
    y = handler(b, replace(layer, config=config), moved, shape)
    if len(b.nominal(y)) != rank:
        return y
    return b.transpose(f"{layer.name}_first", y, (rank - 1, *range(rank - 1)))


def refuse(layer: SourceLayer, what: str, way_out: str) -> ModelError:
    """The error for a layer that is supported, but not like this."""
    return ModelError(
        f"layer '{layer.name}' ({layer.kind}) {what}, which is not supported; {way_out}"
    )


def params(layer: SourceLayer, kernel: np.ndarray, bias: bool = True) -> dict[str, np.ndarray]:
    """The parameters of a weighted node: `kernel`, and the layer's bias if it has one."""
    params = {"kernel": np.asarray(kernel, np.float32)}
    if bias and layer.config.get("use_bias", True) and "bias" in layer.weights:
        params["bias"] = np.asarray(layer.weights["bias"], np.float32)
    return params


def weight(layer: SourceLayer, *names: str) -> np.ndarray:
    """The layer's weight under the first of `names` that it has; ModelError if it has none."""
    for n in names:
        if n in layer.weights:
            return layer.weights[n]
    raise ModelError(
        f"layer '{layer.name}' ({layer.kind}) has no weight '{names[0]}'; build the model before "
        "converting it"
    )
