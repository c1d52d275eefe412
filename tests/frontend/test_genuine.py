"""Only the framework's own objects are known by their name; weights are those that count."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secateur
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.keras3 import from_keras
from secateur.frontend.tfkeras import from_tf_keras
from secateur.lowering.qgraph import QDense

pytestmark = pytest.mark.train
keras = pytest.importorskip("keras")

X = np.random.default_rng(0).normal(size=(16, 6)).astype(np.float32)


def relu(x: Any) -> Any:
    """Not what its name says."""
    return x * x


def softmax(x: Any) -> Any:
    return x


@keras.saving.register_keras_serializable("mine", "relu6")
def registered(x: Any) -> Any:
    return -x


class ReLU(keras.layers.ReLU):
    def call(self, inputs: Any) -> Any:
        return -inputs


FOREIGN: list[tuple[Any, str]] = [
    (lambda t: t * t, r"<lambda>' *"),
    (relu, r"test_genuine\.relu'"),
    (softmax, r"test_genuine\.softmax'"),
    (registered, r"registered'"),
    (functools.partial(keras.activations.relu, max_value=0.5), r"partial\(relu, max_value=0\.5\)"),
    (keras.ops.sign, r"sign'"),
    (np.tanh, r"tanh"),
]


@pytest.mark.parametrize(("function", "called"), FOREIGN)
@pytest.mark.parametrize("kind", ["Dense", "Activation", "Conv1D"])
def test_functions_that_are_not_keras_own_are_refused(
    kind: str, function: Any, called: str
) -> None:
    layers = keras.layers
    stack = {
        "Dense": [keras.Input((6,)), layers.Dense(4, activation=function, name="top")],
        "Conv1D": [keras.Input((6, 2)), layers.Conv1D(4, 1, activation=function, name="top")],
        "Activation": [keras.Input((6,)), layers.Activation(function, name="top")],
    }[kind]
    with pytest.raises(ModelError, match=rf"layer 'top' \({kind}\) has the activation '.*{called}"):
        from_keras(keras.Sequential(stack))


@pytest.mark.parametrize("function", ["relu", "relu6", "softmax", "linear"])
def test_keras_own_are_known_as_names_and_as_functions(function: str) -> None:
    for own in (function, getattr(keras.activations, function)):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation=own)])
        np.testing.assert_allclose(execute.run(from_keras(model), X), model(X), atol=1e-5)
    tf = pytest.importorskip("tensorflow")
    if function.startswith("relu"):  # TensorFlow's own are the same
        model = keras.Sequential(
            [keras.Input((6,)), keras.layers.Dense(4, activation=getattr(tf.nn, function))]
        )
        np.testing.assert_allclose(execute.run(from_keras(model), X), model(X), atol=1e-5)


def test_a_layer_as_an_activation_is_looked_at_too() -> None:
    for layer, fine in ((keras.layers.ReLU(0.5), True), (ReLU(0.5), False)):
        model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(4, activation=layer)])
        if fine:
            np.testing.assert_allclose(execute.run(from_keras(model), X), model(X), atol=1e-5)
        else:
            with pytest.raises(ModelError, match="ReLU"):
                from_keras(model)


def test_layers_that_only_say_they_are_keras_are_refused() -> None:
    class Dense(keras.layers.Dense):
        def call(self, inputs: Any, training: Any = None) -> Any:
            return -super().call(inputs)

    Dense.__module__ = "keras.src.layers.core.dense"
    with pytest.raises(ModelError, match="says it is keras's and is not"):
        from_keras(keras.Sequential([keras.Input((6,)), Dense(4)]))
    layer = keras.layers.Dense(4, name="patched")
    layer.call = lambda inputs: inputs
    with pytest.raises(ModelError, match=r"'patched' .Dense. has its method call replaced"):
        from_keras(keras.Sequential([keras.Input((6,)), layer]))


def test_a_sign_of_keras_ops_is_not_larqs() -> None:
    """sign(0) is 0; Larq's is 1."""
    x = keras.Input((6,))
    model = keras.Model(x, keras.ops.sign(x))
    data = np.array([[-2, -0.5, 0, 0.5, 2, 0]], np.float32)
    np.testing.assert_array_equal(execute.run(from_keras(model), data), np.sign(data))


