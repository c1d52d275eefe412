"""What `convert` and `deploy` make of data and labels of every kind."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import secateur
from secateur.cli import main
from secateur.errors import DataError, RangeWarning
from secateur.flow import accuracy, ranges
from secateur.frontend.ir import Graph, Node

pytestmark = pytest.mark.train
keras = pytest.importorskip("keras")

RNG = np.random.default_rng(5)
X = RNG.normal(0, 1, (40, 6)).astype(np.float32)


def model(outputs: int) -> Any:
    keras.utils.set_random_seed(3)
    layers = keras.layers
    stack = [keras.Input((6,)), layers.Dense(8, activation="relu"), layers.Dense(outputs)]
    return keras.Sequential(stack, name="net")


def measured(net: Any, labels: Any, x: np.ndarray = X) -> tuple[Any, Any]:
    compiled = secateur.convert(net, calibration=X)
    codes = compiled.quantize(x)
    expected = compiled.run(codes)
    asked = accuracy.task(compiled, x, labels)
    return accuracy.measure(compiled, x, asked, expected.reshape(len(x), -1), expected)[:2]


def test_one_output_is_a_yes_or_no() -> None:
    net = model(1)
    labels = (net.predict(X, verbose=0)[:, 0] > 0).astype(int)
    assert 5 < labels.sum() < 35
    right, off = measured(net, labels)
    assert off is None
    assert (right.kind, right.float) == ("binary", 1.0)
    assert right.device == right.reference >= 0.95
    assert measured(net, 1 - labels)[0].float == 0.0


@pytest.mark.parametrize("function", ["sigmoid", "hard_sigmoid", "tanh"])
def test_a_sigmoid_turns_at_a_half(function: str) -> None:
    nodes = [
        Node("input", "x", (), "x", (3,)),
        Node("activation", "a", ("x",), "a", (3,), {"function": function}),
        Node("reshape", "r", ("a",), "r", (3, 1, 1), {"shape": (3, 1, 1)}),
    ]
    assert accuracy.ends_in_sigmoid(Graph("g", nodes, "x", "r")) == (function != "tanh")


def test_several_outputs_each_by_itself() -> None:
    net = model(3)
    labels = (net.predict(X, verbose=0) > 0).astype(np.float32)
    assert (labels.sum(1) != 1).any()
    right, _ = measured(net, labels)
    assert (right.kind, right.float) == ("multi-label", 1.0)


def test_a_regression_has_an_error_and_no_accuracy() -> None:
    net = model(2)
    targets = net.predict(X, verbose=0) + np.float32(0.25)
    right, off = measured(net, targets)
    assert (right.headline, right.kind) == (None, "regression")
    assert off.mae["float"] == pytest.approx(0.25, abs=1e-5)
    assert off.mae["device"] == off.mae["reference"] == pytest.approx(0.25, abs=0.02)
    spread = np.square(targets - targets.mean(0)).sum()
    assert off.r2["float"] == pytest.approx(1 - targets.size * 0.0625 / spread, abs=1e-4)


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.uint16, np.int64, np.float64])
def test_whole_numbers_are_inputs_and_only_int8_are_codes(kind: Any) -> None:
    net = model(3)
    x = RNG.integers(0, 100, (40, 6)).astype(kind)
    labels = net.predict(x.astype(np.float32), verbose=0).argmax(1)
    compiled = secateur.convert(net, calibration=x)
    asked = accuracy.task(compiled, x, labels)
    out = compiled.run(x)
    assert accuracy.measure(compiled, x, asked, out, out)[0].float == 1.0
    codes = compiled.quantize(x)
    assert codes.dtype == np.int8
    assert accuracy.measure(compiled, codes, asked, out, out)[0].float >= 0.9


def test_flags_are_inputs_too() -> None:
    net = model(3)
    x = X > 0
    labels = net.predict(x.astype(np.float32), verbose=0).argmax(1)
    compiled = secateur.convert(net, calibration=x)
    out = compiled.run(x)
    asked = accuracy.task(compiled, x, labels)
    assert accuracy.measure(compiled, x, asked, out, out)[0].float == 1.0


def test_labels_are_refused_before_anything_is_built(tmp_path: Path) -> None:
    compiled = secateur.convert(model(3), calibration=X)
    for labels, says in ((np.arange(40), "labels are 0 to 39"), (["a"] * 40, "text")):
        with pytest.raises(DataError, match=says):
            secateur.deploy(compiled, "host", inputs=X, labels=labels, build_dir=tmp_path / "b")
    with pytest.raises(DataError, match="labels without the inputs"):
        secateur.deploy(compiled, "host", labels=np.zeros(1), build_dir=tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_int8_calibration_is_refused() -> None:
    with pytest.raises(DataError, match="int8 calibration data would be codes"):
        secateur.convert(model(3), calibration=X.astype(np.int8))


def normed() -> Any:
    keras.utils.set_random_seed(3)
    net = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(8), keras.layers.BatchNormalization(name="bn\x1b")]
    )
    net.layers[-1].moving_variance.assign(np.square(net.layers[0].kernel.numpy()).sum(0))
    return net


ODD: list[tuple[Callable[[], Any], Any, str]] = [
    (lambda: model(3), np.zeros_like(X), "every value is 0"),
    (lambda: model(3), np.full_like(X, 7), "every value is 7"),
    (lambda: model(3), X[:1], "one sample"),
    (lambda: model(3), np.repeat(X[:1], 9, 0), "all 9 samples are the same"),
    (lambda: model(3), np.vstack([np.tile(X, (199, 1)), X[:1] * 1e4]), "an outlier"),
    (normed, X * 255, r"'bn\\x1b' then spreads by \d+"),
    (normed, X / 255, r"'bn\\x1b' then spreads by 0.00\d+"),
]


@pytest.mark.parametrize(("net", "calibration", "says"), ODD, ids=[o[2][:20] for o in ODD])
def test_odd_calibration_is_said(net: Callable[[], Any], calibration: Any, says: str) -> None:
    with pytest.warns(RangeWarning, match=says):
        compiled = secateur.convert(net(), calibration=calibration)
    odd = [note for note in compiled.notes if not note.startswith("outliers: ")]  # told apart
    assert len(odd) == 1


def test_ordinary_calibration_is_not() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", RangeWarning)
        assert secateur.convert(normed(), calibration=X).notes == []


def test_scaling_twice_is_seen() -> None:
    params = {"scale": np.full(6, 1 / 255, np.float32), "shift": np.zeros(6, np.float32)}
    nodes = [
        Node("input", "x", (), "x", (6,)),
        Node("batch_norm", "rescaling", ("x",), "y", (6,), {}, params),
    ]
    graph = Graph("g", nodes, "x", "y")
    (note,) = ranges.of_calibration(graph, np.abs(X) / 4)
    assert "layer 'rescaling' divides them by 255; are they scaled twice?" in note
    assert ranges.of_calibration(graph, np.abs(X) * 90) == []


@pytest.mark.parametrize(
    ("factor", "says"), [(100.0, r"9\d% of the values are clipped"), (0.01, "a small part")]
)
def test_inputs_beside_the_calibrated_range_are_said(
    factor: float, says: str, tmp_path: Path
) -> None:
    compiled = secateur.convert(model(3), calibration=X)
    with pytest.warns(RangeWarning, match=says):
        report = secateur.deploy(
            compiled, "host", inputs=X * np.float32(factor), build_dir=tmp_path, builder="gcc"
        )
    assert len(report.notes) == 1
    assert "note" in str(report)


def test_the_command_line_says_it_in_one_line_and_takes_targets(tmp_path: Path) -> None:
    net = model(1)
    net.save(tmp_path / "net.keras")
    targets = net.predict(X, verbose=0)[:, 0].astype(np.float64)
    np.savez(tmp_path / "x.npz", x=X, y=targets)
    np.savez(tmp_path / "one.npz", x=X[:1])
    result = CliRunner().invoke(
        main,
        [
            "deploy", str(tmp_path / "net.keras"), "--board", "host",
            "--inputs", str(tmp_path / "x.npz"), "--calibration", str(tmp_path / "one.npz"),
            "--out", str(tmp_path / "out"),
        ],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "secateur: warning: calibration data: one sample" in result.stderr
    assert "mean absolute" in result.stdout
    assert "R2" in result.stdout
