"""TensorFlow SavedModels (`model.export(folder)`, `tf.saved_model.save`), through TensorFlow Lite.

A SavedModel is a graph of TensorFlow operators without layers. TensorFlow's own converter folds and
fuses it (in float32: weights stay what they are), and the `.tflite` reader reads what comes of it.
No Python of the model is run, so subclassed models come this way, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from secateur import extras, reading
from secateur.errors import ModelError
from secateur.frontend.ir import Graph


def is_saved_model(path: Path) -> bool:
    """Whether a folder holds a SavedModel."""
    return path.is_dir() and any((path / f"saved_model.{end}").is_file() for end in ("pb", "pbtxt"))


def from_saved_model(path: Any, name: str | None = None, *, tolerant: bool = False) -> Graph:
    """The float graph of a SavedModel's signature "serving_default", or its only one.

    Raises ModelError where TensorFlow is missing or cannot convert it.
    """
    folder = Path(path)
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    if size > reading.LARGEST_MODEL:
        raise ModelError(f"{folder} has {size:,} bytes; {reading.LARGEST_MODEL:,} are the limit.")
    try:
        import tensorflow as tf
    except ImportError as e:
        raise ModelError(
            f"{folder} is a SavedModel and needs TensorFlow to be read ({e}); run: "
            f"{extras.install('train')}, or convert it to .tflite where it is"
        ) from e
    from secateur.frontend.tflite import from_tflite

    try:
        data = tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert()
    except Exception as e:  # whatever the converter trips over
        first = next((s for s in str(e).splitlines() if s.strip()), type(e).__name__)
        raise ModelError(
            f"{folder} cannot be converted by TensorFlow Lite ({first.strip()[:300]}); export the "
            "model with a fixed input signature, or save it as .keras"
        ) from e
    return from_tflite(folder, name or folder.name, tolerant=tolerant, data=bytes(data))
