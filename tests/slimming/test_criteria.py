"""Scores computed by hand, and what the papers say of them."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from keras import layers as L  # noqa: N812

import secateur as sc
from secateur.callbacks import NetworkSlimming
from secateur.errors import DataError, ModelError
from secateur.slimming import observe
from secateur.slimming.criteria import nisp, thinet
from secateur.slimming.network import Network

pytestmark = pytest.mark.train


def dense(*kernels: list[list[float]]) -> keras.Model:
    """Fully connected layers a, b, c ... with these kernels and no bias."""
    x = y = keras.Input((len(kernels[0]),))
    for name, kernel in zip("abcdef", kernels, strict=False):
        y = L.Dense(len(kernel[0]), use_bias=False, name=name)(y)
    model = keras.Model(x, y)
    model.set_weights([np.array(k, np.float32) for k in kernels])
    return model


def scores(model: keras.Model, criterion: Any, layer: str) -> np.ndarray:
    network = Network(model)
    group = next(g for g in network.groups if g.name == layer)
    return criterion.scores(network)[group.units]


# ThiNet -------------------------------------------------------------------------------------------

#: hidden values of three samples are (1, 1, 1), (2, 0, 4), (0, 1, -1); times b: X below
_A, _B = [[1, 0, 2], [0, 1, -1]], [[1], [-2], [1]]
_X = np.array([[1, 1], [2, 0], [0, 1]], np.float32)
_CONTRIBUTED = np.array([[1, -2, 1], [2, 0, 4], [0, -2, -1]], float)


def test_thinet_by_hand() -> None:
    """Squares: 5, 8, 18, so channel 0 is first; then 0 with 1 makes 9, with 2 it makes 41."""
    criterion = sc.ThiNet(keep=0.67, data=_X, places=1)
    model = dense(_A, _B, [[1.0]])
    network = Network(model)
    assert scores(model, criterion, "a").tolist() == [0, 1 / 3, 2 / 3]
    reader = next(c for c in network.calls if c.visit.op.name == "b")
    assert thinet.sampled(network, criterion)[id(reader)].tolist() == _CONTRIBUTED.tolist()


def test_thinet_least_squares_by_hand() -> None:
    """Without channel 0, X'X = diag(8, 18) and X'y = (6, 27): w = 0.75, 1.5."""
    small = sc.prune_filters(dense(_A, _B, [[1.0]]), sc.ThiNet(keep={"a": 0.67}, data=_X, places=1))
    assert small.get_layer("a").kernel.numpy().tolist() == [[0, 2], [1, -1]]
    np.testing.assert_allclose(small.get_layer("b").kernel.numpy(), [[-1.5], [1.5]], rtol=1e-6)
    plain = sc.prune_filters(
        dense(_A, _B, [[1.0]]), sc.ThiNet(keep={"a": 0.67}, data=_X, places=1, rescale=False)
    )
    assert plain.get_layer("b").kernel.numpy().tolist() == [[-2], [1]]


@pytest.mark.parametrize(
    "layer",
    [
        L.Conv2D(5, 3, padding="same"), L.Conv2D(5, 3, strides=2, padding="same"),
        L.Conv2D(4, (2, 3), strides=(2, 1)), L.Conv2D(4, 3, dilation_rate=2, padding="same"),
        L.Conv2D(4, 3, groups=2, padding="same"), L.SeparableConv2D(5, 3, padding="same"),
        L.Conv2DTranspose(3, 3, 2, padding="same"), L.Conv2DTranspose(3, 2, 2, padding="valid"),
        L.Conv2DTranspose(3, 4, 2, padding="same"), L.Conv2DTranspose(3, 1, padding="same"),
    ],
    ids=lambda layer: f"{type(layer).__name__} {layer.kernel_size} {layer.strides} {layer.padding}",
)  # fmt: skip
def test_sampled_contributions_add_up_to_the_output(layer: Any) -> None:
    keras.utils.set_random_seed(1)
    x = keras.Input((7, 6, 4))
    y = layer(x)
    model = keras.Model(x, y)
    sample = np.random.default_rng(0).normal(size=(1, 7, 6, 4))
    out = model(sample.astype(np.float32)).numpy()[0]
    kernel = thinet._kernels(layer)
    for at in np.ndindex(*out.shape):
        *place, channel = at
        parts = thinet._entry(layer, sample[0], kernel, place, channel, list(out.shape[:2]))
        assert parts.shape == (4,)
        np.testing.assert_allclose(parts.sum(), out[at], atol=1e-5)


def test_causal_contributions_add_up() -> None:
    layer = L.Conv1D(3, 3, padding="causal", dilation_rate=2)
    x = keras.Input((9, 2))
    model = keras.Model(x, layer(x))
    sample = np.random.default_rng(0).normal(size=(1, 9, 2))
    out = model(sample.astype(np.float32)).numpy()[0]
    for at, channel in np.ndindex(*out.shape):
        parts = thinet._entry(layer, sample[0], thinet._kernels(layer), [at], channel, [9])
        np.testing.assert_allclose(parts.sum(), out[at, channel], atol=1e-5)


# NISP ---------------------------------------------------------------------------------------------


def fixed(*values: float) -> Any:
    return lambda features: np.array(values, float)


def test_nisp_by_hand() -> None:
    """s_b is the ranking; s_a = |W_b| s_b = (1 + 2, 4, 3 + 1)."""
    model = dense([[1, 1, 1]], [[1, -1], [0, 2], [-3, 0.5]], [[1], [1]])
    criterion = sc.NISP(keep=0.5, data=np.ones((4, 1)), ranking=fixed(1, 2))
    assert scores(model, criterion, "b").tolist() == [1, 2]
    assert scores(model, criterion, "a").tolist() == [3, 4, 4]


def test_nisp_through_convolutions_norms_pools_and_additions() -> None:
    x = keras.Input((4, 4, 1))
    first = L.ReLU()(L.BatchNormalization()(L.Conv2D(2, 1, name="first")(x)))
    inner = L.Conv2D(1, 3, padding="same", name="inner")(L.MaxPooling2D(2)(first))
    last = L.Conv2D(2, 3, padding="same", name="last")(inner)
    joined = L.Add()([last, L.AveragePooling2D(2)(first)])
    y = L.Dense(3, name="head")(L.GlobalAveragePooling2D()(joined))
    model = keras.Model(x, y)
    kernel = model.get_layer("last").kernel
    kernel.assign(np.full(kernel.shape, -0.5))  # 9 taps: |W| sums to 4.5
    kernel = model.get_layer("inner").kernel
    kernel.assign(np.arange(18).reshape(kernel.shape) - 9.0)
    w = np.abs(np.arange(18) - 9.0).reshape(9, 2).sum(0)
    criterion = sc.NISP(keep=0.5, data=np.ones((2, 4, 4, 1)), ranking=fixed(1, 3))
    assert scores(model, criterion, "inner").tolist() == [4 * 4.5]
    # made by both: what `last` has, and what `first` has of the addition and of `inner`
    assert scores(model, criterion, "first").tolist() == [
        1 + 1 + 18 * w[0], 3 + 3 + 18 * w[1],
    ]  # fmt: skip


def test_infinite_feature_selection_of_two_features() -> None:
    """A = [[1, 1], [1, .5]] / 2 + (1 - |rho|) / 2 with rho = 1: the path sums in closed form."""
    data = np.array([[0, 0], [2, 1], [4, 2], [6, 3]], float)
    a = 0.5 * np.array([[1, 1], [1, 0.5]])
    r = 0.9 / np.abs(np.linalg.eigvalsh(a)).max()
    expected = sum(np.linalg.matrix_power(r * a, k) for k in range(1, 400)).sum(1)
    np.testing.assert_allclose(nisp.infinite(data), expected, rtol=1e-9)


# Network slimming ---------------------------------------------------------------------------------


def normed() -> keras.Model:
    keras.utils.set_random_seed(3)
    x = keras.Input((4,))
    y = L.ReLU()(L.BatchNormalization(name="bn")(L.Dense(5, name="hidden")(x)))
    model = keras.Model(x, L.Dense(2, name="out")(y))
    model.get_layer("bn").gamma.assign([1.0, -2.0, 0.5, 0.0, -0.1])
    return model


def test_slimming_adds_s_times_sign_to_the_gradient_and_nothing_to_the_loss() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(16, 4)).astype(np.float32), rng.normal(size=(16, 2))
    results = []
    for callbacks in ([], [NetworkSlimming(strength=0.03)]):
        model = normed()
        model.compile(keras.optimizers.SGD(0.5), "mse", jit_compile=False)
        past = model.fit(x, y, batch_size=16, epochs=1, verbose=0, callbacks=callbacks)
        results.append((model.get_layer("bn").gamma.numpy(), past.history["loss"][0], model))
    (plain, loss, _), (slim, same, model) = results
    np.testing.assert_allclose(
        plain - slim, 0.5 * 0.03 * np.sign([1.0, -2.0, 0.5, 0.0, -0.1]), atol=1e-6
    )
    assert loss == pytest.approx(same, abs=1e-7)
    assert model.get_layer("bn").gamma.regularizer is None
    assert not model.losses


def test_slimming_starts_gammas_and_logs() -> None:
    model = normed()
    model.compile("sgd", "mse", jit_compile=False)
    callback = NetworkSlimming(1e-5, initial_gamma=0.5)
    seen = model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0, callbacks=[callback])
    np.testing.assert_allclose(model.get_layer("bn").gamma.numpy(), 0.5, atol=1e-3)
    assert seen.history["slim"] == [0.0]


def test_slimming_needs_scales() -> None:
    x = keras.Input((4,))
    model = keras.Model(x, L.BatchNormalization(scale=False)(L.Dense(2)(x)))
    model.compile("sgd", "mse")
    with pytest.raises(ModelError, match="no batch norm with a scale"):
        model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0, callbacks=[NetworkSlimming()])
    model, callback = normed(), NetworkSlimming(include=["nope"])
    model.compile("sgd", "mse")
    with pytest.raises(ModelError, match="nope"):
        model.fit(np.zeros((4, 4)), np.zeros((4, 2)), verbose=0, callbacks=[callback])
    with pytest.raises(ModelError, match="strength"):
        NetworkSlimming(0)


def test_slimming_takes_the_smallest_gammas_and_folds_the_shift() -> None:
    model = normed()
    model.get_layer("bn").beta.assign([0, 0, 0, 0.7, -0.3])
    small = sc.prune_filters(model, sc.Slimming(keep=0.6))
    assert small.get_layer("bn").gamma.numpy().tolist() == [1.0, -2.0, 0.5]
    out = model.get_layer("out")
    bias = out.bias.numpy() + 0.7 * out.kernel.numpy()[3]  # relu(-0.3) is 0
    np.testing.assert_allclose(small.get_layer("out").bias.numpy(), bias, rtol=1e-6)


def test_equal_gammas_are_said_to_say_nothing_and_go_evenly() -> None:
    x = keras.Input((4,))
    y = L.ReLU()(L.BatchNormalization()(L.Dense(8, name="one")(x)))
    y = L.ReLU()(L.BatchNormalization()(L.Dense(8, name="two")(y)))
    model = keras.Model(x, L.Dense(2)(y))
    with pytest.warns(UserWarning, match="NetworkSlimming first"):
        small = sc.prune_filters(model, sc.Slimming(keep=0.5))
    assert [small.get_layer(n).units for n in ("one", "two")] == [4, 4]


# The others ---------------------------------------------------------------------------------------


def test_norms_of_filters() -> None:
    model = dense([[3, -1, 0], [-4, 1, 2]], [[1], [1], [1]])
    assert scores(model, sc.L1Filters(keep=0.5), "a").tolist() == [7, 2, 2]
    np.testing.assert_allclose(
        scores(model, sc.L2Filters(keep=0.5), "a"), [5, np.sqrt(2), 2], rtol=1e-6
    )
    gaps = [np.hypot(4, 5) + np.hypot(3, 6), np.hypot(4, 5) + np.hypot(1, 1)]
    np.testing.assert_allclose(scores(model, sc.FPGM(keep=0.5), "a")[:2], gaps, rtol=1e-6)


def test_greedy_leaves_out_what_has_gone() -> None:
    """Filter 0 of b is the larger one only by what it reads of a's first channel, which goes."""
    model = dense([[0.1, 5, 5]], [[9, 0], [1, 2], [1, 2]], [[1], [1]])
    keep = {"a": 0.67, "b": 0.5}
    independent = sc.filter_plan(model, sc.L1Filters(keep=keep)).removed
    greedy = sc.filter_plan(model, sc.L1Filters(keep=keep, greedy=True)).removed
    assert independent == {"a": [0], "b": [1]}
    assert greedy == {"a": [0], "b": [0]}


