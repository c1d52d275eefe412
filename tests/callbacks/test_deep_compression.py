"""Deep Compression in one fit: the order of its stages, its goals, its promises."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

import secateur
from secateur.callbacks import DeepCompression
from secateur.errors import DataError, ModelError

from .nets import EveryStep, kernel, network, samples

pytestmark = pytest.mark.train
LAYERS = ("conv", "depthwise", "pointwise", "dense")


def task() -> tuple[keras.Model, tuple[np.ndarray, np.ndarray]]:
    """A network and data it can learn: the class is where the bright corner is."""
    model = network()
    rng = np.random.default_rng(1)
    x = rng.normal(0, 0.3, (256, 10, 10, 2)).astype(np.float32)
    y = np.arange(256) % 4
    for i, c in enumerate(y):
        x[i, 5 * (c // 2) : 5 * (c // 2) + 5, 5 * (c % 2) : 5 * (c % 2) + 5] += 1.5
    return model, (x, y)


def test_prunes_in_rounds_then_retrains_then_clusters() -> None:
    model = network()
    x, y = samples(model, 64)
    zeros: list[float] = []
    distinct: list[int] = []

    def look(step: int) -> None:
        w = kernel(model, "pointwise")
        zeros.append(float(np.mean(w == 0)))
        distinct.append(np.unique(w[w != 0]).size)

    callback = DeepCompression(0.75, 2, rounds=4, prune_until=0.5, cluster_from=0.75)
    model.fit(x, y, batch_size=16, epochs=10, verbose=0, callbacks=[callback, EveryStep(look)])
    assert len(zeros) == 40
    assert np.all(np.diff(zeros) >= 0)
    assert zeros[-1] == zeros[21] == 0.75
    assert 4 <= np.unique(zeros).size <= 6  # the rounds
    assert min(distinct[:29]) > 4 >= max(distinct[29:])
    for name in LAYERS:
        assert np.unique(kernel(model, name)).size <= 5
    index, book = callback.levels()[model.get_layer("pointwise").kernel.path]
    np.testing.assert_array_equal(book[index], kernel(model, "pointwise"))


def test_centroids_train_and_assignments_stay() -> None:
    model = network()
    x, y = samples(model, 64)
    seen: list[np.ndarray] = []
    callback = DeepCompression(0.5, 2, rounds=1, prune_until=0.2, cluster_from=0.5)
    look = EveryStep(lambda step: seen.append(kernel(model, "dense").copy()))
    model.fit(x, y, batch_size=16, epochs=5, verbose=0, callbacks=[callback, look])
    first, last = seen[9], seen[-1]
    assert not np.array_equal(first, last)
    for value in np.unique(first):
        assert np.unique(last[first == value]).size == 1


def test_shares_and_bits_by_layer() -> None:
    model = network()
    x, y = samples(model)
    callback = secateur.DeepCompression({"dense": 0.9}, {"dense": 1, "conv": 3}, cluster_from=0.7)
    model.fit(x, y, batch_size=16, epochs=5, verbose=0, callbacks=[callback])
    w = kernel(model, "dense")
    assert np.mean(w == 0) == pytest.approx(0.9, abs=1 / w.size)
    assert np.unique(w[w != 0]).size <= 2
    assert np.all(kernel(model, "conv") != 0)
    assert np.unique(kernel(model, "conv")).size <= 8


def test_a_size_goal_chooses_the_shares() -> None:
    model, data = task()
    model.fit(*data, epochs=3, verbose=0)
    callback = DeepCompression(max_bytes=150.0, data=data)
    model.fit(*data, epochs=5, verbose=0, callbacks=[callback])
    assert callback.scan is not None
    assert callback.plan is not None
    assert callback.scan.estimate(callback.plan) <= 150.0
    for name, share in callback.plan.sparsity.items():
        assert np.mean(kernel(model, name) == 0) >= share - 0.01


def test_max_drop_prunes_as_far_as_the_floor_allows() -> None:
    model, data = task()
    model.fit(*data, epochs=6, verbose=0)
    callback = DeepCompression(max_drop=5.0, data=data, rounds=6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(*data, epochs=12, verbose=0, callbacks=[callback])
    assert callback.scan is not None
    floor = callback.scan.baseline - 5.0
    rounds, end = callback.rounds_log[:-1], callback.rounds_log[-1]
    assert rounds
    assert all(r.kept == (r.accuracy >= floor) for r in callback.rounds_log)
    assert all(r.kept for r in rounds[:-1])  # a round that fails is the last
    kept = [r for r in rounds if r.kept]
    assert end.sparsity == pytest.approx(kept[-1].sparsity if kept else 0.0, abs=1e-6)
    total = sum(kernel(model, n).size for n in LAYERS)
    zeros = sum(int(np.sum(kernel(model, n) == 0)) for n in LAYERS)
    assert zeros / total == pytest.approx(end.sparsity, abs=0.02)


def test_a_floor_that_cannot_hold_takes_the_round_back_and_warns() -> None:
    model, data = task()
    model.fit(*data, epochs=6, verbose=0)

    class Wreck(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            layer = self.model.get_layer("dense")
            layer.bias.assign([1e6, 0, 0, 0])

    callback = DeepCompression(max_drop=0.0, data=data, rounds=3)
    with pytest.warns(UserWarning, match="below the floor"):
        model.fit(*data, epochs=10, verbose=0, callbacks=[Wreck(), callback])
    assert [r.kept for r in callback.rounds_log] == [False, False]
    assert callback.rounds_log[-1].sparsity == 0.0


def test_an_unknown_length_asks_for_steps() -> None:
    model = network()
    x, y = samples(model, 32)

    def endless():
        while True:
            yield x[:16], y[:16]

    with pytest.raises(ModelError, match="steps="):  # a finite generator: Keras learns by counting
        model.fit(((x[:16], y[:16]) for _ in range(4)), verbose=0, callbacks=[DeepCompression()])
    callback = DeepCompression(0.5, 2, steps=8)
    model.fit(endless(), steps_per_epoch=8, verbose=0, callbacks=[callback])
    assert np.mean(kernel(model, "dense") == 0) == pytest.approx(0.5, abs=0.01)


def test_a_fit_cut_short_says_so() -> None:
    model = network()
    x, y = samples(model, 32)
    with pytest.warns(UserWarning, match="where the schedule begins; conv/kernel"):
        model.fit(x, y, epochs=1, verbose=0, callbacks=[DeepCompression(steps=1000)])


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"sparsity": 0.5, "max_drop": 1.0}, ModelError, "one of them"),
        ({"max_drop": 1.0}, DataError, "data="),
        ({"prune_until": 0.9, "cluster_from": 0.5}, ModelError, "prune_until"),
        ({"rounds": 0}, ModelError, "rounds"),
        ({"init": "best"}, ModelError, "init"),
        ({"update": "max"}, ModelError, "update"),
        ({"max_drop": -1.0, "data": (np.zeros(1), np.zeros(1))}, ModelError, "negative"),
    ],
)
def test_bad_arguments(arguments: dict, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        DeepCompression(**arguments)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"sparsity": 1.0}, "0 <= sparsity < 1"), ({"bits": 9}, "1..8"), ({"bits": {"no": 3}}, "no")],
)
def test_bad_plans_name_the_layer(arguments: dict, says: str) -> None:
    model = network()
    with pytest.raises(ModelError, match=says):
        model.fit(*samples(model), epochs=1, verbose=0, callbacks=[DeepCompression(**arguments)])
