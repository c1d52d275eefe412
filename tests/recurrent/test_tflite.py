"""UNIDIRECTIONAL_SEQUENCE_LSTM of TensorFlow Lite, float and int8, beside LiteRT."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.flow.against import run_tflite
from secateur.frontend import execute
from secateur.frontend.load import load
from secateur.frontend.tflite.reader import _HANDLERS, TfliteOp, TfliteReader
from secateur.lowering import reference
from secateur.lowering.quantize import lower

for _package in ("tf_keras", "ai_edge_litert"):
    pytest.importorskip(_package)
pytestmark = pytest.mark.slow

#: Keras 2's LSTM, whose loop the converter makes one operator of.
_CONVERT = """
import sys, numpy as np, tensorflow as tf, tf_keras as keras
keras.utils.set_random_seed(0)
x = keras.Input((12, 5), batch_size=1)
y = keras.layers.LSTM(8, return_sequences=True)(x)
model = keras.Model(x, keras.layers.Dense(4)(keras.layers.LSTM(7)(y)))
for v in model.weights:
    v.assign(np.random.default_rng(v.shape[0]).normal(0, 0.5, v.shape))
data = np.load(sys.argv[1] + "/x.npy")
for kind in ("float", "int8"):
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if kind == "int8":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([one[None]] for one in data)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.int8
    open(f"{sys.argv[1]}/{kind}.tflite", "wb").write(converter.convert())
np.savez(sys.argv[1] + "/weights.npz", *model.get_weights())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("lstm")
    np.save(out / "x.npy", np.random.default_rng(0).normal(0, 1, (48, 12, 5)).astype("f4"))
    args = [sys.executable, "-c", _CONVERT, str(out)]
    done = subprocess.run(args, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        pytest.fail(done.stderr[-2000:])
    return out


def test_a_float_file_is_litert_and_keeps_its_weights(folder: Path) -> None:
    x, graph = np.load(folder / "x.npy"), load(folder / "float.tflite")
    want, _ = run_tflite(folder / "float.tflite", x)  # each sample from states of zeros
    np.testing.assert_allclose(execute.run(graph, x), want, atol=2e-6)
    weights = list(np.load(folder / "weights.npz").values())
    found = [n.params for n in graph.nodes if n.op == "recurrent"]
    for params, own in zip(found, (weights[:3], weights[3:6]), strict=True):
        for name, value in zip(("kernel", "recurrent", "bias"), own, strict=True):
            np.testing.assert_array_equal(params[name], value)


def test_an_int8_file_is_litert_to_a_few_steps(folder: Path) -> None:
    """Weights by value exactly; LiteRT rounds the gates to its own scales, we to ours."""
    x, graph = np.load(folder / "x.npy"), load(folder / "int8.tflite")
    want, _ = run_tflite(folder / "int8.tflite", x)
    step = np.diff(np.unique(want)).min()
    assert np.abs(execute.run(graph, x) - want).mean() < 2 * step
    q = lower(graph, x, method="minmax")
    ours = reference.dequantize_output(q, reference.run(q, reference.quantize_input(q, x)))
    assert np.abs(ours.reshape(want.shape) - want).mean() < 2 * step
    assert all(n.attrs.get("activations") != "int16" for n in graph.nodes)
    file = TfliteReader((folder / "int8.tflite").read_bytes(), folder, "net", False)
    kernel = next(n for n in graph.nodes if n.op == "recurrent").params["kernel"]
    gates = [file.tensors[j].data for j in file.ops[0][2].array(1, "i4")[1:5]]
    np.testing.assert_array_equal(kernel.T, np.concatenate(gates))


def test_what_is_not_read_is_refused_by_name(folder: Path) -> None:
    reader = TfliteReader((folder / "float.tflite").read_bytes(), folder, "net", False)
    table = reader.ops[0][2]
    inputs = table.array(1, "i4").tolist()
    op = TfliteOp("UNIDIRECTIONAL_SEQUENCE_LSTM", "lstm", inputs, [0], table.table(4))
    for place, tensor, what in (
        (1, -1, "input and forget gate in one"), (9, inputs[1], "peepholes"),
        (16, inputs[1], "a projection"), (20, inputs[1], "layer normalisation"),
        (18, inputs[1], "states other than zeros"),
    ):  # fmt: skip
        changed = [tensor if i == place else j for i, j in enumerate(inputs)]
        with pytest.raises(ModelError, match=what):
            _HANDLERS[op.kind](reader, replace(op, inputs=changed))
    with pytest.raises(ModelError, match="activation number 0"):
        _HANDLERS[op.kind](reader, replace(op, options=None))


def test_a_cell_state_that_reaches_its_clip_is_refused(folder: Path) -> None:
    graph = load(folder / "float.tflite")
    x = np.load(folder / "x.npy")
    graph.nodes[1].attrs["cell_clip"] = 0.25
    with pytest.raises(ModelError, match=r"clips its cell state at 0\.25"):
        lower(graph, x, method="minmax")
