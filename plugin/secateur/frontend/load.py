"""One door for every kind of model: `load` finds the front end that takes it."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur import reading
from secateur.errors import ModelError, SecateurError
from secateur.frontend.ir import Graph
from secateur.frontend.savedmodel import from_saved_model, is_saved_model


@dataclass(frozen=True)
class Frontend:
    """`accepts` looks at a path or an object without importing any framework."""

    name: str
    accepts: Callable[[Any], bool]
    load: Callable[[Any, str | None, bool, Any], Graph]


def load(
    model_or_path: Any, name: str | None = None, *, tolerant: bool = False, example: Any = None
) -> Graph:
    """The float graph of a model in memory or on disk; ModelError if no front end takes it.

    tolerant: layers that cannot be read become `opaque` nodes, for a list of them all. example:
    inputs [N, ...], which a PyTorch module is traced with.
    """
    if isinstance(model_or_path, Graph):
        return model_or_path
    path = Path(model_or_path) if isinstance(model_or_path, str | Path) else None
    if path is not None:
        if not os.path.exists(path):
            raise ModelError(f"{path} does not exist; give the path of a saved model")
        if is_saved_model(path):
            return from_saved_model(path, name, tolerant=tolerant)
        reading.regular(path, kind=ModelError)
    for frontend in FRONTENDS:
        if frontend.accepts(path or model_or_path):
            if path is None:
                return frontend.load(model_or_path, name, tolerant, example)
            with reading.reading(path, ModelError):
                return frontend.load(path, name, tolerant, example)
    what = str(path) if path else f"an object of type {type(model_or_path).__name__}"
    raise ModelError(
        f"{what} is no model this package reads; give one of: "
        + ", ".join([*(f.name for f in FRONTENDS), "a SavedModel's folder"])
    )


def _from_package(obj: Any, package: str) -> bool:
    return any(c.__module__.split(".")[0] == package for c in type(obj).__mro__)


def _keras_major(path: Path) -> str:
    """First digit of the Keras version a `.keras` file names; "" where none can be read."""
    try:
        with zipfile.ZipFile(path) as archive:
            reading.members(archive, path)
            return str(json.loads(archive.read("metadata.json"))["keras_version"])[:1]
    except (SecateurError, OSError, KeyError, ValueError, TypeError, RecursionError,
            NotImplementedError, zipfile.BadZipFile):  # fmt: skip
        return ""  # the front end says what is wrong with the file


def _is_tf_keras(obj: Any) -> bool:
    if isinstance(obj, Path):
        old = obj.suffix == ".keras" and _keras_major(obj) == "2"
        return old or obj.suffix in (".h5", ".hdf5")
    return _from_package(obj, "tf_keras")


def _load_tf_keras(obj: Any, name: str | None, tolerant: bool, _example: Any) -> Graph:
    from secateur.frontend.tfkeras import from_tf_keras

    return from_tf_keras(obj, name, tolerant=tolerant)


def _is_keras3(obj: Any) -> bool:
    return obj.suffix == ".keras" if isinstance(obj, Path) else _from_package(obj, "keras")


def _load_keras3(obj: Any, name: str | None, tolerant: bool, _example: Any) -> Graph:
    from secateur.frontend.keras3 import from_keras

    return from_keras(obj, name, tolerant=tolerant)


def _is_tflite(obj: Any) -> bool:
    return isinstance(obj, Path) and obj.suffix == ".tflite"


def _load_tflite(obj: Any, name: str | None, tolerant: bool, _example: Any) -> Graph:
    from secateur.frontend.tflite import from_tflite

    return from_tflite(obj, name, tolerant=tolerant)


def _is_onnx(obj: Any) -> bool:
    return obj.suffix == ".onnx" if isinstance(obj, Path) else _from_package(obj, "onnx")


def _load_onnx(obj: Any, name: str | None, tolerant: bool, _example: Any) -> Graph:
    from secateur.frontend.onnxmodel import from_onnx

    return from_onnx(obj, name, tolerant=tolerant)


def _is_torch(obj: Any) -> bool:
    return not isinstance(obj, Path) and _from_package(obj, "torch")


def _load_torch(obj: Any, name: str | None, tolerant: bool, example: Any) -> Graph:
    from secateur.frontend.onnxmodel.pytorch import from_torch

    return from_torch(obj, example, name, tolerant=tolerant)


#: Asked in this order.
FRONTENDS: list[Frontend] = [
    Frontend("a tf_keras model, .keras or .h5 file", _is_tf_keras, _load_tf_keras),
    Frontend("a Keras 3 model or .keras file", _is_keras3, _load_keras3),
    Frontend("a .tflite file", _is_tflite, _load_tflite),
    Frontend("an ONNX model or .onnx file", _is_onnx, _load_onnx),
    Frontend("a torch.nn.Module", _is_torch, _load_torch),
]
