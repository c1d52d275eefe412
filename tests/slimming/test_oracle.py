"""The rebuilt model is the original with removed channels masked, on random graphs.

`SECATEUR_GRAPHS=500 pytest tests/slimming/test_oracle.py` takes more graphs.
"""

from __future__ import annotations

import os

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.slimming.constants import Folds, folds
from secateur.slimming.network import Network
from secateur.slimming.plan import describe
from secateur.slimming.surgery import rebuild

from .graphs import models
from .oracle import masked

pytestmark = [pytest.mark.train, pytest.mark.slow]
GRAPHS = int(os.environ.get("SECATEUR_GRAPHS", "60"))


def inputs_of(model: keras.Model, rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.normal(size=(2, *t.shape[1:])).astype(np.float32) for t in model.inputs]


def outputs_of(model: keras.Model, inputs: list[np.ndarray]) -> list[np.ndarray]:
    out = model(inputs if len(inputs) > 1 else inputs[0], training=False)
    return [np.asarray(x) for x in keras.tree.flatten(out)]


def close(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return all(
        np.abs(x - y).max() <= 1e-5 * max(1.0, np.abs(y).max()) for x, y in zip(a, b, strict=True)
    )


@settings(
    max_examples=GRAPHS,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(models(), st.integers(0, 2**32 - 1))
def test_rebuilt_is_masked(model: keras.Model, seed: int) -> None:
    rng = np.random.default_rng(seed)
    network = Network(model)
    inputs = inputs_of(model, rng)
    before = outputs_of(model, inputs)

    whole = rebuild(network, network.all())
    for a, b in zip(outputs_of(whole, inputs), before, strict=True):
        assert np.array_equal(a, b)
    assert network.costs(network.all()).parameters == model.count_params()

    kept = network.all()
    for g in network.cuttable:
        gone = rng.permutation(g.units)[: rng.integers(0, len(g))]
        kept[gone] = False
    found = folds(network, kept)
    plan = describe(network, kept, "random", "", [], {}, found, {})
    smaller = plan.apply()
    names = {layer.name for layer in model.layers}
    assert {layer.name for layer in smaller.layers} == names
    after = outputs_of(smaller, inputs)
    assert not (model.quiet and found.inexact)
    if not found.inexact:
        assert close(after, masked(model, inputs, plan.removed))
    # without what is left behind, sizes alone are certain
    bare = describe(network, kept, "random", "", [], {}, Folds(), {}).apply()
    assert bare.count_params() == network.costs(kept).parameters
    assert [x.shape for x in outputs_of(bare, inputs)] == [x.shape for x in before]
    for a, b in zip(outputs_of(model, inputs), before, strict=True):
        assert np.array_equal(a, b)  # the given model is unchanged
