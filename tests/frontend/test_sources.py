"""Files as people have them: without TensorFlow here, of older formats, half quantized."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secateur as sc
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.keras3 import from_keras
from secateur.frontend.load import load

keras = pytest.importorskip("keras")
pytestmark = [pytest.mark.train, pytest.mark.slow]
L, K = keras.layers, keras.ops


def network(seed: int = 0) -> Any:
    keras.utils.set_random_seed(seed)
    x = keras.Input((8, 8, 3))
    y = L.BatchNormalization()(L.Conv2D(8, 3, padding="same", activation="relu")(x))
    y = L.Add()([y, L.DepthwiseConv2D(3, padding="same")(y)])
    model = keras.Model(x, L.Dense(4)(L.GlobalAveragePooling2D()(y)), name="network")
    rng = np.random.default_rng(seed)
    for v in model.weights:
        value = rng.normal(0, 0.4, v.shape)
        v.assign(np.abs(value) + 0.2 if "variance" in v.name else value)
    return model


def images(n: int = 24) -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (n, 8, 8, 3)).astype(np.float32)


# -- without TensorFlow ----------------------------------------------------------------------------

_ALONE = """
import sys
model, data, out, *absent = sys.argv[1:]
sys.modules.update(dict.fromkeys(absent))  # as if not installed
import numpy as np, secateur as sc
from secateur.cli import main
try:
    main(["convert", model, "--calibration", data, "--out", out + "/library"])
except SystemExit as e:
    assert not e.code, e.code
x = np.load(data)["x"]
np.save(out + "/got.npy", sc.convert(model, x).predict(x))
import keras
print(keras.backend.backend())
"""


def alone(tmp_path: Path, backend: str, *absent: str) -> subprocess.CompletedProcess[str]:
    """A file converted by a program of its own that finds none of the packages `absent`."""
    network().save(tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", x=images())
    env = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    env |= {"KERAS_BACKEND": backend} if backend else {}
    args = [sys.executable, "-c", _ALONE, *(str(tmp_path / n) for n in ("m.keras", "x.npz", ""))]
    args += absent
    return subprocess.run(args, capture_output=True, text=True, env=env, check=False, timeout=300)


@pytest.mark.skipif(find_spec("jax") is None, reason="jax is not installed")
@pytest.mark.parametrize("backend", ["", "numpy", "jax"])
def test_a_keras_file_is_read_where_tensorflow_is_not(backend: str, tmp_path: Path) -> None:
    done = alone(tmp_path, backend, "tensorflow", "tf_keras")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-1] == (backend or "jax")
    assert (tmp_path / "library" / "src").is_dir()
    x = images()
    want = sc.convert(network(), x).predict(x)
    np.testing.assert_array_equal(np.load(tmp_path / "got.npy"), want)


@pytest.mark.parametrize("backend", ["", "numpy", "jax"])
def test_keras_with_nothing_to_run_on_is_one_sentence(backend: str, tmp_path: Path) -> None:
    done = alone(tmp_path, backend, "tensorflow", "tf_keras", "jax", "torch")
    said = next(line for line in done.stderr.splitlines() if line.startswith("secateur:"))
    assert "m.keras needs Keras 3 to be read" in said
    assert ("jax" if backend else "none is installed") in said
    assert "run: pip install" in said
    assert not (tmp_path / "library").exists()


def test_an_h5_file_of_keras_3(tmp_path: Path) -> None:
    model, x = network(), images(4)
    model.save(tmp_path / "m.h5")
    want = np.asarray(model(x))
    np.testing.assert_allclose(execute.run(load(tmp_path / "m.h5"), x), want, atol=1e-5)


# -- what the user wrote ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: x / 0.0, r"keras_tensor.* / 0\.0|dense.* / 0\.0"),
        (lambda x: x * 0.5 + K.rot90(x * 0.5, axes=(1, 2)), r"rot90\(.*\)"),
        (lambda x: (x * 0.5) ** x, r" \*\* "),
    ],
)
def test_a_refusal_names_the_line_the_user_wrote(make: Any, said: str) -> None:
    x = keras.Input((4, 4, 2))
    y = L.Dense(3, name="dense")(x)
    with pytest.raises(ModelError, match=said):
        from_keras(keras.Model(x, make(y)))


def test_what_cannot_be_integers_is_named_as_written() -> None:
    """`x * 0.5` behind Keras' name for it: 16 bits have no form for arithmetic of this kind."""
    x = keras.Input((4, 4, 2))
    graph = from_keras(keras.Model(x, L.Dense(3, name="dense")(x) * 0.5))
    assert any("dense * 0.5" in n.title for n in graph.nodes), [n.title for n in graph.nodes]


# -- quantized by Keras ----------------------------------------------------------------------------


