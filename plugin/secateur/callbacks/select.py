"""Which weights of a model a callback works on."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import keras

from secateur.errors import ModelError

Pattern = str | type

#: kernels by the layers that own them
_KERNELS: dict[type, tuple[str, ...]] = {
    keras.layers.Conv2D: ("kernel",),
    keras.layers.Conv1D: ("kernel",),
    keras.layers.Dense: ("kernel",),
    keras.layers.DepthwiseConv2D: ("kernel",),
    keras.layers.DepthwiseConv1D: ("kernel",),
    keras.layers.SeparableConv2D: ("depthwise_kernel", "pointwise_kernel"),
    keras.layers.SeparableConv1D: ("depthwise_kernel", "pointwise_kernel"),
    keras.layers.LSTMCell: ("kernel", "recurrent_kernel"),
    keras.layers.GRUCell: ("kernel", "recurrent_kernel"),
    keras.layers.SimpleRNNCell: ("kernel", "recurrent_kernel"),
}
_CELLS = (keras.layers.LSTMCell, keras.layers.GRUCell, keras.layers.SimpleRNNCell)
_DEPTHWISE = (keras.layers.DepthwiseConv2D, keras.layers.DepthwiseConv1D)


@dataclass(frozen=True)
class Weight:
    """A weight to compress and the layer it belongs to."""

    layer: keras.layers.Layer
    variable: keras.Variable
    depthwise: bool
    path: str  #: "layer/weight", the same in every process that builds the model


def matches(layer: keras.layers.Layer, pattern: Pattern) -> bool:
    """Whether `pattern` (layer name with * and ?, class name, or class) means `layer`."""
    if isinstance(pattern, str):
        return fnmatchcase(layer.name, pattern) or type(layer).__name__ == pattern
    return isinstance(layer, pattern)


def _kernels(layer: keras.layers.Layer) -> tuple[str, ...]:
    """The attributes of `layer` that are kernels; none if it has none we know."""
    return next((names for kind, names in _KERNELS.items() if isinstance(layer, kind)), ())


def leaves(model: keras.Model) -> list[keras.layers.Layer]:
    """Every layer of the model, nested ones too, each once."""
    seen: dict[int, keras.layers.Layer] = {}
    for layer in model._flatten_layers(include_self=False, recursive=True):
        seen.setdefault(id(layer), layer)
    return list(seen.values())


def _owners(model: keras.Model) -> dict[int, list[keras.layers.Layer]]:
    """By cell the layers around it, whose names stand for it as well: an LSTM, a Bidirectional."""
    out: dict[int, list[keras.layers.Layer]] = {}
    for layer in leaves(model):
        inner = layer._flatten_layers(include_self=False, recursive=True)
        for cell in inner if not _kernels(layer) else ():
            if isinstance(cell, _CELLS):
                out.setdefault(id(cell), []).append(layer)
    return out


def select(
    model: keras.Model,
    include: Sequence[Pattern] | None,
    exclude: Sequence[Pattern],
    depthwise: bool,
    who: str,
) -> list[Weight]:
    """The trainable kernels of `model` that `include` and `exclude` leave, in model order.

    Args:
        include: only layers matching one of these; None for every layer with a kernel.
        exclude: none of these.
        depthwise: whether depthwise kernels belong to the default (`include` overrides it).
        who: the callback's name, for the messages.

    Raises:
        ModelError: a pattern matches nothing, a layer cannot be worked on, or nothing is left.
    """
    layers = [layer for layer in leaves(model) if _kernels(layer)]
    _check_patterns(model, [*(include or ()), *exclude], who)
    order = {id(v): i for i, v in enumerate(model.trainable_variables)}
    found: dict[int, Weight] = {}
    owners = _owners(model)
    for layer in layers:
        called = [layer, *owners.get(id(layer), ())]
        if include is not None and not any(matches(c, p) for c in called for p in include):
            continue
        if any(matches(c, p) for c in called for p in exclude):
            continue
        if getattr(layer, "lora_enabled", False) or getattr(layer, "quantization_mode", None):
            raise ModelError(
                f"{who} cannot work on layer {layer.name!r}, which has LoRA or Keras' own "
                "quantization; merge it into the kernel first or exclude the layer"
            )
        if not layer.built:
            raise ModelError(
                f"{who}: layer {layer.name!r} has no weights yet; call the model on a batch of "
                "data before fit"
            )
        for name in _kernels(layer):
            variable = getattr(layer, name)
            deep = isinstance(layer, _DEPTHWISE) or name == "depthwise_kernel"
            if deep and not depthwise and include is None:
                continue
            if id(variable) in order:  # a frozen layer's is not
                if variable.dtype not in ("float32", "float64"):
                    raise ModelError(
                        f"{who} cannot keep exact levels in layer {layer.name!r}, whose weights "
                        f"are {variable.dtype}; build it with a policy that keeps float32 weights "
                        f"(mixed_{variable.dtype}) or exclude it"
                    )
                path = f"{layer.name}/{name}"
                twins = sum(t.path.split("#")[0] == path for t in found.values())
                path += f"#{twins + 1}" if twins else ""  # nested models may repeat a name
                found.setdefault(id(variable), Weight(layer, variable, deep, path))
    if not found:
        raise ModelError(
            f"{who} finds no trainable kernel in model {model.name!r}; unfreeze a layer or widen "
            "include/exclude"
        )
    return sorted(found.values(), key=lambda t: order[id(t.variable)])


def _check_patterns(model: keras.Model, patterns: Iterable[Pattern], who: str) -> None:
    layers = leaves(model)
    for pattern in patterns:
        if not any(matches(layer, pattern) for layer in layers):
            names = ", ".join(x.name for x in layers if _kernels(x))
            raise ModelError(
                f"{who}: no layer of model {model.name!r} matches {pattern!r}; "
                f"layers with a kernel are {names}"
            )
