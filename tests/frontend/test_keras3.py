"""Keras 3 models: every layer against Keras itself, and every refusal."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.keras3 import from_keras
from secateur.frontend.load import load

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.train
L = keras.layers


def randomise(model: Any, seed: int = 0) -> Any:
    """Non-trivial biases and moments, which fresh layers do not have."""
    rng = np.random.default_rng(seed)
    for v in model.weights:
        value = rng.normal(0, 0.5, v.shape)
        v.assign(np.abs(value) + 0.1 if "variance" in v.name else value)
    return model


def check(model: Any, tolerance: float = 1e-4) -> None:
    randomise(model)
    x = np.random.default_rng(1).normal(0, 2, (3, *model.input_shape[1:])).astype(np.float32)
    want = np.asarray(model(x, training=False))
    got = execute.run(from_keras(model), x)
    np.testing.assert_allclose(got.reshape(want.shape), want, rtol=1e-4, atol=tolerance)


IMAGE, SEQUENCE = (9, 8, 3), (11, 3)

LAYERS: dict[str, tuple[tuple[int, ...], Callable[[], Any]]] = {
    "conv": (IMAGE, lambda: L.Conv2D(4, 3, activation="relu")),
    "conv same stride": (IMAGE, lambda: L.Conv2D(4, (3, 4), strides=2, padding="same")),
    "conv even kernel": (IMAGE, lambda: L.Conv2D(4, (2, 6), strides=(3, 2), padding="same")),
    "conv without bias": (IMAGE, lambda: L.Conv2D(4, 1, use_bias=False, activation="relu6")),
    "conv1d": (SEQUENCE, lambda: L.Conv1D(4, 3, strides=2, padding="same")),
    "conv1d causal": (SEQUENCE, lambda: L.Conv1D(4, 3, padding="causal")),
    "depthwise": (IMAGE, lambda: L.DepthwiseConv2D(3, strides=2, padding="same")),
    "separable": (IMAGE, lambda: L.SeparableConv2D(5, 3, padding="same", activation="relu")),
    "separable1d": (SEQUENCE, lambda: L.SeparableConv1D(5, 3, padding="same")),
    "dense on a sequence": (SEQUENCE, lambda: L.Dense(5)),
    "batch norm": (IMAGE, lambda: L.BatchNormalization()),
    "batch norm bare": (IMAGE, lambda: L.BatchNormalization(scale=False, center=False)),
    "batch norm 1d": (SEQUENCE, lambda: L.BatchNormalization(axis=2)),
    "relu": (IMAGE, lambda: L.ReLU()),
    "relu capped": (IMAGE, lambda: L.ReLU(max_value=1.5)),
    "activation layer as argument": (IMAGE, lambda: L.Conv2D(2, 1, activation=L.ReLU(6.0))),
    "activation": (IMAGE, lambda: L.Activation("relu6")),
    "softmax": ((7,), lambda: L.Softmax()),
    "activation softmax": ((7,), lambda: L.Activation("softmax")),
    "linear": (IMAGE, lambda: L.Activation("linear")),
    "max pool": (IMAGE, lambda: L.MaxPooling2D(2)),
    "max pool same": (IMAGE, lambda: L.MaxPooling2D((3, 2), strides=2, padding="same")),
    "max pool 1d": (SEQUENCE, lambda: L.MaxPooling1D(3, strides=2, padding="same")),
    "average pool": (IMAGE, lambda: L.AveragePooling2D((2, 3))),
    "average pool same": (IMAGE, lambda: L.AveragePooling2D(3, strides=2, padding="same")),
    "average pool 1d": (SEQUENCE, lambda: L.AveragePooling1D(2, padding="same")),
    "global average": (IMAGE, lambda: L.GlobalAveragePooling2D()),
    "global average kept": (IMAGE, lambda: L.GlobalAveragePooling2D(keepdims=True)),
    "global average 1d": (SEQUENCE, lambda: L.GlobalAveragePooling1D()),
    "global max": (IMAGE, lambda: L.GlobalMaxPooling2D()),
    "zero pad": (IMAGE, lambda: L.ZeroPadding2D(((1, 0), (2, 3)))),
    "zero pad by one number": (IMAGE, lambda: L.ZeroPadding2D(2)),
    "zero pad 1d": (SEQUENCE, lambda: L.ZeroPadding1D((1, 2))),
    "flatten": (IMAGE, lambda: L.Flatten()),
    "reshape": (IMAGE, lambda: L.Reshape((-1, 8, 3))),
    "dropout": (IMAGE, lambda: L.Dropout(0.5)),
}


@pytest.mark.parametrize("case", LAYERS)
def test_layer_equals_keras(case: str) -> None:
    shape, make = LAYERS[case]
    check(keras.Sequential([keras.Input(shape), make()]))


def test_dense_after_flatten_equals_keras() -> None:
    check(keras.Sequential([keras.Input(IMAGE), L.Conv2D(4, 3), L.Flatten(), L.Dense(5)]))


def test_branches_nested_models_and_operators_equal_keras() -> None:
    x = keras.Input(IMAGE)
    inner = keras.Sequential([keras.Input(IMAGE), L.Conv2D(3, 3, padding="same")], name="inner")
    a = inner(x)
    b = L.DepthwiseConv2D(3, padding="same")(x)
    y = L.Add()([a, b, x])
    y = L.ReLU()(y + L.BatchNormalization()(a))
    y = L.GlobalAveragePooling2D()(keras.ops.relu(y))
    check(keras.Model(x, L.Dense(4, activation="softmax")(y)))


def test_shared_layer_is_used_twice() -> None:
    x = keras.Input((6,))
    dense = L.Dense(6)
    check(keras.Model(x, L.Add()([dense(x), dense(dense(x))])))


def test_file_and_memory_give_the_same_graph(tmp_path: Path) -> None:
    model = randomise(keras.Sequential([keras.Input(IMAGE), L.Conv2D(4, 3), L.Flatten()]))
    model.save(tmp_path / "m.keras")
    a, b = from_keras(model), load(tmp_path / "m.keras")
    assert [n.op for n in a] == [n.op for n in b]
    np.testing.assert_array_equal(a.nodes[1].params["kernel"], b.nodes[1].params["kernel"])
    assert load(model, "other").name == "other"
    assert a.nodes[1].attrs["parameters"] == model.count_params()


class Odd(keras.layers.Layer):
    """A layer with code of its own."""

    def call(self, x: Any) -> Any:
        return x


def _fourier() -> Any:
    a = keras.Input((8,))
    return keras.Model(a, keras.ops.rfft(a)[0])


def _bad_weight() -> Any:
    m = keras.Sequential([keras.Input((3,)), L.Dense(2, name="fc")])
    m.layers[0].kernel.assign(np.full((3, 2), np.nan))
    return m


def _seq(shape: tuple[int | None, ...], layer: Any) -> Any:
    return keras.Sequential([keras.Input(shape), layer])


class _Subclassed(keras.Model):
    def call(self, x: Any) -> Any:
        return x


REFUSALS: dict[str, tuple[Callable[[], Any], str]] = {
    "unsupported": (
        lambda: _seq(SEQUENCE, L.Discretization([0.0], name="bins")),
        r"'bins'.*Discretization.*supported.*Conv2D",
    ),
    "activation": (lambda: _seq((4,), L.Dense(4, activation="sparsemax")), r"sparsemax.*relu6"),
    "operation": (_fourier, r"rfft.*2 outputs"),
    "unbuilt": (lambda: keras.Sequential([L.Dense(3)], name="late"), r"'late'.*not been built"),
    "subclassed": (lambda: _Subclassed(name="own"), r"'own'.*subclassed"),
    "open shape": (lambda: _seq((None, None, 3), L.Conv2D(3, 1)), r"open shape"),
    "NaN": (_bad_weight, r"'kernel'.*'fc'.*NaN"),
    "lambda": (lambda: _seq(IMAGE, L.Lambda(lambda x: x, name="f")), r"'f'.*Lambda"),
    "custom": (lambda: _seq(IMAGE, Odd(name="odd")), r"'odd'.*Odd"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_name_the_layer_and_the_way_out(case: str) -> None:
    make, pattern = REFUSALS[case]
    model = make()
    with pytest.raises(ModelError, match=pattern) as e:
        from_keras(model)
    assert "\n" not in str(e.value)


def _saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.keras"
    _seq((3,), L.Dense(2)).save(path)
    return path


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    data = _saved(tmp_path).read_bytes()
    bad = tmp_path / "bad.keras"
    flipped = bytearray(data)
    flipped[data.index(b"model.weights.h5") + 2000] ^= 0xFF
    for content in (b"", b"nonsense", data[: len(data) // 2], bytes(flipped)):
        bad.write_bytes(content)
        with pytest.raises(ModelError, match=r"bad\.keras.*not an intact"):
            load(bad)
    with zipfile.ZipFile(bad, "w") as z:
        z.writestr("config.json", "{}")
    with pytest.raises(ModelError, match=r"lacks metadata\.json"):
        load(bad)


def test_missing_files_and_strange_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"none\.keras does not exist"):
        load(tmp_path / "none.keras")
    folder = tmp_path / "dir.keras"
    folder.mkdir()
    with pytest.raises(ModelError, match=r"is not a file"):
        load(folder)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(ModelError, match=r"notes\.txt is no model"):
        load(tmp_path / "notes.txt")
    with pytest.raises(ModelError, match=r"type int"):
        load(7)


def test_code_in_a_file_is_never_run(tmp_path: Path) -> None:
    path = tmp_path / "l.keras"
    _seq((3,), L.Lambda(lambda x: x * 2, name="sneaky")).save(path)
    with pytest.raises(ModelError, match=r"'sneaky'.*Lambda.*never executed"):
        load(path)
    _seq((3,), Odd(name="odd")).save(path)
    with pytest.raises(ModelError, match=r"'odd'.*outside Keras"):
        load(path)
