"""`.tflite` files: float, float16, dynamic-range and int8, against LiteRT."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.flow import convert
from secateur.frontend import execute
from secateur.frontend.ir import Graph, verify
from secateur.frontend.load import load
from secateur.lowering import reference as ref
from secateur.lowering.quantize import lower

pytestmark = [pytest.mark.train, pytest.mark.slow]

_CONVERT = """
import sys, numpy as np, keras, tensorflow as tf
L, out = keras.layers, sys.argv[1]
WIDE = "EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8"
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
    return keras.Model(i, keras.ops.cumsum(i, axis=1))

def modern():
    i = keras.Input((9, 8, 3))
    a = L.Conv2D(8, 3, dilation_rate=2, padding="same", activation="gelu")(i)
    a = L.Concatenate()([a, L.DepthwiseConv2D(3, depth_multiplier=2, padding="same")(i)])
    g = L.Dense(14, activation="sigmoid")(L.GlobalAveragePooling2D()(a))
    a = L.PReLU(shared_axes=[1, 2])(a * g[:, None, None, :])
    u = L.UpSampling2D(2, interpolation="bilinear")(a[:, :, ::2])
    u = L.UpSampling2D((1, 2))(L.LeakyReLU()(L.Conv2D(6, 3, groups=2)(u[..., :4])))
    t = L.Conv2DTranspose(3, 4, strides=2, padding="same")(L.MaxPooling2D(2)(a))
    t = L.Activation("hard_swish")(L.ZeroPadding2D(((1, 0), (0, 2)))(t)) / 3 - 0.5
    s = L.LayerNormalization()(L.Reshape((-1, 6))(u))
    s = L.MultiHeadAttention(2, 3)(s, s)
    s = L.Softmax(axis=1)(s) + keras.ops.max(s, axis=1, keepdims=True)
    p = L.Conv1D(4, 3, padding="causal", dilation_rate=3)(s)
    p = keras.ops.stack(keras.ops.unstack(p, axis=2)[::2], axis=1)
    return keras.Model(i, [L.Flatten()(t), s, p])

def small():
    i = keras.Input((9, 8, 3))
    y = L.Conv2D(8, 3, strides=2, activation="tanh")(i)
    y = L.Concatenate()([y, L.Conv2D(4, 1, activation="sigmoid")(y)])
    y = L.Multiply()([y, L.GlobalAveragePooling2D(keepdims=True)(y)])
    return keras.Model(i, L.Dense(5)(L.Flatten()(y)))

for make in (branches, sequence, modern, small, odd):
    m, name = make(), make.__name__
    for v in m.weights:
        value = rng.normal(0, 0.4, v.shape)
        v.assign(np.abs(value) + 0.2 if "variance" in v.name else value)
    data = x if name != "sequence" else rng.normal(0, 1, (16, 20, 3)).astype(np.float32)
    np.save(f"{out}/{name}.npy", data)
    for kind in ("float", "half", "dynamic", "int8", "wide"):
        c = tf.lite.TFLiteConverter.from_keras_model(m)
        if kind != "float":
            c.optimizations = [tf.lite.Optimize.DEFAULT]
        if kind == "half":
            c.target_spec.supported_types = [tf.float16]
        if kind in ("int8", "wide"):
            c.representative_dataset = lambda: ([d[None]] for d in data)
        if kind == "wide":
            c.target_spec.supported_ops = [getattr(tf.lite.OpsSet, WIDE)]
        open(f"{out}/{name}_{kind}.tflite", "wb").write(c.convert())
        if name in ("odd", "modern"):
            break

nets = {
    "conv": L.Conv2D(8, 3, strides=2, padding="same", activation="relu"),
    "depthwise": L.DepthwiseConv2D(3, padding="same"),
    "dense": lambda i: L.Dense(5)(L.Flatten()(i)),
    "sigmoid": L.Activation("sigmoid"), "leaky": L.LeakyReLU(),
    "mean": L.GlobalAveragePooling2D(), "average": L.AveragePooling2D(2),
    "add": lambda i: L.Add()([i, L.ReLU()(i)]), "mul": lambda i: i * L.ReLU()(i),
    "concat": lambda i: L.Concatenate()([i, L.ReLU(6.0)(i) - i]),
    "minimum": lambda i: keras.ops.minimum(i, L.ReLU()(i) * 0.5),
    "relu6": L.Conv2D(4, 3, activation="relu6"), "tanh": L.Activation("tanh"),
}