@pytest.mark.parametrize("saved", [False, True])
@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_layers_that_keras_has_quantized(mode: str, saved: bool, tmp_path: Path) -> None:
    """Their weights exactly; Keras also rounds the inputs of a product, to 8 bits a sample."""
    keras.utils.set_random_seed(2)
    ids = keras.Input((6,), dtype="int32")
    y = L.Embedding(20, 8, name="table")(ids)
    y = L.EinsumDense("abc,cde->abde", (None, 2, 4), bias_axes="de", name="einsum")(y)
    y = L.Reshape((6, 8))(y)
    model = keras.Model(ids, L.Dense(5, name="dense")(y))
    model.quantize(mode)
    x = np.random.default_rng(0).integers(0, 20, (16, 6))
    want = np.asarray(model(x))
    if saved:
        model.save(tmp_path / "m.keras")
    graph = load(tmp_path / "m.keras" if saved else model)
    got = execute.run(graph, x).reshape(want.shape)
    assert np.abs(got - want).max() <= 0.02 * np.abs(want).max()
    exact = np.asarray(model.get_layer("table")(x))
    table = next(n for n in graph.nodes if n.op == "embedding").params
    np.testing.assert_allclose(next(iter(table.values()))[x], exact, atol=1e-7)
    layer = model.get_layer("einsum")
    rows = keras.ops.convert_to_numpy(layer(np.eye(8, dtype="f4")[None]) - layer.bias)[0]
    node = next(n for n in graph.nodes if n.name == "einsum")
    np.testing.assert_allclose(node.params["kernel"].reshape(rows.shape), rows, atol=1e-6)


# -- .tflite ---------------------------------------------------------------------------------------


def converted(model: Any, data: np.ndarray, **options: Any) -> bytes:
    import tensorflow as tf

    def rows() -> Iterator[list[np.ndarray]]:
        yield from ([d[None]] for d in data)

    c = tf.lite.TFLiteConverter.from_keras_model(model)
    c.optimizations = [tf.lite.Optimize.DEFAULT]
    c.representative_dataset = rows
    for name, value in options.items():
        setattr(c, name, value)
    return bytes(c.convert())


def litert(path: Path, x: np.ndarray) -> np.ndarray:
    """LiteRT's real outputs: codes of 8 bits by the file's scale."""
    interpreter = pytest.importorskip("ai_edge_litert.interpreter")
    run = interpreter.Interpreter(model_path=str(path))
    run.allocate_tensors()
    (i,), (o,) = run.get_input_details(), run.get_output_details()
    out = []
    for sample in x:
        if i["dtype"] != np.float32:
            scale, zero = i["quantization"]
            ends = np.iinfo(i["dtype"])
            sample = np.clip(np.rint(sample / scale) + zero, ends.min, ends.max)
        run.set_tensor(i["index"], sample[None].astype(i["dtype"]))
        run.invoke()
        y = run.get_tensor(o["index"])[0]
        if o["dtype"] != np.float32:
            scale, zero = o["quantization"]
            y = (y.astype(np.float64) - zero) * scale
        out.append(y)
    return np.stack(out)


def as_uint8(data: bytes) -> bytes:
    """An int8 file as the uint8 one that older converters wrote: all codes 128 higher."""
    from tensorflow.lite.tools import flatbuffer_utils as files

    model = files.convert_bytearray_to_object(bytearray(data))
    for t in model.subgraphs[0].tensors:
        if t.type != 9:  # INT8
            continue
        t.type = 3  # UINT8
        q = t.quantization
        q.zeroPoint = [int(z) + 128 for z in q.zeroPoint]
        buffer = model.buffers[t.buffer]
        if buffer.data is not None and len(buffer.data):
            codes = np.frombuffer(bytes(buffer.data), np.int8).astype(np.int16) + 128
            buffer.data = np.frombuffer(codes.astype(np.uint8).tobytes(), np.uint8)
    return bytes(files.convert_object_to_bytearray(model))


@pytest.mark.parametrize("old", [False, True])
def test_codes_of_one_scale_signed_and_not(old: bool, tmp_path: Path) -> None:
    import tensorflow as tf

    model, x = network(), images()
    options = {
        "inference_input_type": tf.int8, "inference_output_type": tf.int8,
        "_experimental_disable_per_channel": True,
    }  # fmt: skip
    data = converted(model, x, **options)
    path = tmp_path / "m.tflite"
    path.write_bytes(as_uint8(data) if old else data)
    want = litert(path, x)
    graph = load(path)
    got = execute.run(graph, x).reshape(want.shape)
    assert np.abs(got - want).max() <= 0.04 * np.abs(want).max()  # activations are not rounded
    integers = sc.convert(path, x).predict(x).reshape(want.shape)
    assert np.abs(integers - want).mean() <= 0.02 * np.abs(want).max()


def test_quantized_in_parts(tmp_path: Path) -> None:
    """QUANTIZE and DEQUANTIZE around what LiteRT has no integers for, and between two scales."""
    import tensorflow as tf

    x = keras.Input((8, 8, 3))
    y = L.Conv2D(6, 3, activation="relu", padding="same")(x)
    y = L.Conv2D(6, 3)(K.sin(y))
    y = L.Concatenate()([y, L.ReLU()(y) * 4.0])
    model = keras.Model(x, L.Dense(4)(L.Flatten()(y)))
    data = images()
    sets = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
    path = tmp_path / "m.tflite"
    path.write_bytes(converted(model, data))
    from tensorflow.lite.tools import flatbuffer_utils as files

    kinds = [c.builtinCode for c in files.read_model(str(path)).operatorCodes]
    assert {114, 6} <= set(kinds), (kinds, sets)  # QUANTIZE, DEQUANTIZE
    want = litert(path, data)
    got = execute.run(load(path), data).reshape(want.shape)
    assert np.abs(got - want).max() <= 0.06 * np.abs(want).max()
    integers = sc.convert(path, data).predict(data).reshape(want.shape)
    assert np.abs(integers - want).mean() <= 0.03 * np.abs(want).max()
