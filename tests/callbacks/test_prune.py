"""Magnitude pruning: shares, schedules, scopes, patterns, the held mask."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from secateur.callbacks import Prune
from secateur.callbacks.projection import _keep_by_search, _keep_by_sort
from secateur.errors import ModelError

from .nets import EveryStep, dense, fit, gradient, kernel, network, samples

pytestmark = pytest.mark.train
LAYERS = ("conv", "depthwise", "pointwise", "dense")


def zeros(model: keras.Model, layer: str) -> float:
    return float(np.mean(kernel(model, layer) == 0))


def test_every_layer_reaches_its_share_and_the_mask_is_held() -> None:
    model = network()
    masks: dict[int, dict[str, np.ndarray]] = {}

    def look(step: int) -> None:
        masks[step] = {n: kernel(model, n) == 0 for n in LAYERS}
        for name in LAYERS:  # once zero, always zero
            assert step == 1 or not np.any(masks[step - 1][name] & ~masks[step][name])

    fit(model, Prune(0.75, 0, 10, every=1), EveryStep(look))
    for name in LAYERS:
        size = masks[16][name].size
        assert masks[16][name].sum() == round(0.75 * size)
        assert np.array_equal(masks[11][name], masks[16][name])


def test_the_polynomial_schedule_is_the_papers() -> None:
    model = network()
    seen: list[float] = []
    fit(
        model,
        Prune(0.8, 2, 12, every=1, include=["pointwise"]),
        EveryStep(lambda s: seen.append(zeros(model, "pointwise"))),
    )
    size = 8 * 16
    for step, share in enumerate(seen, 1):
        left = min(max(1 - (step - 2) / 10, 0), 1)
        wanted = 0 if step < 2 else 0.8 - 0.8 * left**3
        assert share == pytest.approx(wanted, abs=0.51 / size)


def test_a_constant_schedule_prunes_once() -> None:
    model = network()
    seen: list[float] = []
    fit(
        model,
        Prune(0.5, begin_step=3, schedule="constant"),
        EveryStep(lambda s: seen.append(zeros(model, "pointwise"))),
    )
    assert seen[:2] == [0, 0]
    assert set(seen[2:]) == {0.5}


def test_survivors_take_the_plain_step() -> None:
    model = dense()
    before = kernel(model, "dense")
    x, y = samples(model, 8)
    stepped = before - 0.1 * gradient(model, before, x, y)
    model.fit(x, y, batch_size=8, verbose=0, callbacks=[Prune(0.5, schedule="constant")])
    order = np.argsort(np.abs(stepped).ravel())
    stepped.ravel()[order[: stepped.size // 2]] = 0
    np.testing.assert_allclose(kernel(model, "dense"), stepped, atol=1e-6)


def test_the_global_scope_shares_the_zeros_out_over_the_layers() -> None:
    model = network()
    model.get_layer("conv").kernel.assign(model.get_layer("conv").kernel * 10)
    fit(model, Prune(0.6, 0, 8, scope="global", per_layer={"dense": 0.25}))
    pooled = [kernel(model, n).ravel() for n in LAYERS[:-1]]
    weights = np.concatenate(pooled)
    assert np.count_nonzero(weights == 0) == round(0.6 * weights.size)
    assert zeros(model, "conv") < 0.2 < zeros(model, "pointwise")
    assert zeros(model, "dense") == pytest.approx(0.25, abs=1e-3)


def test_an_n_of_m_pattern_along_the_input_channels() -> None:
    model = network()
    fit(model, Prune(pattern=(2, 4), end_step=8, every=2))
    for name in ("pointwise", "dense"):
        groups = np.moveaxis(kernel(model, name), -2, -1).reshape(-1, 4)
        assert np.all(np.count_nonzero(groups, axis=1) == 2)
    assert zeros(model, "conv") == 0  # two input channels do not divide by four


def test_blocks_go_and_stay_as_one() -> None:
    model = network()
    with pytest.warns(UserWarning, match="does not divide .*conv"):
        fit(model, Prune(0.5, 0, 8, block_size=(4, 2), every=2))
    for name in ("pointwise", "dense"):
        w = kernel(model, name)
        blocks = w.reshape(*w.shape[:-2], w.shape[-2] // 4, 4, w.shape[-1] // 2, 2)
        there = np.count_nonzero(blocks, axis=(-3, -1))
        assert set(np.unique(there)) == {0, 8}
        assert np.mean(there == 0) == pytest.approx(0.5, abs=0.5 / there.size)
    assert zeros(model, "conv") == 0


def test_blocks_of_the_largest_mean_stay() -> None:
    model = dense()
    before = np.abs(kernel(model, "dense"))
    fit(model, Prune(0.5, schedule="constant", block_size=(2, 1)), epochs=1)
    mean = before.reshape(before.shape[0] // 2, 2, -1).mean(axis=1)
    kept = (kernel(model, "dense").reshape(*mean.shape[:1], 2, -1) != 0).all(axis=1)
    assert mean[kept].mean() > mean[~kept].mean()


def test_l2_while_pruning_is_in_the_loss_and_gone_afterwards() -> None:
    plain, heavy = dense(), dense()
    heavy.set_weights(plain.get_weights())
    a = fit(plain, Prune(0.5, 0, 8), epochs=1)["loss"][0]
    b = fit(heavy, Prune(0.5, 0, 8, l2=0.1), epochs=1)["loss"][0]
    assert b > a
    assert heavy.get_layer("dense").kernel.regularizer is None


def test_a_pruned_layer_is_not_opened_again() -> None:
    model = network()
    fit(model, Prune(0.7, schedule="constant"))
    seen: list[float] = []
    fit(
        model,
        Prune(0.9, 0, 10, include=["pointwise"]),
        EveryStep(lambda s: seen.append(zeros(model, "pointwise"))),
    )
    assert min(seen) >= 0.69
    assert seen[-1] == pytest.approx(0.9, abs=0.01)


def test_a_schedule_that_the_fit_cuts_short_warns() -> None:
    with pytest.warns(UserWarning, match="after 16 steps"):
        fit(network(), Prune(0.5, 0, 1000))


@pytest.mark.parametrize("share", [0.0, 0.25, 0.61, 0.99, 1.0])
def test_the_largest_are_kept_alike_by_sort_and_by_search(share: float) -> None:
    rng = np.random.default_rng(5)
    even = np.abs(rng.normal(size=700)).astype(np.float32)
    for values in (even, np.round(even * 2) / 2, np.where(even > 0.8, even, 0), even[:1]):
        drop = tf.constant(round(share * values.size))
        a, b = (f(tf.constant(values), drop).numpy() for f in (_keep_by_sort, _keep_by_search))
        assert np.array_equal(a, b)
        assert np.count_nonzero(~a) == int(drop)
        assert not a.any() or not (~a).any() or values[a].min() >= values[~a].max()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"sparsity": 1.0}, "sparsity 1.0"),
        ({"begin_step": 9, "end_step": 3}, "not a range"),
        ({"schedule": "linear"}, "schedule 'linear'"),
        ({"scope": "model"}, "scope 'model'"),
        ({"pattern": (4, 2)}, "pattern"),
        ({"pattern": (3, 7)}, "fits no layer"),
        ({"block_size": (2, 0)}, "block_size"),
        ({"block_size": (2, 4), "pattern": (2, 4)}, "leave pattern"),
        ({"block_size": (2, 4), "scope": "global"}, "leave pattern"),
        ({"block_size": (5, 7)}, "divides no layer"),
        ({"per_layer": {"dence": 0.5}}, "'dence'"),
        ({"include": ["nothing*"]}, "no layer of model .* matches 'nothing"),
        ({"exclude": ["conv", "depthwise", "pointwise", "dense"]}, "no trainable kernel"),
        ({"l2": -1.0}, "l2"),
        ({"every": 0}, "every=0"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        fit(network(), Prune(**arguments))
