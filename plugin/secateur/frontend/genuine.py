"""Whether what a layer computes with is the framework's own.

Readers know layers and activations by name. A name is a promise only of the framework's own
objects: a user's function called relu is no ReLU, and a lambda, a partial or an overridden method
may compute anything. They are refused by layer and name, before a configuration is read.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

from secateur.errors import ModelError

_FRAMEWORKS = ("keras", "tf_keras")
_TFMOT = "tensorflow_model_optimization"
#: Functions elsewhere that are the same as the activation of that name in Keras.
_TWINS = ("relu", "relu6", "sigmoid", "tanh", "softmax", "elu", "selu")


def check(layer: Any) -> None:
    """ModelError unless `layer`, of Keras 3 or tf_keras, and its activations are genuine.

    Layers of other packages pass: their readers know them, or refuse their type.
    """
    kind = type(layer)
    package = kind.__module__.partition(".")[0]
    name = getattr(layer, "name", kind.__name__)
    if package in _FRAMEWORKS:
        if not _defined(kind):
            raise ModelError(
                f"layer '{name}' is a {kind.__name__} that says it is {package}'s and is not; use "
                "the framework's own layers"
            )
        replaced = sorted(m for m in ("call", "__call__") if m in vars(layer))
        if replaced and not kind.__module__.endswith(".tf_op_layer"):  # their way to hold functions
            raise ModelError(
                f"layer '{name}' ({kind.__name__}) has its method {replaced[0]} replaced, and "
                "whatever that does cannot be converted; use the framework's own layers"
            )
    for attribute, value in vars(layer).items():
        if "activation" in attribute and (callable(value) or isinstance(value, functools.partial)):
            _check_activation(value, f"layer '{name}' ({kind.__name__})")
    inner = layer._flatten_layers(include_self=False) if hasattr(layer, "_flatten_layers") else ()
    for part in inner:  # the cell of a recurrent layer
        check(part)


def _check_activation(value: Any, where: str) -> None:
    package = type(value).__module__.partition(".")[0]
    if package == _TFMOT:  # QuantizeAwareActivation holds the activation
        inner = getattr(value, "activation", None)
        if inner is not None and callable(inner):
            _check_activation(inner, where)
        return
    if package in _FRAMEWORKS and hasattr(value, "get_config"):  # a layer as an activation
        check(value)
        return
    if any(value is own for own in _own_activations()):
        return
    raise ModelError(
        f"{where} has the activation {_called(value)}, which is not Keras' own and cannot be "
        "converted; use one of keras.activations"
    )


def _own_activations() -> list[Callable[..., Any]]:
    own: list[Any] = []
    for package in _FRAMEWORKS:
        functions = getattr(sys.modules.get(package), "activations", None)
        own += [f for f in vars(functions).values() if callable(f)] if functions else []
    twins = [getattr(sys.modules.get("keras"), "ops", None)]
    twins.append(getattr(sys.modules.get("tensorflow"), "nn", None))
    own += [getattr(t, n) for t in twins if t is not None for n in _TWINS if hasattr(t, n)]
    return own


def _defined(kind: type) -> bool:
    """Whether `kind` is what its module has under its name."""
    found: Any = sys.modules.get(kind.__module__)
    for part in kind.__qualname__.split("."):
        found = getattr(found, part, None)
    return found is kind


def _called(value: Any) -> str:
    if isinstance(value, functools.partial):
        inner = getattr(value.func, "__name__", type(value.func).__name__)
        words = [repr(a) for a in value.args] + [f"{k}={v!r}" for k, v in value.keywords.items()]
        return f"'partial({', '.join([inner, *words])})'"
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"'{getattr(value, '__module__', '?')}.{name}'"
