"""Keras 3 models, in memory or as `.keras` files."""

from __future__ import annotations

import importlib
import io
import os
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from secateur import extras, reading
from secateur.errors import ModelError
from secateur.frontend import hdf5, smart_deal
from secateur.frontend.backslashes import with_slashes
from secateur.frontend.build import Builder
from secateur.frontend.effective import effective_weights
from secateur.frontend.genuine import check
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Ref, SourceLayer, add_layers, kind_of_others

_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")

#: The layers from outside Keras that a file may name, and where they are: this package's own.
_OWN = {
    "QuantActivation": "secateur.callbacks.quant_activation",
    "QuantLSTMCell": "secateur.callbacks.quant_cells",
    "QuantGRUCell": "secateur.callbacks.quant_cells",
    "QuantSimpleRNNCell": "secateur.callbacks.quant_cells",
}


def from_keras(model_or_path: Any, name: str | None = None, *, tolerant: bool = False) -> Graph:
    """The float graph of a Keras 3 model.

    Takes a built Sequential or functional `keras.Model` (branches, nested models, several inputs
    and outputs included), or the path of a `.keras` file, which is loaded with `safe_mode=True`.
    `name` defaults to the model's. Raises ModelError for whatever cannot be converted; `tolerant`
    puts an `opaque` node in its place.
    """
    model = model_or_path
    if isinstance(model, str | Path):
        model = open_model(Path(model))
        kept = smart_deal.of_file(Path(model_or_path))
    else:
        kept = smart_deal.of_model(model)
    title = name or str(model.name)
    inner = _functional(model, title)
    b = Builder(title, tolerant)
    starts = [
        b.add_input(
            str(t._keras_history.operation.name), tuple(t.shape[1:]), input_dtype(str(t.dtype))
        )
        for t in inner.inputs
    ]
    names = [str(t._keras_history.operation.name) for t in inner.outputs]
    return smart_deal.attach(b.finish(_walk(b, inner, starts), names), kept)


def input_dtype(dtype: str) -> str:
    """The type an input has in the graph, for the one it has in the source."""
    if dtype in ("uint8", "int8", "int16"):
        return dtype
    return "int32" if dtype.startswith(("int", "uint")) else "float32"


def _functional(model: Any, title: str) -> Any:
    """The functional graph behind a model (a Sequential holds one once it is built)."""
    from keras.src.models.functional import Functional

    kind = type(model).__name__
    if isinstance(model, Functional):
        return model
    if hasattr(model, "_functional"):
        if model._functional is None:
            raise ModelError(
                f"model '{title}' has not been built, so its shapes are unknown; start it with "
                "keras.Input(shape) or call model.build((None, ...)) first"
            )
        return model._functional
    raise ModelError(
        f"model '{title}' is a subclassed {kind}, whose graph cannot be read; export it with "
        "model.export(folder) and give that folder, or rebuild it with the functional API"
    )


