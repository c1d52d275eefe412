"""Keras 3 models, in memory or as `.keras` files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend import factors
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder, Layer, add_layer

_MEMBERS = ("config.json", "metadata.json", "model.weights.h5")

#: The one layer from outside Keras that a file may name: this package's own.
_OWN = {
    "module": "secateur.callbacks.quant_activation",
    "class_name": "QuantActivation",
    "registered_name": "secateur>QuantActivation",
}


def from_keras(model_or_path: Any, name: str | None = None) -> Graph:
    """The float graph of a Keras 3 model.

    Takes a built Sequential or functional `keras.Model` (branches and nested models included), or
    the path of a `.keras` file, which is loaded with `safe_mode=True`. `name` defaults to the
    model's. Raises ModelError for whatever cannot be converted.
    """
    model = model_or_path
    if isinstance(model, str | Path):
        model = _load(Path(model))
        kept = factors.of_file(Path(model_or_path))
    else:
        kept = factors.of_model(model)
    title = name or str(model.name)
    inner = _functional(model, title)
    require_one(inner.inputs, "inputs", title)
    require_one(inner.outputs, "outputs", title)
    b = Builder(title)
    source = inner.inputs[0]
    start = b.add_input(source._keras_history.operation.name, tuple(source.shape[1:]))
    return factors.attach(b.finish(_walk(b, inner, start)), kept)


def require_one(tensors: Any, what: str, title: str) -> None:
    """ModelError unless there is exactly one of `tensors`."""
    n = len(tensors)
    if n != 1:
        raise ModelError(
            f"model '{title}' has {n} {what}; only models with one input and one output can be "
            "converted: split it with keras.Model(input, output)"
        )


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
        f"model '{title}' is a subclassed {kind}, whose graph cannot be read; rebuild it with the "
        "functional API or as a Sequential"
    )


def _walk(b: Builder, model: Any, start: str) -> str:
    """Emit every operation of a functional model fed with tensor `start`; returns its output."""
    tensors: dict[int, str] = {id(model.inputs[0]): start}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            op = node.operation
            if node.is_input:
                continue
            inputs = [tensors[id(t)] for t in node.input_tensors]
            require_one(node.output_tensors, f"outputs at layer '{op.name}'", b.name)
            out = node.output_tensors[0]
            if hasattr(op, "_nodes_by_depth") or hasattr(op, "_functional"):
                nested = _functional(op, op.name)
                require_one(nested.inputs, "inputs", op.name)
                require_one(nested.outputs, "outputs", op.name)
                tensors[id(out)] = _walk(b, nested, inputs[0])
            else:
                shape = tuple(int(d) for d in out.shape[1:] if d is not None)
                tensors[id(out)] = add_layer(b, _layer(op), inputs, shape)
    return tensors[id(model.outputs[0])]


def _layer(op: Any) -> Layer:
    kind = type(op).__name__
    # keras.ops functions (x + y in a functional model) are operations without configuration.
    config = op.get_config() if hasattr(op, "weights") else {}
    weights = {v.name: np.asarray(v.value) for v in getattr(op, "weights", [])}
    if kind == "Lambda" or not (
        type(op).__module__.startswith("keras.") or type(op).__module__ == _OWN["module"]
    ):
        kind = f"{kind} (custom code)"
    return Layer(kind, op.name, config, weights)


def _load(path: Path) -> Any:
    refuse_code(read_config(path), path)
    try:
        import keras

        import secateur.callbacks.quant_activation  # noqa: F401  registers the layer
    except ImportError as e:
        raise ModelError(
            f"{path} needs Keras 3 to be read ({e}); run: pip install 'secateur[train]'"
        ) from e
    return load_safely(keras.models.load_model, path)


def load_safely(load_model: Any, path: Path) -> Any:
    """`load_model(path)` without code from the file; whatever it trips over is a ModelError."""
    try:
        return load_model(path, compile=False, safe_mode=True)
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
            missing = [m for m in _MEMBERS if m not in archive.namelist()]
            broken = archive.testzip()
            if missing or broken:
                what = f"lacks {missing[0]}" if missing else f"has a damaged {broken}"
                raise ModelError(f"{path} is not an intact .keras file: it {what}; save it again")
            config: dict[str, Any] = json.loads(archive.read("config.json"))
            config["metadata"] = json.loads(archive.read("metadata.json"))
            return config
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
    own = all(config.get(key) == name for key, name in _OWN.items())
    foreign = str(module).split(".")[0] not in packages and not own
    if module is not None and kind is not None and foreign:
        raise ModelError(
            f"layer '{layer}' in {path} uses {module}.{kind}, code from outside Keras, which is "
            "never executed from a file; replace it with a Keras layer"
        )
    for key, value in config.items():
        if key not in ("compile_config", "metadata"):
            refuse_code(value, path, packages, layer)
