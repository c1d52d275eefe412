"""Normalizations and functions that sources write out become the one operator they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import secateur as sc
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import Graph, verify
from secateur.frontend.load import load
from secateur.lowering.simplify import simplify

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.train
L, K = keras.layers, keras.ops
RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (24, 6, 8)).astype(np.float32)
GAMMA, BETA = (RNG.normal(1, 0.5, 8).astype(np.float32) for _ in range(2))


def mean(u: Any, axis: Any = -1) -> Any:
    return K.mean(u, axis, keepdims=True)


def folded(u: Any, factor: Any) -> Any:
    return u * factor + (K.negative(mean(u)) * factor + BETA)


def total(u: Any) -> Any:
    return K.sum(K.square(u), -1, keepdims=True)


def between(f: Callable[[Any], Any]) -> Any:
    """`f` between two Dense layers."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 8))
    return keras.Model(x, L.Dense(4)(f(L.Dense(8, kernel_initializer="random_normal")(x))))


def ops(graph: Graph) -> list[str]:
    return [str(n.attrs.get("function", n.op)) for n in graph.nodes[2:-1]]


def found(model: Any) -> Graph:
    """The graph behind the float passes, which says what it said before them."""
    graph = load(model)
    simple = simplify(graph)
    verify(simple)
    want = execute.run(graph, X)
    np.testing.assert_allclose(execute.run(simple, X), want, atol=1e-5 * np.abs(want).max())
    return simple


NORMS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "quotient": (
        lambda u: (u - mean(u)) / K.sqrt(K.var(u, -1, keepdims=True) + 1e-5),
        "layer_norm",
    ),
    "negative": (
        lambda u: (mean(u) - u) / K.sqrt(mean(K.square(mean(u) - u)) + 1e-5),
        "layer_norm",
    ),
    "scaled": (
        lambda u: (u - mean(u)) * GAMMA * K.rsqrt(mean((u - mean(u)) ** 2) + 1e-5) + BETA,
        "layer_norm",
    ),
    "mean of squares": (
        lambda u: (u - mean(u)) * K.rsqrt(mean(u * u) - K.square(mean(u)) + 1e-3) * 3.0 + 1.0,
        "layer_norm",
    ),
    "as TensorFlow folds it": (
        lambda u: folded(u, K.rsqrt(K.var(u, -1, keepdims=True) + 1e-3) * GAMMA),
        "layer_norm",
    ),
    "unbiased": (
        lambda u: (u - mean(u)) / K.sqrt(K.sum((u - mean(u)) ** 2, -1, keepdims=True) / 7 + 1e-5),
        "layer_norm",
    ),
    "two axes": (
        lambda u: (u - mean(u, (1, 2))) / K.sqrt(K.var(u, (1, 2), keepdims=True) + 1e-3),
        "layer_norm",
    ),
    "rms": (lambda u: u * K.rsqrt(mean(K.square(u)) + 1e-6) * GAMMA, "rms_norm"),
    "rms of a sum": (lambda u: u / K.sqrt(total(u) + 1e-6), "rms_norm"),
    "l2, the root floored": (lambda u: u / K.maximum(K.sqrt(total(u)), 1e-4), "l2_norm"),
    "l2, the sum floored": (lambda u: u / K.sqrt(K.maximum(total(u), 1e-4)), "l2_norm"),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_normalization_written_out_is_one_operator(name: str) -> None:
    f, op = NORMS[name]
    assert ops(found(between(f))) == [op]


@pytest.mark.parametrize(
    "f",
    [
        lambda u: (u - mean(u)) / (K.sqrt(K.var(u, -1, keepdims=True)) + 1e-5),  # outside the root
        lambda u: (u - 0.5 * mean(u)) / K.sqrt(K.var(u, -1, keepdims=True) + 1e-5),
        lambda u: (u - mean(u)) / K.sqrt(K.var(u, 1, keepdims=True) + 1e-5),  # of other elements
        lambda u: (u - mean(u)) / K.sqrt(mean(u * K.square(u)) ** 2 + 1e-5),
    ],
)
def test_what_only_resembles_a_normalization_is_left_as_it_is(f: Callable[[Any], Any]) -> None:
    assert not {"layer_norm", "rms_norm", "l2_norm"} & set(ops(found(between(f))))


def test_pieces_that_others_read_stay() -> None:
    def both(u: Any) -> Any:
        centred = u - mean(u)
        return centred / K.sqrt(mean(K.square(centred)) + 1e-5) + centred

    assert sorted(ops(found(between(both)))) == ["add", "layer_norm", "mean", "sub"]


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "silu": lambda u: u * K.sigmoid(u),
    "gelu": lambda u: 0.5 * u * (1 + K.erf(u / math.sqrt(2))),
    "gelu_tanh": lambda u: 0.5 * u * (1 + K.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))),
    "hard_silu": lambda u: u * K.relu6(u + 3) / 6,
    "mish": lambda u: u * K.tanh(K.log(1 + K.exp(u))),
    "sigmoid": lambda u: 1 / (1 + K.exp(-u)),
    "softsign": lambda u: u / (1 + K.abs(u)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_written_out_is_one_table(name: str) -> None:
    assert ops(found(between(FUNCTIONS[name]))) == [name]


@pytest.mark.parametrize(
    "f",
    [
        lambda u: u * K.sigmoid(1.1 * u),
        lambda u: u * K.sigmoid(u * GAMMA),  # another function for each channel
        lambda u: u * K.sigmoid(mean(u)),  # as squeeze and excite does
        lambda u: u * K.sigmoid(L.Dense(8)(u)),
    ],
)
def test_what_only_resembles_a_function_is_left_as_it_is(f: Callable[[Any], Any]) -> None:
    assert "mul" in ops(found(between(f)))


def test_integers_are_as_good_as_those_of_the_layers() -> None:
    def written(u: Any) -> Any:
        return FUNCTIONS["gelu"](NORMS["quotient"][0](u))

    def layers(u: Any) -> Any:
        return L.Activation("gelu")(L.LayerNormalization(epsilon=1e-5)(u))

    errors = []
    for f in (written, layers):
        model = between(f)
        want = np.asarray(model(X))
        got = sc.convert(model, X, name="m").predict(X).reshape(want.shape)
        errors.append(float(np.abs(got - want).mean()))
    assert errors[0] <= 1.05 * errors[1]
    assert errors[1] <= 0.01 * np.abs(want).max()


def test_a_quotient_that_is_no_normalization_is_refused() -> None:
    model = between(lambda u: u / (1 + K.square(mean(u))))
    with pytest.raises(ModelError, match="divides by a tensor that is computed"):
        sc.convert(model, X)
