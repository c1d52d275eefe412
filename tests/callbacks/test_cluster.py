"""Weight sharing: the codebook, its training, its initialisations."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from secateur.callbacks import Cluster, Prune
from secateur.callbacks.cluster import kmeans
from secateur.errors import ModelError

from .nets import EveryStep, dense, fit, gradient, kernel, network, samples

pytestmark = pytest.mark.train
LAYERS = ("conv", "depthwise", "pointwise", "dense")


@pytest.mark.parametrize("init", ["linear", "density", "random"])
def test_at_most_k_values_after_every_step_and_the_same_weights_share(init: str) -> None:
    model = network()
    first: dict[str, np.ndarray] = {}

    def look(step: int) -> None:
        for name in LAYERS:
            values, index = np.unique(kernel(model, name), return_inverse=True)
            if step < 3:
                assert values.size > 8
                continue
            assert values.size <= 8
            groups = first.setdefault(name, index)
            for group in np.unique(groups):  # one value a group, whatever its order
                assert np.unique(index[groups == group]).size == 1

    fit(model, Cluster(bits=3, begin_step=3, init=init), EveryStep(look))


@pytest.mark.parametrize("update", ["mean", "sum"])
def test_centroids_take_the_common_step(update: str) -> None:
    model = dense()
    x, y = samples(model, 8)
    callback = Cluster(clusters=4, update=update)
    options = {"batch_size": 8, "verbose": 0}
    model.fit(x, y, callbacks=[callback], **options)
    clustered = kernel(model, "dense")
    slope = gradient(model, clustered, x, y)
    wanted = clustered.copy()
    for value in np.unique(clustered):
        group = clustered == value
        step = slope[group].sum() if update == "sum" else slope[group].mean()
        wanted[group] -= 0.1 * step
    model.fit(x, y, callbacks=[callback], **options)  # the same callback goes on counting
    np.testing.assert_allclose(kernel(model, "dense"), wanted, atol=1e-6)


def test_zeros_of_a_pruned_layer_stay_and_take_no_cluster() -> None:
    model = network()

    def look(step: int) -> None:
        for name in LAYERS:
            weight = kernel(model, name)
            if step > 8:
                assert np.mean(weight == 0) == pytest.approx(0.5, abs=0.01)
                assert np.unique(weight[weight != 0]).size <= 4

    cluster = Cluster(bits=2, begin_step=8)
    history = fit(model, cluster, Prune(0.5, 0, 6), EveryStep(look))  # the order does not matter
    assert history["bits"][-1] == pytest.approx(np.log2(5), abs=0.1)
    assert history["sparsity"][-1] == pytest.approx(0.5, abs=0.01)


def test_bits_by_layer() -> None:
    model = network()
    fit(model, Cluster(bits=4, per_layer={"dense": 1}))
    assert np.unique(kernel(model, "dense")).size == 2
    assert 12 <= np.unique(kernel(model, "conv")).size <= 16


def test_eight_bits_leave_room_for_zero() -> None:
    layers = [keras.layers.Input((12,)), keras.layers.Dense(200, name="dense")]
    model = keras.Sequential(layers)
    model.compile("sgd", "mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(32, 12)).astype(np.float32)
    prune = Prune(0.5, schedule="constant")
    model.fit(x, np.tile(x[:, :1], 200), epochs=2, verbose=0, callbacks=[prune, Cluster(8)])
    assert np.unique(kernel(model, "dense")).size <= 256


def test_kmeans_finds_the_obvious_groups() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([-1.0, -0.2, 0.5, 2.0], np.float32)
    values = (centres[rng.integers(0, 4, 400)] + rng.normal(size=400) * 0.01).astype(np.float32)
    values[::10] = 0
    centroids, index = (t.numpy() for t in kmeans(values, 4, "linear", 0))
    np.testing.assert_allclose(centroids, centres, atol=0.01)
    assert np.all((index == -1) == (values == 0))
    assert np.all(np.abs(centroids[index] - values)[values != 0] < 0.06)


def test_an_all_zero_layer_stays_zero() -> None:
    model = dense(keras.optimizers.SGD(0.0))
    model.get_layer("dense").kernel.assign(np.zeros((12, 4)))
    fit(model, Cluster(bits=2))
    assert np.all(kernel(model, "dense") == 0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"bits": 9}, "bits=9"),
        ({"clusters": 1}, "clusters=1"),
        ({"init": "kmeans++"}, "init"),
        ({"update": "median"}, "update"),
        ({"begin_step": -1}, "begin_step"),
        ({"per_layer": {"conv": 0}}, "bits=0 for 'conv'"),
        ({"per_layer": {"cnov": 3}}, "'cnov'"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, words: str) -> None:
    with pytest.raises(ModelError, match=words):
        fit(network(), Cluster(**arguments))
