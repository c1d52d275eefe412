"""Ternary weights: the set, the straight-through step, shares of zeros."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from secateur.callbacks import Prune, Ternarize
from secateur.errors import ModelError

from .nets import EveryStep, dense, fit, gradient, kernel, network, samples

pytestmark = pytest.mark.train


def assert_ternary(weight: np.ndarray) -> None:
    """Every output channel holds -a, 0, a with its own a."""
    for row in weight.reshape(-1, weight.shape[-1]).T:
        assert np.unique(np.abs(row[row != 0])).size <= 1


def ternary(latent: np.ndarray, threshold: float = 0.7) -> np.ndarray:
    """TWN by hand, by output channel."""
    size = np.abs(latent)
    kept = size > threshold * size.mean(axis=0)
    scale = (size * kept).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    return scale * np.sign(latent) * kept


def test_weights_are_ternary_after_every_step_and_depthwise_is_left_alone() -> None:
    model = network()

    def look(step: int) -> None:
        for name in ("conv", "pointwise", "dense"):
            if step >= 4:
                assert_ternary(kernel(model, name))
        assert np.unique(kernel(model, "depthwise")).size > 30

    history = fit(model, Ternarize(begin_step=4), EveryStep(look))
    assert history["bits"][-1] == pytest.approx(np.log2(3))
    assert 0.2 < history["sparsity"][-1] < 0.7


def test_the_gradient_goes_straight_through_to_the_latent_weight() -> None:
    model = dense()
    x, y = samples(model, 8)
    latent = kernel(model, "dense")
    weight = latent
    seen: list[np.ndarray] = []
    model.fit(
        np.tile(x, (6, 1)),
        np.tile(y, 6),
        batch_size=8,
        shuffle=False,
        verbose=0,
        callbacks=[Ternarize(), EveryStep(lambda s: seen.append(kernel(model, "dense")))],
    )
    by_hand = dense()
    by_hand.get_layer("dense").kernel.assign(latent)
    bias = by_hand.get_layer("dense").bias
    for got in seen:
        by_hand.get_layer("dense").kernel.assign(weight)
        with tf.GradientTape() as tape:
            loss = by_hand.loss(y, by_hand(x))
        bias_slope = tape.gradient(loss, bias.value)
        latent = latent - 0.1 * gradient(by_hand, weight, x, y)
        bias.assign_sub(0.1 * bias_slope)
        weight = ternary(latent).astype(np.float32)
        np.testing.assert_allclose(got, weight, atol=2e-6)


def test_the_share_of_zeros_grows_to_the_asked_one() -> None:
    model = network()
    seen: list[float] = []

    def look(step: int) -> None:
        assert_ternary(kernel(model, "pointwise"))
        seen.append(float(np.mean(kernel(model, "pointwise") == 0)))

    fit(model, Ternarize(begin_step=1, sparsity=0.8, end_step=10), EveryStep(look))
    assert seen[0] == pytest.approx(0.42, abs=0.01)
    assert all(a <= b for a, b in pairwise(seen))
    assert all(s == round(0.8 * 128) / 128 for s in seen[9:])


def test_the_share_by_channel() -> None:
    model = network()
    fit(model, Ternarize(sparsity=0.75, rank="channel", include=["pointwise", "dense"]))
    assert np.all(np.count_nonzero(kernel(model, "pointwise")[0, 0], axis=0) == 2)


def test_one_scale_for_the_layer() -> None:
    model = network()
    fit(model, Ternarize(scale="layer"))
    assert np.unique(np.abs(kernel(model, "conv"))).size == 2


def test_pruned_weights_stay_zero() -> None:
    model = network()
    pruned: list[np.ndarray] = []

    def look(step: int) -> None:
        weight = kernel(model, "pointwise")
        if step == 8:
            pruned.append(weight == 0)
        if step > 8:
            assert_ternary(weight)
            assert np.all(weight[pruned[0]] == 0)

    fit(model, Prune(0.6, 0, 7), Ternarize(begin_step=8), EveryStep(look))
    assert pruned[0].mean() == pytest.approx(0.6, abs=0.01)
    assert np.mean(kernel(model, "depthwise") == 0) == pytest.approx(0.6, abs=0.01)


def test_depthwise_kernels_take_a_scale_for_each_channel_when_asked_for() -> None:
    model = network()
    callback = Ternarize(include=["DepthwiseConv2D"])
    fit(model, callback)
    weight = kernel(model, "depthwise")
    for channel in weight.reshape(9, 8).T:
        assert np.unique(np.abs(channel[channel != 0])).size <= 1
    assert np.unique(np.abs(weight)).size > 4
    levels, scale = callback.levels()["depthwise/kernel"]
    assert scale.shape == (1, 1, 8, 1)
    np.testing.assert_array_equal(levels * scale, weight)


def test_levels_and_scale_give_the_weight() -> None:
    model = network()
    callback = Ternarize()
    fit(model, callback)
    for path, (levels, scale) in callback.levels().items():
        assert set(np.unique(levels)) <= {-1, 0, 1}
        np.testing.assert_array_equal(levels * scale, kernel(model, path.split("/")[0]))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"begin_step": -1}, "begin_step"),
        ({"threshold": -0.1}, "threshold"),
        ({"sparsity": 1.5}, "sparsity"),
        ({"scale": "kernel"}, "scale"),
        ({"rank": "row"}, "rank"),
        ({"begin_step": 8, "sparsity": 0.5, "end_step": 3}, "not a range"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        fit(network(), Ternarize(**arguments))
