"""`.tflite` files: float, float16, dynamic-range and int8, against LiteRT."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.load import load
from secateur.lowering import reference as ref
from secateur.lowering.quantize import lower

pytestmark = [pytest.mark.train, pytest.mark.slow]

_CONVERT = """
import sys, numpy as np, keras, tensorflow as tf
L, out = keras.layers, sys.argv[1]
rng = np.random.default_rng(0)
x = rng.normal(0, 1, (16, 9, 8, 3)).astype(np.float32)

def branches():
    i = keras.Input((9, 8, 3))
    a = L.Conv2D(8, 3, strides=2, padding="same")(i)
    a = L.ReLU(6.0)(L.BatchNormalization()(a))
    b = L.DepthwiseConv2D(3, padding="same", activation="relu")(a)
    b = L.BatchNormalization()(b)
    y = L.ReLU()(L.Add()([a, b]))
    y = L.MaxPooling2D(2, padding="same")(L.ZeroPadding2D(((1, 0), (0, 2)))(y))
    y = L.Dense(12, activation="relu")(L.AveragePooling2D(2, strides=1, padding="same")(y))
    y = L.Conv2D(6, 1)(y)
    return keras.Model(i, L.Dense(5, activation="softmax")(L.Flatten()(y)))

def sequence():
    i = keras.Input((20, 3))
    y = L.Conv1D(6, 3, strides=2, padding="same", activation="relu")(i)
    y = L.GlobalAveragePooling1D()(L.MaxPooling1D(2)(y))
    return keras.Model(i, L.Dense(4)(y))

def odd():
    i = keras.Input((9, 8, 3))
    return keras.Model(i, L.Activation("gelu")(i))

for make in (branches, sequence, odd):
    m, name = make(), make.__name__
    for v in m.weights:
        value = rng.normal(0, 0.4, v.shape)
        v.assign(np.abs(value) + 0.2 if "variance" in v.name else value)
    data = x if name != "sequence" else rng.normal(0, 1, (16, 20, 3)).astype(np.float32)
    np.save(f"{out}/{name}.npy", data)
    for kind in ("float", "half", "dynamic", "int8"):
        c = tf.lite.TFLiteConverter.from_keras_model(m)
        if kind != "float":
            c.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "half":
            c.target_spec.supported_types = [tf.float16]
        if kind == "int8":
            c.representative_dataset = lambda: ([d[None]] for d in data)
        open(f"{out}/{name}_{kind}.tflite", "wb").write(c.convert())
        if name == "odd":
            break
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tensorflow")
    out = tmp_path_factory.mktemp("tflite")
    args = [sys.executable, "-c", _CONVERT, str(out)]
    done = subprocess.run(args, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def _litert(path: Path, x: np.ndarray) -> np.ndarray:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    run = litert.Interpreter(model_path=str(path))
    run.allocate_tensors()
    rows = []
    for sample in x:
        run.set_tensor(run.get_input_details()[0]["index"], sample[None])
        run.invoke()
        rows.append(run.get_tensor(run.get_output_details()[0]["index"])[0].copy())
    return np.stack(rows)


@pytest.mark.parametrize("kind", ["float", "half", "dynamic", "int8"])
@pytest.mark.parametrize("name", ["branches", "sequence"])
def test_graph_equals_litert(folder: Path, name: str, kind: str) -> None:
    path, x = folder / f"{name}_{kind}.tflite", np.load(folder / f"{name}.npy")
    graph = load(path)
    assert graph.name == f"{name}_{kind}"
    want = _litert(path, x)
    got = execute.run(graph, x)
    # float is the same arithmetic; the others round activations (or weights, on the fly).
    tolerance = {"float": 1e-4, "half": 1e-4}.get(kind, 0.05 * (1 + np.abs(want).max()))
    assert np.abs(got - want).max() <= tolerance
    q = lower(graph, x)
    y = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, x)))
    assert np.abs(y - got).max() <= 0.06 * (1 + np.abs(got).max())


def test_unsupported_operator_is_named(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"odd_float\.tflite.*cannot be converted.*CONV_2D"):
        load(folder / "odd_float.tflite")


def test_damaged_files_are_refused(folder: Path, tmp_path: Path) -> None:
    data = (folder / "branches_float.tflite").read_bytes()
    bad = tmp_path / "bad.tflite"
    for content in (b"", b"nonsense", data[:8], data[: len(data) // 2], data[:4] + b"TFL3" * 20):
        bad.write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.tflite"):
            load(bad)


def test_random_damage_never_ends_in_another_error(folder: Path, tmp_path: Path) -> None:
    data = (folder / "sequence_int8.tflite").read_bytes()
    rng = np.random.default_rng(0)
    bad = tmp_path / "bad.tflite"
    for _ in range(300):
        broken = bytearray(data)
        for at in rng.integers(8, len(data), 8):
            broken[at] = rng.integers(0, 256)
        bad.write_bytes(bytes(broken))
        with contextlib.suppress(ModelError):  # some damage only changes a number
            load(bad)
