"""Known architectures, cut to half their operations by each method, and trained one step.

ResNet-56 and MobileNetV2 take two methods each here; `SECATEUR_ZOO=all` gives them all five.
"""

from __future__ import annotations

import os
from typing import Any

import keras
import numpy as np
import pytest

import secateur as sc

from .zoo import ZOO

pytestmark = [pytest.mark.train, pytest.mark.slow]

METHODS: dict[str, Any] = {
    "L1Filters": lambda x: sc.L1Filters(flops=0.5),
    "Slimming": lambda x: sc.Slimming(flops=0.5),
    "ThiNet": lambda x: sc.ThiNet(flops=0.5, data=x),
    "NISP": lambda x: sc.NISP(flops=0.5, data=x),
    "Complexity": lambda x: sc.Complexity(flops=0.5),
}
_DEEP = {"resnet56": {"L1Filters", "NISP"}, "mobilenet_v2": {"ThiNet", "Slimming"}}
if os.environ.get("SECATEUR_ZOO") == "all":
    _DEEP = {}


@pytest.fixture(scope="module", params=list(ZOO))
def network(request: pytest.FixtureRequest) -> tuple[str, keras.Model, list[np.ndarray]]:
    model = ZOO[request.param]()
    rng = np.random.default_rng(0)
    for v in model.weights:
        if v.name == "gamma":
            v.assign(rng.uniform(0.1, 1, v.shape))
    return request.param, model, [rng.normal(size=(2, *t.shape[1:])) for t in model.inputs]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_half_the_operations_and_a_step(network: Any, method: str) -> None:
    name, model, x = network
    if method not in _DEEP.get(name, METHODS):
        pytest.skip("deep: SECATEUR_ZOO=all runs it")
    plan = sc.filter_plan(model, METHODS[method](x))
    assert 0.4 * plan.before.flops < plan.after.flops <= 0.5 * plan.before.flops
    small = plan.apply()
    small.compile("sgd", "mse", run_eagerly=True)
    loss = small.train_on_batch(x if len(x) > 1 else x[0], np.zeros((2, *small.output_shape[1:])))
    assert np.isfinite(loss)
