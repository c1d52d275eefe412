"""The sensitivity scan: what it measures, that it leaves the model alone, and plans from it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import keras
import numpy as np
import pytest

import secateur
from secateur.callbacks import LayerPlan, Sensitivity, sensitivity
from secateur.callbacks.line_chart import line_chart
from secateur.errors import DataError, ModelError

from .nets import dense, network, samples

pytestmark = pytest.mark.train


def separable() -> tuple[keras.Model, tuple[np.ndarray, np.ndarray]]:
    """A dense layer that classifies its data without a mistake, by one large weight a class."""
    model = dense()
    weight = np.full((12, 4), 0.01, np.float32)
    weight[range(4), range(4)] = 1.0
    model.layers[-1].set_weights([weight, np.zeros(4, np.float32)])
    x = np.random.default_rng(0).normal(0, 0.1, (64, 12)).astype(np.float32)
    y = np.arange(64) % 4
    x[range(64), y] += 3.0
    return model, (x, y)


def test_accuracy_holds_until_the_large_weights_go() -> None:
    model, data = separable()
    scan = sensitivity(model, data, sparsities=[0.5, 44 / 48, 0.999], bits=[1, 4])
    assert scan.baseline == 100.0
    assert scan.sparsity["dense"][44 / 48] == 100.0  # exactly the four that matter are left
    assert scan.sparsity["dense"][0.999] < 50.0
    assert scan.bits["dense"][1] == 100.0
    assert scan.weights == {"dense": 48}


def test_the_model_is_left_as_it_was_and_labels_may_be_one_hot() -> None:
    model = network()
    before = [w.copy() for w in model.get_weights()]
    x, y = samples(model)
    a = sensitivity(model, (x, y), sparsities=[0.9], bits=[2])
    b = secateur.sensitivity(model, (x, np.eye(4)[y]), sparsities=[0.9], bits=[2])
    assert a == b
    for then, now in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(then, now)


def test_a_plan_stops_where_the_curve_meets_the_floor() -> None:
    scan = Sensitivity(
        90.0, {"a": 1000}, {"a": {0.5: 90.0, 0.9: 80.0}}, {"a": {1: 50.0, 2: 89.5, 4: 90.0}}
    )
    assert scan.plan(0.0) == LayerPlan({"a": 0.5}, {"a": 4})
    gentle = scan.plan(5.0)
    assert gentle.sparsity["a"] == pytest.approx(0.7)
    assert gentle.bits == {"a": 2}
    assert scan.plan(50.0).sparsity["a"] == 0.9


def test_a_size_goal_is_met_by_the_gentlest_plan() -> None:
    scan = Sensitivity(90.0, {"a": 8000}, {"a": {0.5: 90.0, 0.99: 10.0}}, {"a": {2: 90.0, 4: 90.0}})
    plan = scan.plan_for_size(600.0)
    assert 590.0 < scan.estimate(plan) <= 600.0
    with pytest.raises(DataError, match="no plan of this scan"):
        scan.plan_for_size(10.0)


def test_table_and_picture(tmp_path: Path) -> None:
    model, data = separable()
    scan = sensitivity(model, data, sparsities=[0.5, 0.999], bits=[1])
    assert "| dense | 48 | 0.00 |" in scan.table()
    root = ElementTree.parse(scan.picture(tmp_path / "new" / "scan.svg")).getroot()
    assert root.tag.endswith("svg")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["scan.svg"]
    with pytest.raises(ValueError, match="at least one point"):
        line_chart(tmp_path / "none.svg", {}, "t", "x", "y")


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"data": (np.zeros((3, 12)), np.zeros(2))}, DataError, "3 inputs and 2 labels"),
        ({"data": np.zeros((3, 12))}, DataError, "pair"),
        ({"sparsities": [1.0]}, DataError, "sparsities"),
        ({"bits": [9]}, DataError, "bits"),
        ({"include": ["nothing"]}, ModelError, "nothing"),
    ],
)
def test_bad_arguments(change: dict, error: type[Exception], says: str) -> None:
    model, data = separable()
    with pytest.raises(error, match=says):
        sensitivity(model, **({"data": data} | change))
