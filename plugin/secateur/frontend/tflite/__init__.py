"""TensorFlow Lite models: float32, float16, dynamic-range, int8, uint8 and 16x8.

Read without TensorFlow. Quantized weights become the real numbers they stand for, which lowering
recognises as the grid they lie on. Scales and zero points of 8-bit activations are kept, as
attrs["range"]; lowering calibrates what the file says nothing of.
"""

from __future__ import annotations

import struct
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

from secateur import reading
from secateur.errors import ModelError
from secateur.frontend.ir import Graph

from .reader import TfliteReader, supported
from .svdf import give_time

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")


def from_tflite(
    path: Any, name: str | None = None, *, tolerant: bool = False, data: bytes | None = None
) -> Graph:
    """The float graph of a `.tflite` file, or of its bytes `data` (`path` names them then).

    Raises ModelError for damaged files and for operators outside `supported()`; `tolerant` puts an
    `opaque` node in their place.
    """
    path = Path(path)
    if data is None:
        data = reading.data(path, kind=ModelError)
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path} is no .tflite file: its identifier is missing; convert it again")
    damage = (struct.error, ValueError, IndexError, MemoryError, TypeError, KeyError,
              OverflowError, ZeroDivisionError)  # fmt: skip
    try:
        reader = TfliteReader(data, path, name or path.stem, tolerant)
        give_time(reader)
        return reader.graph()
    except damage as e:
        raise ModelError(f"{path} is damaged ({e}); convert the model again") from e


__all__ = ["from_tflite", "supported"]
