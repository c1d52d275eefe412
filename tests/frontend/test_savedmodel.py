"""SavedModels: of subclassed Keras models and of plain functions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import verify
from secateur.frontend.load import load

keras = pytest.importorskip("keras")
tf = pytest.importorskip("tensorflow")
pytestmark = [pytest.mark.train, pytest.mark.slow]


class Residual(keras.Model):
    """A model with code of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first = keras.layers.Conv2D(4, 3, padding="same", activation="silu")
        self.second = keras.layers.Dense(4)
        self.last = keras.layers.Dense(3)

    def call(self, x: Any) -> Any:
        y = self.first(x)
        y = y + 0.5 * self.second(y)
        return self.last(keras.ops.mean(y, axis=(1, 2)))


def test_a_subclassed_model_is_exported_and_read(tmp_path: Path) -> None:
    model = Residual()
    x = np.random.default_rng(0).normal(size=(3, 8, 6, 2)).astype("f4")
    want = np.asarray(model(x))
    with pytest.raises(ModelError, match=r"subclassed.*model\.export"):
        load(model)
    model.export(str(tmp_path / "net"), verbose=False)
    graph = load(tmp_path / "net")
    verify(graph)
    assert graph.name == "net"
    np.testing.assert_allclose(execute.run(graph, x), want, rtol=1e-4, atol=1e-5)


def test_a_function_with_two_inputs(tmp_path: Path) -> None:
    module = tf.Module()
    module.scale = tf.Variable(np.arange(1, 5, dtype="f4"))

    @tf.function(
        input_signature=[
            tf.TensorSpec((None, 6, 4), name="left"), tf.TensorSpec((None, 6, 4), name="right"),
        ]
    )  # fmt: skip
    def f(left: Any, right: Any) -> Any:
        return {"out": tf.nn.softmax(tf.maximum(left * module.scale, right), axis=-1)}

    module.f = f
    tf.saved_model.save(module, str(tmp_path), signatures=f)
    graph = load(str(tmp_path))
    rng = np.random.default_rng(0)
    x = {n: rng.normal(size=(3, 6, 4)).astype("f4") for n in ("left", "right")}
    want = np.asarray(f(x["left"], x["right"])["out"])
    got = execute.run(graph, x)
    np.testing.assert_allclose(got.reshape(want.shape), want, atol=1e-5)


def test_a_damaged_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="cannot be converted by TensorFlow Lite"):
        load(tmp_path)
