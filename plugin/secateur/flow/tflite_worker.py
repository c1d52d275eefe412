"""The process in which TensorFlow Lite converts and runs; started by `against`, not by people.

    python -m secateur.flow.tflite_worker make MODEL.keras X.npz OUT.tflite
    python -m secateur.flow.tflite_worker run FILE.tflite X.npz Y.npz

The last line on standard output is JSON: {"done": what ran} or {"error": a sentence}.
"""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

_MISSING = 3


def main(arguments: list[str]) -> int:
    """0, 1 where it failed, 3 where something is not installed."""
    task, source, data, out = arguments
    try:
        with np.load(data, allow_pickle=False) as found:
            x = found["x"]
        said = _make(Path(source), x, Path(out)) if task == "make" else _run(source, x, Path(out))
    except ImportError as error:
        print(json.dumps({"error": str(error)}))
        return _MISSING
    except Exception as error:  # whatever a converter or an interpreter trips over
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        print(json.dumps({"error": first[:300]}))
        return 1
    print(json.dumps({"done": said}))
    return 0


def _make(source: Path, x: np.ndarray, out: Path) -> str:
    import tensorflow as tf

    from secateur.frontend.keras3 import open_model

    model = open_model(source)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([x[i : i + 1]] for i in range(len(x)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    out.write_bytes(converter.convert())
    return f"TensorFlow {tf.__version__}"


def _interpreter(source: str) -> tuple[Any, str]:
    """LiteRT, or tflite-runtime where that is what is installed."""
    try:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter(source), f"LiteRT {metadata.version('ai-edge-litert')}"
    except ImportError:
        pass
    try:
        from tflite_runtime.interpreter import Interpreter
    except ImportError as error:
        raise ImportError("neither LiteRT nor tflite-runtime is installed") from error
    return Interpreter(source), f"tflite-runtime {metadata.version('tflite-runtime')}"


def _run(source: str, x: np.ndarray, out: Path) -> str:
    interpreter, name = _interpreter(source)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ValueError(f"it has {len(inputs)} inputs and {len(outputs)} outputs, not one of each")
    first, last = inputs[0], outputs[0]
    shape = tuple(int(n) for n in first["shape"])
    size = int(np.prod(shape))
    if size not in (x[0].size, x.shape[-1]):  # the latter: a file that reads frame by frame
        raise ValueError(f"it takes {list(shape)} and an input has the shape {list(x[0].shape)}")
    codes = _codes(x, first)
    made = []
    for one in codes:
        interpreter.reset_all_variables()  # a recurrent layer's state: each sample begins anew
        parts = []
        for frame in one.reshape(-1, *shape):
            interpreter.set_tensor(first["index"], frame)
            interpreter.invoke()
            parts.append(interpreter.get_tensor(last["index"]).reshape(-1).copy())
        made.append(np.concatenate(parts))
    np.savez(out, y=_real(np.stack(made), last))
    return name


def _codes(x: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    dtype = np.dtype(end["dtype"])
    if dtype.kind == "f":
        return x.astype(dtype)
    scale, zero = end["quantization"]
    if not scale:
        return x.astype(dtype)
    info = np.iinfo(dtype)
    return np.clip(np.rint(x / scale) + zero, info.min, info.max).astype(dtype)


def _real(y: np.ndarray, end: dict[str, Any]) -> np.ndarray:
    scale, zero = end["quantization"]
    if np.dtype(end["dtype"]).kind == "f" or not scale:
        return y.astype(np.float32)
    return ((y.astype(np.float32) - zero) * np.float32(scale)).astype(np.float32)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