def several(i):
    y = L.DepthwiseConv2D(3, activation="relu6")(L.Conv2D(8, 3, strides=2, activation="relu")(i))
    y = L.Conv2D(8, 1)(y)
    y = L.GlobalAveragePooling2D()(L.Add()([y, L.Conv2D(8, 1, activation="relu")(y)]))
    return L.Dense(5)(y)

nets["several"] = several
for name, make in nets.items():
    i = keras.Input((9, 8, 3))
    m = keras.Model(i, make(i))
    for v in m.weights:
        v.assign(rng.normal(0, 0.4, v.shape))
    c = tf.lite.TFLiteConverter.from_keras_model(m)
    c.optimizations = [tf.lite.Optimize.DEFAULT]
    c.representative_dataset = lambda: ([d[None]] for d in x)
    c.target_spec.supported_ops = [getattr(tf.lite.OpsSet, WIDE)]
    if name not in ("relu6", "tanh", "several"):
        open(f"{out}/one_{name}.tflite", "wb").write(c.convert())
    c = tf.lite.TFLiteConverter.from_keras_model(m)
    c.optimizations = [tf.lite.Optimize.DEFAULT]
    c.representative_dataset = lambda: ([d[None] * 0.7] for d in x)
    c.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    c.inference_input_type = c.inference_output_type = tf.uint8 if name == "mul" else tf.int8
    open(f"{out}/codes_{name}.tflite", "wb").write(c.convert())

from tensorflow.lite.tools import flatbuffer_utils
file = flatbuffer_utils.read_model(f"{out}/branches_int8.tflite")
for t in file.subgraphs[0].tensors:
    q = t.quantization
    if q is not None and q.scale is not None and len(q.scale) > 1 and len(t.shape) == 1:
        q.quantizedDimension = 3
flatbuffer_utils.write_model(file, f"{out}/bias.tflite")

table = rng.normal(0, 1, (10, 4)).astype(np.float32)

@tf.function(input_signature=[tf.TensorSpec((1, 6), tf.int32, name="ids"),
                              tf.TensorSpec((1, 6, 4), tf.float32, name="more")])
def plain(ids, more):
    y = tf.gather(table, ids) + more
    best, where = tf.math.top_k(y, 2)
    y = tf.math.squared_difference(tf.gather(y, [5, 0, 0], axis=1), 0.5)
    y = tf.concat([tf.reverse(y, [1]), tf.pad(y, [[0, 0], [1, 1], [0, 0]], "SYMMETRIC")], 1)
    return {"a": tf.nn.l2_normalize(y, -1), "b": tf.argmax(more, -1), "c": best, "d": where,
            "e": tf.tile(tf.nn.log_softmax(tf.minimum(y, 1.0)), [1, 1, 2])}

c = tf.lite.TFLiteConverter.from_concrete_functions([plain.get_concrete_function()], plain)
open(f"{out}/plain.tflite", "wb").write(c.convert())
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