def test_tf_keras_is_held_to_the_same() -> None:
    tf_keras = pytest.importorskip("tf_keras")
    tf = pytest.importorskip("tensorflow")
    layers = tf_keras.layers
    foreign = [f for f, _ in FOREIGN[:4] if f is not registered]
    for function in (*foreign, tf.sign, functools.partial(tf_keras.activations.relu, max_value=1)):
        for layer in (
            layers.Dense(4, activation=function, name="top"),
            layers.Activation(function),
        ):
            model = tf_keras.Sequential([layers.InputLayer((6,)), layer])
            with pytest.raises(ModelError, match="which is not Keras' own"):
                from_tf_keras(model)
    for function in ("relu", tf_keras.activations.softmax, tf.nn.relu, tf.nn.softmax, None):
        model = tf_keras.Sequential([layers.InputLayer((6,)), layers.Dense(4, function)])
        np.testing.assert_allclose(execute.run(from_tf_keras(model), X), model(X), atol=1e-5)


# Weights ------------------------------------------------------------------------------------------


def small() -> Any:
    keras.utils.set_random_seed(5)
    return keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.Dense(8, activation="relu", name="first"),
            keras.layers.Dense(5, name="last"),
        ]
    )


def adapt(layer: Any) -> None:
    layer.enable_lora(2, lora_alpha=3)
    rng = np.random.default_rng(1)
    for v in (layer.lora_kernel_a, layer.lora_kernel_b):
        v.assign(rng.normal(size=v.shape))


@pytest.mark.parametrize("saved", [False, True])
def test_lora_is_part_of_the_kernel(saved: bool, tmp_path: Path) -> None:
    model = small()
    plain = model(X).numpy()
    adapt(model.get_layer("first"))
    assert np.abs(model(X).numpy() - plain).max() > 0.1
    expected = model(X).numpy()
    if saved:
        model.save(tmp_path / "m.keras")
        model = tmp_path / "m.keras"
    graph = from_keras(model)
    np.testing.assert_allclose(execute.run(graph, X), expected, atol=1e-4)
    assert [n.attrs["parameters"] for n in graph.nodes if n.op == "dense"] == [56, 45]


def test_lora_of_a_convolution() -> None:
    conv = keras.layers.Conv2D(4, 3)
    model = keras.Sequential([keras.Input((5, 5, 2)), conv])
    adapt(conv)
    x = np.random.default_rng(0).normal(size=(3, 5, 5, 2)).astype(np.float32)
    np.testing.assert_allclose(execute.run(from_keras(model), x), model(x), atol=1e-4)


@pytest.mark.parametrize("mode", ["int8", "int4"])
@pytest.mark.parametrize("lora", [False, True])
def test_quantized_kernels_are_what_they_stand_for(mode: str, lora: bool) -> None:
    model = small()
    first = model.get_layer("first")
    model.quantize(mode)
    if lora:
        adapt(first)
    graph = from_keras(model)
    kernel = next(n for n in graph.nodes if n.name == "first").params["kernel"]
    # What the layer makes of the rows of the identity is its kernel.
    rows = keras.ops.convert_to_numpy(first(np.eye(6, dtype=np.float32)))
    bias = keras.ops.convert_to_numpy(first.bias)
    np.testing.assert_allclose(np.maximum(kernel + bias, 0), rows, atol=2e-5)


@pytest.mark.parametrize("mode", ["int8", "int4"])
def test_codes_are_kept_as_they_are(mode: str) -> None:
    model = small()
    model.quantize(mode, config=_per_channel(mode))
    first = model.get_layer("first")
    codes = first._kernel
    if mode == "int4":
        codes = keras.quantizers.unpack_int4(codes, 8, axis=-1)
    codes = keras.ops.convert_to_numpy(codes).astype(int)
    compiled = secateur.convert(model, calibration=X)
    op = next(op for op in compiled.qgraph if isinstance(op, QDense) and op.name == "first")
    stored = op.weight.astype(int)  # [outputs, inputs]
    step = 127 // np.abs(codes).max(axis=0)
    if mode == "int8":
        np.testing.assert_array_equal(stored.T, codes)
    else:  # -7..7 of the 8-bit grid: the same sixteen values
        assert (step == 127 // 7).all()
        np.testing.assert_array_equal(np.rint(stored.T * 7 / 127), codes)
        assert np.unique(stored).size <= 15


def _per_channel(mode: str) -> Any:
    if mode == "int8":
        return None
    return keras.quantizers.Int4QuantizationConfig(block_size=-1)


def test_other_quantizations_are_refused() -> None:
    model = small()
    model.quantize("float8")
    with pytest.raises(ModelError, match=r"'first' .Dense. is quantized to float8 by Keras"):
        from_keras(model)
