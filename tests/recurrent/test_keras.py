"""Keras' recurrent layers: the float graph is what Keras computes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.load import load

keras = pytest.importorskip("keras")
L = keras.layers

CASES: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda x: L.LSTM(7)(x),
    "lstm sequence": lambda x: L.LSTM(4, return_sequences=True, use_bias=False)(x),
    "gru": lambda x: L.GRU(6, return_sequences=True)(x),
    "gru reset before": lambda x: L.GRU(6, reset_after=False)(x),
    "rnn backwards": lambda x: L.SimpleRNN(
        6, activation="relu", go_backwards=True, return_sequences=True
    )(x),
    "states": lambda x: L.LSTM(5, return_sequences=True, return_state=True)(x),
    "bidirectional": lambda x: L.Bidirectional(L.LSTM(4))(
        L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode="sum")(x)
    ),
    "bidirectional of others": lambda x: L.Bidirectional(
        L.LSTM(4), backward_layer=L.GRU(4, go_backwards=True)
    )(x),
    "bidirectional states": lambda x: L.Bidirectional(
        L.GRU(3, return_sequences=True, return_state=True)
    )(x),
    "cells": lambda x: L.RNN([L.LSTMCell(4), L.GRUCell(5)], return_sequences=True)(x),
    "cell in time": lambda x: L.TimeDistributed(L.Dense(4))(
        L.RNN(L.LSTMCell(4, recurrent_activation="hard_sigmoid"), return_sequences=True)(x)
    ),
    "average": lambda x: L.Bidirectional(L.RNN(L.SimpleRNNCell(4)), merge_mode="ave")(x),
}


@pytest.mark.parametrize("case", CASES)
def test_float_graph_is_keras(case: str) -> None:
    rng = np.random.default_rng(0)
    x = keras.Input((9, 5), name="x")
    model = keras.Model(x, CASES[case](x))
    for w in model.weights:
        w.assign(rng.normal(0, 0.5, w.shape))
    data = rng.normal(size=(4, 9, 5)).astype(np.float32)
    want = model(data)
    want = want if isinstance(want, list | tuple) else [want]
    got = execute.run_outputs(load(model, "net"), data)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a.reshape(b.shape), np.asarray(b), atol=2e-6)


def test_tf_keras_models_are_read() -> None:
    legacy = pytest.importorskip("tf_keras")
    x = legacy.Input((6, 4), name="x")
    y = legacy.layers.GRU(5, return_sequences=True)(x)
    y = legacy.layers.Bidirectional(legacy.layers.LSTM(3))(y)
    model = legacy.Model(x, y)
    data = np.random.default_rng(0).normal(size=(4, 6, 4)).astype(np.float32)
    got = execute.run(load(model, "net"), data)
    np.testing.assert_allclose(got, np.asarray(model(data)), atol=2e-6)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda x: L.LSTM(3)(L.Masking()(x)), "notequal|masks elements of time"),
        (
            lambda x: L.LSTM(3)(x, initial_state=L.LSTM(3, return_state=True)(x)[1:]),
            "initial state",
        ),
        (lambda x: L.Bidirectional(L.GRU(3), merge_mode=None)(x)[0], "merge_mode=None"),
        (lambda x: L.GRU(3, recurrent_activation="softmax")(x), "softmax"),
    ],
)
def test_what_is_not_read_is_refused(build: Callable[[Any], Any], message: str) -> None:
    x = keras.Input((6, 4), name="x")
    model = keras.Model(x, build(x))
    with pytest.raises(ModelError, match=message):
        load(model, "net")