def projected() -> keras.Model:
    x = keras.Input((4, 4, 2))
    y = L.Conv2D(3, 3, padding="same", name="last")(x)
    y = L.Add()([y, L.Conv2D(3, 1, name="shortcut")(x)])
    model = keras.Model(x, L.Dense(2)(L.GlobalAveragePooling2D()(y)))
    for name, values in (("last", [1, 2, 3]), ("shortcut", [9, 1, 2])):
        kernel = model.get_layer(name).kernel
        kernel.assign(np.broadcast_to(np.array(values, float), kernel.shape))
    return model


@pytest.mark.parametrize(("shortcuts", "gone"), [("projection", [1]), ("sum", [0]), ("skip", [])])
def test_shortcuts(shortcuts: str, gone: list[int]) -> None:
    plan = sc.filter_plan(projected(), sc.L1Filters(keep=0.67, shortcuts=shortcuts))
    assert plan.removed.get("last", []) == plan.removed.get("shortcut", []) == gone
    if shortcuts == "skip":
        assert "several layers make it" in str(plan)


def test_activation_mean_and_taylor_by_hand() -> None:
    """Loss (y - t)^2 with y = 2 h0 - h1 and h = (x, 3 x): dL/dh h is 2 (y - t) (2 x, -3 x)."""
    model = dense([[1, 3]], [[2], [-1]])
    x, t = np.array([[1.0], [-2.0]], np.float32), np.array([[0.0], [1.0]], np.float32)
    assert scores(model, sc.ActivationMean(keep=0.5, data=x), "a").tolist() == [1.5, 4.5]
    y = -x[:, 0]
    change = np.abs(2 * (y - t[:, 0])[:, None] * np.stack([2 * x[:, 0], -3 * x[:, 0]], 1)).mean(0)
    taylor = scores(model, sc.Taylor(keep=0.5, data=(x, t), loss="mse"), "a")
    np.testing.assert_allclose(taylor, change / np.sqrt((change**2).sum()), rtol=1e-5)


