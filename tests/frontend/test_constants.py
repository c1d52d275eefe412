"""Constants beside a tensor: every dimension counts, also where two of them are equal."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.load import load

pytestmark = pytest.mark.train

#: All broadcast against [1, 4, 4, 4].
SHAPES = [
    (), (1,), (4,), (1, 4), (4, 1), (1, 1, 4), (1, 4, 1), (4, 1, 1), (4, 4), (4, 4, 1), (1, 4, 4),
    (4, 1, 4), (4, 4, 4), (1, 1, 1, 4), (1, 4, 1, 1), (1, 1, 4, 1),
]  # fmt: skip
FUNCTIONS = {
    "add": lambda x, c: x + c,
    "sub": lambda x, c: x - c,
    "mul": lambda x, c: x * c,
    "from": lambda x, c: c - x,
}
X = np.random.default_rng(0).normal(size=(1, 4, 4, 4)).astype(np.float32)


def constant(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def _applied(function: Any, c: np.ndarray, x: Any) -> Any:
    return function(x, c)


def held_to(model: Any, expected: np.ndarray) -> bool:
    """Whether it was read, and then right; False if it was refused."""
    try:
        graph = load(model)
    except ModelError:
        return False
    got = execute.run(graph, X)
    np.testing.assert_allclose(got.reshape(expected.shape), expected, atol=1e-5)
    return True


@pytest.mark.slow
@pytest.mark.parametrize("name", FUNCTIONS)
def test_tflite(name: str, tmp_path: Path) -> None:
    tf = pytest.importorskip("tensorflow")
    function, read = FUNCTIONS[name], set()
    for shape in SHAPES:
        c = constant(shape)

        spec = tf.TensorSpec((1, 4, 4, 4), tf.float32)
        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [tf.function(functools.partial(_applied, function, c)).get_concrete_function(spec)],
            tf.Module(),
        )
        path = tmp_path / "m.tflite"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            path.write_bytes(converter.convert())
        if held_to(path, function(X, c)):
            read.add(shape)
    assert name == "from" or {(), (4,), (1, 1, 4)} <= read


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("package", ["keras", "tf_keras"])
def test_keras(package: str, name: str) -> None:
    framework = pytest.importorskip(package)
    function, read = FUNCTIONS[name], set()
    for shape in SHAPES:
        c = constant(shape)
        x = framework.Input((4, 4, 4))
        try:
            model = framework.Model(x, function(x, c if shape else float(c)))
        except Exception:  # NumPy takes the sum to itself
            continue
        if held_to(model, function(X, c)):
            read.add(shape)
    assert {()} <= read


def test_every_shape_is_tried_where_dimensions_agree() -> None:
    assert all(np.broadcast_shapes(shape, X.shape) == X.shape for shape in SHAPES)
