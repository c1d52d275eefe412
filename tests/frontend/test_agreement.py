"""Whole networks as people build them: the float executor against Keras to 1e-5 of the scale."""

from __future__ import annotations

import numpy as np
import pytest

from .test_keras_operators import check

keras = pytest.importorskip("keras")
from benchmarks import zoo  # noqa: E402

pytestmark = [pytest.mark.train, pytest.mark.slow]


@pytest.mark.parametrize("name", zoo.SMALL)
def test_small_networks(name: str) -> None:
    check(zoo.SMALL[name]())


@pytest.mark.parametrize("name", zoo.APPLICATIONS)
def test_applications_at_small_width(name: str) -> None:
    model = zoo.APPLICATIONS[name]()
    rng = np.random.default_rng(0)
    for v in model.weights:  # as trained: activations keep their scale through the depth
        shape = tuple(v.shape)
        if "variance" in v.name or "gamma" in v.name:
            v.assign(rng.uniform(0.5, 1.5, shape))
        elif "kernel" in v.name:
            fan = int(np.prod(shape[:-1])) if "depthwise" not in v.name else int(np.prod(shape[:2]))
            v.assign(rng.normal(0, 1 / np.sqrt(fan), shape))
        elif v.name in ("bias", "beta", "moving_mean"):
            v.assign(rng.normal(0, 0.1, shape))
    check(model, trained=True)