def _walk(b: Builder, model: Any, starts: list[str]) -> list[str]:
    """Emit every operation of a functional model fed with tensors `starts`; returns its outputs."""
    tensors = {id(t): start for t, start in zip(model.inputs, starts, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            op, outs = node.operation, node.output_tensors
            if node.is_input:
                continue
            inputs = [tensors[id(t)] for t in node.input_tensors]
            if hasattr(op, "_nodes_by_depth") or hasattr(op, "_functional"):
                found = _walk(b, _functional(op, op.name), inputs)
            else:
                shapes = [tuple(int(d) for d in t.shape[1:] if d is not None) for t in outs]
                found = add_layers(b, _layer(op, node, tensors), inputs, shapes)
            tensors.update((id(t), f) for t, f in zip(outs, found, strict=True))
    return [tensors[id(t)] for t in model.outputs]


#: How a user writes an operation on tensors.
_SIGNS = {
    "Add": "+", "Subtract": "-", "Multiply": "*", "Divide": "/", "TrueDivide": "/", "Power": "**",
    "Matmul": "@",
}  # fmt: skip


def _layer(op: Any, node: Any, tensors: dict[int, str]) -> SourceLayer:
    from keras.saving import get_registered_name

    kind = type(op).__name__
    args = [as_argument(a, tensors) for a in node.arguments.args]
    kwargs = {k: as_argument(a, tensors) for k, a in node.arguments.kwargs.items()}
    if type(op).__module__.startswith("keras.src.ops."):
        config = {k: v for k, v in vars(op).items() if not k.startswith("_")}
        shown = shown_as(kind, args, kwargs)
        return SourceLayer(f"ops.{kind}", op.name, config, {}, args, kwargs, shown=shown)
    if kind == "Lambda" or not (
        type(op).__module__.startswith("keras.") or type(op).__module__ in _OWN.values()
    ):
        kind = kind_of_others(kind, get_registered_name(type(op)))
    try:
        check(op)
        weights = effective_weights(op, _weights(op))
    except ModelError as e:
        return SourceLayer(kind, op.name, {}, refused=str(e))
    config = op.get_config() if hasattr(op, "weights") else {}
    return SourceLayer(kind, op.name, config, weights, args, kwargs, key=id(op))


def _weights(op: Any) -> dict[str, np.ndarray]:
    """By short name; those of layers inside a layer as "inner/name", too."""
    from keras import ops

    found = {v.name: np.asarray(ops.convert_to_numpy(v)) for v in getattr(op, "weights", [])}
    inner = op._flatten_layers(include_self=False) if hasattr(op, "_flatten_layers") else ()
    nested = {
        f"{layer.name}/{v.name}": np.asarray(ops.convert_to_numpy(v))
        for layer in inner
        for v in layer.weights
    }
    return nested if len(found) < len(op.weights) else {**found, **nested} if nested else found


def shown_as(kind: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    """An operation as its user wrote it, with layers' names for tensors: `conv * 0.5`."""

    def text(value: Any) -> str:
        if isinstance(value, list | tuple):
            return f"[{', '.join(text(v) for v in value)}]"
        if isinstance(value, np.ndarray) and value.size > 1:
            return f"array{value.shape}"
        return str(value)

    if kind in _SIGNS and len(args) == 2:
        return f"{text(args[0])} {_SIGNS[kind]} {text(args[1])}"
    if kind == "GetItem":
        return f"{text(args[0])}[...]"
    words = [text(a) for a in args] + [f"{k}={text(v)}" for k, v in kwargs.items()]
    return f"{kind.lower()}({', '.join(words)})"


def as_argument(value: Any, tensors: dict[int, str]) -> Any:
    """An argument of a call: tensors as Ref, arrays as NumPy, anything else as it is."""
    if id(value) in tensors:
        return Ref(tensors[id(value)])
    if isinstance(value, list | tuple):
        return type(value)(as_argument(v, tensors) for v in value)
    if hasattr(value, "numpy") or type(value).__module__.split(".")[0] in ("jax", "jaxlib"):
        return np.asarray(value)
    if hasattr(value, "value") and hasattr(value, "trainable"):  # a Keras variable
        from keras import ops

        return np.asarray(ops.convert_to_numpy(value))
    return value


def open_model(path: Path) -> Any:
    """The Keras model in a `.keras` file, without running code from it. Raises ModelError."""
    config = read_config(path)
    refuse_code(config, path)
    try:
        keras = import_keras()
        if "secateur>" in str(config):  # others need no TensorFlow to be read
            import secateur.callbacks  # noqa: F401  registers the layers
    except ImportError as e:
        raise ModelError(
            f"{path} needs Keras 3 to be read ({e}); run: {extras.install('train')}"
        ) from e
    return load_safely(keras.models.load_model, path)


def import_keras() -> Any:
    """Keras 3, on JAX or PyTorch where nobody has chosen a backend and TensorFlow is not installed:
    reading a file needs no more. Keras' NumPy backend itself imports JAX. Raises ImportError."""
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ and find_spec("keras"):
        there = [name for name in ("tensorflow", "jax", "torch") if find_spec(name)]
        if not there:
            raise ImportError("Keras runs on TensorFlow, JAX or PyTorch, and none is installed")
        if there[0] != "tensorflow":
            os.environ["KERAS_BACKEND"] = there[0]
    return importlib.import_module("keras")


def load_safely(load_model: Any, path: Path) -> Any:
    """`load_model(path)` without code from the file; whatever it trips over is a ModelError."""
    try:
        with with_slashes(path) as readable:
            return load_model(readable, compile=False, safe_mode=True)
    except Exception as e:
        first = (str(e).strip() or type(e).__name__).splitlines()[0]
        raise ModelError(f"{path} cannot be loaded ({first}); save the model again") from e


def read_config(path: Path) -> dict[str, Any]:
    """config.json of a `.keras` file, its metadata under "metadata"; ModelError if damaged."""
    if not path.exists():
        raise ModelError(f"{path} does not exist; give the path of a saved model")
    if not path.is_file():
        raise ModelError(f"{path} is not a file; give the path of a .keras file")
    try:
        with zipfile.ZipFile(path) as archive:
            there = reading.members(archive, path, kind=ModelError)
            for name in ("config.json", "metadata.json"):
                if name in there and there[name].file_size > reading.LONGEST_TEXT:
                    raise ModelError(
                        f"{path} is not read: its {name} has {there[name].file_size:,} bytes"
                    )
            missing = [m for m in _MEMBERS if m not in there]
            broken = None if missing else archive.testzip()
            if missing or broken:
                what = f"lacks {missing[0]}" if missing else f"has a damaged {broken}"
                raise ModelError(f"{path} is not an intact .keras file: it {what}; save it again")
            documents = {}
            for name in ("config.json", "metadata.json"):
                found = reading.json_of(archive.read(name), f"{name} in {path}", ModelError, False)
                if not isinstance(found, dict):
                    raise ModelError(f"{name} in {path} is no JSON object; save the model again")
                documents[name] = found
            hdf5.check(io.BytesIO(archive.read("model.weights.h5")), path)
            config: dict[str, Any] = documents["config.json"]
            return {**config, "metadata": documents["metadata.json"]}
    except PermissionError as e:
        raise ModelError(f"{path} cannot be read ({e.strerror}); check its permissions") from e
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as e:
        raise ModelError(
            f"{path} is not an intact .keras file ({e}); save the model again with model.save()"
        ) from e


def refuse_code(
    config: Any, path: Path, packages: tuple[str, ...] = ("keras",), layer: str = "model"
) -> None:
    """ModelError if the configuration names code from outside `packages`."""
    if isinstance(config, list):
        for item in config:
            refuse_code(item, path, packages, layer)
        return
    if not isinstance(config, dict):
        return
    inner = config.get("config")
    if isinstance(inner, dict):
        layer = str(inner.get("name", layer))
    kind, module = config.get("class_name"), config.get("module")
    if kind in ("Lambda", "__lambda__"):
        raise ModelError(
            f"layer '{layer}' in {path} is a Lambda, whose code is never executed from a file; "
            "replace it with a Keras layer"
        )
    named = f"secateur>{kind}" == config.get("registered_name")
    own = named and isinstance(kind, str) and _OWN.get(kind) == module
    foreign = str(module).split(".")[0] not in packages and not own
    if module is not None and kind is not None and foreign:
        raise ModelError(
            f"layer '{layer}' in {path} uses {module}.{kind}, code from outside Keras, which is "
            "never executed from a file; replace it with a Keras layer"
        )
    for key, value in config.items():
        if key not in ("compile_config", "metadata"):
            refuse_code(value, path, packages, layer)