@pytest.mark.parametrize("by", ["parameters", "flops", "memory"])
def test_complexity_draws_where_the_cost_is(by: str) -> None:
    x = keras.Input((16, 16, 3))
    y = L.Conv2D(32, 3, padding="same", name="wide")(x)  # memory
    y = L.Conv2D(8, 3, strides=8, padding="same", name="mid")(y)
    y = L.Dense(64, name="deep")(L.Flatten()(y))  # parameters
    model = keras.Model(x, L.Dense(2)(y))
    plan = sc.filter_plan(model, sc.Complexity(by, keep=0.8, seed=1))
    gone = {name: len(c) for name, c in plan.removed.items()}
    if by == "parameters":
        assert gone.get("deep", 0) + gone.get("mid", 0) > gone.get("wide", 0)
    else:
        assert gone["wide"] > gone.get("deep", 0)
    again = sc.filter_plan(model, sc.Complexity(by, keep=0.8, seed=1))
    assert again.removed == plan.removed
    assert sc.filter_plan(model, sc.Complexity(by, keep=0.8, seed=2)).removed != plan.removed


def test_data_that_do_not_fit_are_refused() -> None:
    model = dense(_A, _B)
    network = Network(model)
    for criterion, match in (
        (sc.NISP(keep=0.5), "give data"),
        (sc.ThiNet(keep=0.5, data=np.zeros((4, 3))), r"\[n, 2\]"),
        (sc.Taylor(keep=0.5, data=np.zeros((4, 2))), "labels"),
        (sc.Taylor(keep=0.5, data=(np.zeros((4, 2)), np.zeros(3))), "3 labels"),
        (sc.NISP(keep=0.5, data=_X, ranking=fixed(1)), "ranking"),
        (sc.NISP(keep=0.5, data=[_X, _X]), "2 arrays for 1"),
    ):
        with pytest.raises(DataError, match=match):
            criterion.scores(network)
    with pytest.raises(DataError, match="no array for the input"):
        observe.as_inputs(network, {"nope": _X})