def _check_all(path: Path, inputs: dict[str, np.ndarray]) -> Graph:
    """Every output, of several inputs by name, is LiteRT's to 1e-5 of its scale."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    graph = load(path)
    verify(graph)
    got = execute.run_outputs(graph, inputs)
    run = litert.Interpreter(model_path=str(path))
    run.allocate_tensors()
    for k in range(len(next(iter(inputs.values())))):
        for d in run.get_input_details():
            name = d["name"].removeprefix("serving_default_").split(":")[0]
            run.set_tensor(d["index"], inputs["input" if len(inputs) == 1 else name][k][None])
        run.invoke()
        for a, d in zip(got, run.get_output_details(), strict=True):
            want = run.get_tensor(d["index"])[0]
            scale = max(float(np.abs(want).max()), 1e-3)
            np.testing.assert_allclose(a[k].reshape(want.shape) / scale, want / scale, atol=1e-5)
    return graph


def test_every_output_of_a_modern_network_equals_litert(folder: Path) -> None:
    x = np.load(folder / "modern.npy")[:2]
    graph = _check_all(folder / "modern_float.tflite", {"input": x})
    assert any(n.attrs.get("dilations") == (2, 2) for n in graph)
    assert any(n.attrs.get("dilations") == (1, 3) for n in graph)


def test_functions_with_two_inputs_and_indices_equal_litert(folder: Path) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 10, (3, 6)).astype(np.int32)
    more = rng.normal(size=(3, 6, 4)).astype(np.float32)
    graph = _check_all(folder / "plain.tflite", {"ids": ids, "more": more})
    assert graph.dtype("ids") == "int32"


def test_a_bias_of_one_axis_may_name_another(folder: Path) -> None:
    """TFLM's own person_detection: quantized_dimension 3 for a bias [c]."""
    x = np.load(folder / "branches.npy")
    a, b = load(folder / "bias.tflite"), load(folder / "branches_int8.tflite")
    np.testing.assert_array_equal(execute.run(a, x), execute.run(b, x))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((n, k) for n in ("branches", "sequence", "small")
          for k in ("float", "half", "dynamic", "int8", "wide")),
    ],
)  # fmt: skip
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
    if kind == "wide":  # in the file's own codes; one before a tanh is up to 9 of its own
        assert q.tensors[q.output].wide
        steps = {n.output: n.attrs["step"] for n in graph.nodes if "step" in n.attrs}
        kept = {t: s for t, s in steps.items() if t in q.tensors and graph.node(t).op != "input"}
        assert kept
        for t, step in kept.items():
            assert q.tensors[t].scale == pytest.approx(step, rel=1e-6), t
        assert np.abs(y - want).max() <= 8 * q.tensors[q.output].scale


@pytest.mark.parametrize("name", [
    "conv", "relu6", "depthwise", "dense", "sigmoid", "tanh", "leaky", "mean", "average", "add",
    "mul", "concat", "minimum", "several",
])  # fmt: skip
def test_8_bit_codes_are_the_files(folder: Path, name: str) -> None:
    """Scales and zero points are kept, though other inputs are shown than its converter saw."""
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    path, x = folder / f"codes_{name}.tflite", np.load(folder / "branches.npy")
    run = litert.Interpreter(model_path=str(path))
    run.allocate_tensors()
    (source,), (sink,) = run.get_input_details(), run.get_output_details()
    (scale, zero), (step, at) = source["quantization"], sink["quantization"]
    ends = np.iinfo(source["dtype"])
    codes = np.clip(np.rint(x / scale) + zero, ends.min, ends.max).astype(source["dtype"])
    want = []
    for sample in codes:
        run.set_tensor(source["index"], sample[None])
        run.invoke()
        want.append(run.get_tensor(sink["index"])[0].astype(int))
    q = lower(load(path), x[:4] * 3)
    t = q.tensors[q.output]
    assert q.tensors[q.inputs[0]].scale == pytest.approx(scale, rel=1e-6)
    assert t.scale == pytest.approx(step, rel=1e-6)
    real = ((codes - float(zero)) * scale).astype(np.float32)
    y = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, real)))
    got = np.rint(y.reshape(len(x), -1) / step + at)
    off = np.abs(got - np.reshape(want, (len(x), -1)))
    assert off.max() <= 1
    assert (off == 0).mean() > (0.6 if name == "several" else 0.9)  # seven layers


def test_the_conversion_notes_ranges_of_the_file(folder: Path) -> None:
    x = np.load(folder / "branches.npy")
    kept = convert(folder / "codes_conv.tflite", x)
    assert any(
        "2 of the tensors keep the ranges of their codes that the model brings" in n
        for n in kept.notes
    )
    assert not any("that the model brings" in n for n in convert(
        folder / "small_float.tflite", x
    ).notes)  # fmt: skip


def test_operators_of_16_bits_agree_to_one_code(folder: Path) -> None:
    x = np.load(folder / "branches.npy")
    paths = sorted(folder.glob("one_*.tflite"))
    assert len(paths) == 11
    for path in paths:
        q = lower(load(path), x)
        t = q.tensors[q.output]
        y = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, x)))
        want = _litert(path, x)
        assert t.wide
        codes = 2 if path.stem == "one_sigmoid" else 1  # LiteRT's own table is up to 1.6 off
        assert np.abs(y.reshape(want.shape) - want).max() <= (codes + 0.01) * t.scale, path.name


def test_unsupported_operator_is_named(folder: Path) -> None:
    with pytest.raises(
        ModelError, match=r"odd_float\.tflite.*CUMSUM.*cannot be converted.*CONV_2D"
    ):
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
