"""Hidden states of few bits: what is trained is what Keras gives, the integers and the C give."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secateur as sc
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.load import load
from secateur.lowering import reference
from secateur.lowering.operators.recurrent import QLstmHidden, QNarrow, QRnnHidden
from tests.codegen import run_c

keras = pytest.importorskip("keras")
L = keras.layers

CASES: dict[str, Callable[[Any], Any]] = {
    "lstm": lambda x: L.LSTM(7)(x),
    "gru": lambda x: L.GRU(6, return_sequences=True)(x),
    "gru without biases": lambda x: L.GRU(6, use_bias=False)(x),
    "rnn": lambda x: L.SimpleRNN(6, activation="sigmoid", go_backwards=True)(x),
    "both ways": lambda x: L.Bidirectional(L.LSTM(4))(
        L.Bidirectional(L.GRU(4, return_sequences=True), merge_mode="sum")(x)
    ),
    "stacked": lambda x: L.RNN([L.LSTMCell(4), L.SimpleRNNCell(5)], return_sequences=True)(x),
    "states": lambda x: L.LSTM(5, return_sequences=True, return_state=True)(x),
}


def model(case: str) -> Any:
    x = keras.Input((9, 5), name="x")
    net = keras.Model(x, CASES[case](x), name="net")
    rng = np.random.default_rng(0)
    for w in net.weights:
        w.assign(rng.normal(0, 0.5, w.shape))
    return net


def data(n: int = 16) -> np.ndarray:
    return np.random.default_rng(1).normal(size=(n, 9, 5)).astype(np.float32)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("case", CASES)
def test_float_graph_is_keras(case: str, bits: int, tmp_path: Path) -> None:
    few = sc.quantize_activations(model(case), bits)
    want = few(data())
    want = want if isinstance(want, list | tuple) else [want]
    few.save(tmp_path / "few.keras")
    for source in (few, tmp_path / "few.keras"):
        got = execute.run_outputs(load(source, "net"), data())
        for a, b in zip(got, want, strict=True):
            np.testing.assert_allclose(a.reshape(b.shape), np.asarray(b), atol=2e-6)
    if case in ("lstm", "gru", "rnn"):
        top = 2 ** (bits - 1) - 1
        codes = np.asarray(want[0]) * top
        np.testing.assert_allclose(codes, np.rint(codes), atol=1e-4)
        assert np.abs(codes).max() <= top


def test_a_layer_keeps_its_name_weights_and_arguments() -> None:
    whole = model("rnn")
    few = sc.quantize_activations(whole, 8)
    a, b = whole.layers[1], few.layers[1]
    assert (a.name, b.go_backwards, b.cell.state_bits) == (b.name, True, 8)
    for v, w in zip(a.get_weights(), b.get_weights(), strict=True):
        np.testing.assert_array_equal(v, w)
    again = sc.quantize_activations(few, 4)
    assert again.layers[1].cell.state_bits == 4


def test_what_holds_cells_keeps_its_name_and_stays_frozen() -> None:
    cells = keras.layers.StackedRNNCells([keras.layers.LSTMCell(3), keras.layers.GRUCell(4)],
                                         name="stack")  # fmt: skip
    both = keras.layers.Bidirectional(keras.layers.LSTM(3, return_sequences=True), name="both",
                                      dtype="float64")  # fmt: skip
    whole = keras.Sequential([keras.Input((5, 2)), both, keras.layers.RNN(cells, name="deep")])
    both.trainable = False
    few = sc.quantize_activations(whole, 4)
    both, deep = few.layers
    assert (both.name, both.trainable, both.compute_dtype) == ("both", False, "float64")
    assert not both.trainable_weights
    assert (deep.name, deep.cell.name) == ("deep", "stack")


@pytest.mark.parametrize("place", run_c.PLACES)
def test_the_same_bytes_in_c(place: str, tmp_path: Path) -> None:
    plans, given, expected = [], [], []
    for i, (case, bits) in enumerate([("lstm", 2), ("lstm", 4), ("gru", 3), ("rnn", 4)]):
        q = sc.convert(sc.quantize_activations(model(case), bits), data(), name="net").qgraph
        (last,) = [op for op in q.ops if isinstance(op, QLstmHidden | QNarrow | QRnnHidden)]
        t, top = q.tensors[last.output], 2 ** (bits - 1) - 1
        assert (t.scale, t.zero_point, len(t.planes)) == (1 / top, top, bits)
        codes = reference.quantize_input(q, data(5))
        plans.append(run_c.plan(q, f"net{i}"))
        given.append(codes)
        expected.append(reference.run(q, codes).reshape(5, -1))
        assert expected[-1].max() <= 2 * top - 128
    for got, want in zip(run_c.on(place, plans, given, tmp_path), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_integers_follow_what_was_trained() -> None:
    """At 8 bits and a short sequence, rounding differs by a code here and there, no more."""
    few = sc.quantize_activations(model("lstm"), 8)
    got = sc.convert(few, data(64), name="net").predict(data(64))
    assert np.abs(got - few.predict(data(64), verbose=0)).max() <= 4 / 127


def test_weights_and_states_train_together() -> None:
    keras.utils.set_random_seed(0)
    x = keras.Input((9, 5), name="x")
    net = keras.Model(x, L.Dense(3, name="out")(L.GRU(8, name="memory")(x)))
    net.compile("adam", "mse")
    with pytest.raises(ModelError, match="wants 4-bit activations"):
        net.fit(data(), np.zeros((16, 3)), verbose=0, callbacks=[sc.QuantizedNN(4, 4)])
    few = sc.quantize_activations(net, 4)
    few.compile("adam", "mse")
    before = few.get_layer("memory").get_weights()[1]
    call = sc.QuantizedNN(4, 4)
    few.fit(data(), np.ones((16, 3)), epochs=4, verbose=0, callbacks=[call])
    after = few.get_layer("memory").get_weights()[1]
    assert np.unique(after).size <= 16 < np.unique(before).size
    q = sc.convert(few, data(), name="net").qgraph
    assert any(t.scale == 1 / 7 for t in q.tensors.values())


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: sc.QuantLSTMCell(3, state_bits=9), "state_bits=9 is not one of 2..8"),
        (lambda: sc.QuantLSTMCell(3, state_bits=1), "state_bits=1 is not one of 2..8"),
        (lambda: sc.QuantSimpleRNNCell(3, activation="relu"), "activation 'relu' has no end at 1"),
        (lambda: sc.QuantGRUCell(3, reset_after=False), "has reset_after=False"),
    ],
)
def test_cells_check_their_arguments(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        build()


def small(*layers: Any) -> Any:
    return keras.Sequential([keras.Input((9, 5)), *layers], name="net")


def test_what_has_no_few_bits_is_said() -> None:
    with pytest.raises(ModelError, match="'memory' has dropout"):
        sc.quantize_activations(small(L.LSTM(3, dropout=0.1, name="memory")), 4)
    with pytest.raises(ModelError, match="no ReLU or recurrent layer to take 1 bit of kind 'sign'"):
        sc.quantize_activations(small(L.LSTM(3)), 1, "sign")
    both = small(L.Conv1D(4, 3, activation="relu"), L.LSTM(3, name="memory"))
    with pytest.warns(UserWarning, match="states of 'memory' keep 8 bits"):
        sc.quantize_activations(both, 1, "sign")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sc.quantize_activations(both, 4)
        sc.quantize_activations(both, 4, levels="learned", include=["conv1d*"])
    x = keras.Input((9, 5), name="x")
    y = L.RNN(sc.QuantGRUCell(3), return_state=True, name="memory")(x)
    with pytest.raises(ModelError, match=r"'memory'.*returns the state that it keeps"):
        load(keras.Model(x, y), "net")


def test_a_state_of_few_bits_streams(tmp_path: Path) -> None:
    few = sc.quantize_activations(small(L.GRU(6, return_sequences=True), L.LSTM(4)), 4)
    whole = sc.convert(few, data(), name="net")
    step = sc.convert(few, data(), name="net", streaming=True)
    codes = reference.quantize_input(whole.qgraph, data(3))
    stepper, got = reference.Stepper(step.qgraph, 3), None
    for t in range(9):
        got = stepper.step(codes[:, :, t : t + 1])
    assert got is not None
    np.testing.assert_array_equal(
        got.reshape(3, -1), reference.run(whole.qgraph, codes).reshape(3, -1)
    )
