"""What a notebook and a first training script meet: short reprs, tables, logs, sentences."""

from __future__ import annotations

import ast
import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secateur as sc
from secateur import notebook
from secateur.errors import DataError, FileError, ModelError

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def model() -> Any:
    import keras

    keras.utils.set_random_seed(0)
    layers = [
        keras.layers.Conv1D(4, 3, activation="relu", name="conv"),
        keras.layers.Flatten(name="flat"),
        keras.layers.Dense(3, name="d"),
    ]
    made = keras.Sequential([keras.Input((16, 3)), *layers], name="net")
    made.compile("sgd", "mse")
    return made


def data(n: int = 64) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 16, 3)).astype(np.float32)


def test_a_compiled_model_is_short_and_has_a_table(
    model: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    compiled = sc.convert(model, data())
    assert repr(compiled).startswith("<CompiledModel net: ")
    assert len(repr(compiled)) < 200
    assert len(repr(compiled.plan)) < 200
    html = compiled._repr_html_()
    assert html.count("<tr>") == 1 + len(compiled.layers)
    compiled.summary()
    text = capsys.readouterr().out
    assert "input" in text
    assert "int8 [1, 16, 3]" in text
    assert f"{compiled.size.stored:,} bytes stored" in text


def test_a_report_has_a_table_and_a_picture(model: Any, tmp_path: Path) -> None:
    x = data()
    report = sc.deploy(sc.convert(model, x), board="host", inputs=x[:4], build_dir=tmp_path)
    html = report._repr_html_()
    assert "4 of 4 outputs identical" in html
    figure = report.plot(tmp_path / "layers.png")
    assert [a.get_xlabel() for a in figure.axes] == ["bytes stored", "multiply-accumulates"]
    assert (tmp_path / "layers.png").read_bytes()[1:4] == b"PNG"
    report.plot(tmp_path / "layers.svg")
    with pytest.raises(DataError, match=r"layers.txt must end in one of .png, .svg, .pdf"):
        report.plot(tmp_path / "layers.txt")
    (tmp_path / "mine.png").write_text("mine")
    with pytest.raises(FileError, match="secateur did not write it"):
        report.plot(tmp_path / "mine.png")


def test_a_scan_and_its_plan_are_short() -> None:
    scan = sc.Sensitivity(90.0, {"a": 10}, {"a": {0.5: 89.0}}, {"a": {4: 88.0}})
    assert repr(scan) == "<Sensitivity of 1 layers, top-1 90.00 % before>"
    assert "1.00" in scan._repr_html_()
    plan = scan.plan(2.0)
    assert repr(plan).startswith("<LayerPlan for 1 layers")
    assert "50%" in plan._repr_html_()


def test_tables_escape() -> None:
    html = notebook.table("<script>", ["<i>"], [["<b>\x1b", 1234, 0.5, True, None]])
    for wrong in ("<script>", "<i>", "<b>", "\x1b"):
        assert wrong not in html
    assert "1,234" in html


def test_the_shape_of_a_sequence_is_told_as_the_model_has_it(model: Any) -> None:
    with pytest.raises(DataError, match=r"takes \(16, 3\); give an array \[N, 16, 3\]"):
        sc.convert(model, np.zeros((4, 16, 4), np.float32))


@pytest.mark.parametrize("method", [sc.Prune, sc.Ternarize])
def test_a_share_in_percent_is_told_as_a_number(method: Any) -> None:
    with pytest.raises(ModelError, match=r"sparsity='80%' is not a number.*; give 0\.8"):
        method(sparsity="80%")


@pytest.mark.parametrize("first", [True, False])
def test_the_logger_writes_a_table_and_events(model: Any, tmp_path: Path, first: bool) -> None:
    import keras

    net = keras.models.clone_model(model)
    net.compile("sgd", "mse")
    log = sc.CompressionLogger(tmp_path)
    seen: list[dict[str, Any]] = []

    class Reader(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
            seen.append(dict(logs or {}))

    prune = sc.Prune(sparsity=0.5, end_step=2)
    order = [prune, log, Reader()] if first else [Reader(), log, prune]
    net.fit(data(32), np.zeros((32, 3)), batch_size=16, epochs=2, verbose=0, callbacks=order)
    assert all({"sparsity", "bits"} <= set(logs) for logs in seen)  # whatever the order
    with (tmp_path / "compression.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["epoch"] for r in rows] == ["0", "0", "1", "1"]
    kernel = net.get_layer("conv").kernel.numpy()
    last = next(r for r in rows[2:] if r["weight"].startswith("conv"))
    assert float(last["sparsity"]) == pytest.approx(np.mean(kernel == 0), abs=1e-6)
    assert float(last["threshold"]) == pytest.approx(np.abs(kernel[kernel != 0]).min(), rel=1e-5)
    assert list(tmp_path.glob("events.out.tfevents.*"))


def test_a_logger_without_compression_says_so(model: Any, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no callback of this fit compresses the model; add one"):
        model.fit(
            data(4), np.zeros((4, 3)), verbose=0,
            callbacks=[sc.CompressionLogger(tmp_path, tensorboard=False)],
        )  # fmt: skip
    with pytest.raises(ModelError, match="every=0 is below 1"):
        sc.CompressionLogger(tmp_path, every=0)


def test_the_picture_of_a_mask_is_bounded() -> None:
    from secateur.callbacks.logger import mask_picture

    weight = np.zeros((3, 3, 200, 600), np.float32)
    weight[..., :300] = 1
    picture = mask_picture(weight)
    assert picture.shape == (300, 450, 1)
    assert picture[:150].all()
    assert not picture[150:].any()


def test_outliers_are_measured_and_told() -> None:
    """One sample a hundred times the others: min/max wastes the codes, and auto finds out."""
    import keras

    keras.utils.set_random_seed(1)
    layers = [keras.layers.Dense(24, activation="relu", name="a"), keras.layers.Dense(4, name="b")]
    net = keras.Sequential([keras.Input((40,)), *layers], name="odd")
    x = np.random.default_rng(0).normal(size=(8192, 40)).astype(np.float32)
    plain = sc.convert(net, x)
    assert plain.qgraph.observer == "minmax"
    assert not plain.notes
    x[300, 3] = 200.0
    auto = sc.convert(net, x)
    (note,) = [n for n in auto.notes if n.startswith("outliers: ")]
    assert auto.qgraph.observer in ("percentile", "mse")
    assert f"calibration_method {auto.qgraph.observer} was taken" in note
    assert "minmax" in note
    usual = x[:200]
    error = {
        method: np.square(
            sc.convert(net, x, calibration_method=method).predict(usual)
            - net.predict(usual, verbose=0)
        ).mean()
        for method in ("auto", "minmax")
    }
    assert error["auto"] < error["minmax"] / 4


NOTEBOOK = Path(__file__).parents[1] / "examples" / "notebook" / "rings.ipynb"


def _cells() -> list[dict[str, Any]]:
    return list(json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"])


def test_the_example_notebook_holds_no_outputs() -> None:
    """What somebody's machine said once is no part of it."""
    for cell in _cells():
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


def test_the_example_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cell by cell, as a kernel does: what a cell ends in is shown, by its HTML if it has some."""
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    session: dict[str, Any] = {}
    shown: list[Any] = []
    for cell in _cells():
        if cell["cell_type"] != "code":
            continue
        tree = ast.parse("".join(cell["source"]))
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, NOTEBOOK.name, "exec"), session)
        if last is not None:
            assert isinstance(last, ast.Expr)
            shown.append(eval(compile(ast.Expression(last.value), NOTEBOOK.name, "eval"), session))
    zeros, compiled, nothing, report, files = shown
    assert zeros >= 0.7
    assert "<table" in compiled._repr_html_()
    assert nothing is None
    assert "200 of 200 outputs identical" in report._repr_html_()
    assert report.accuracy > 0.9
    assert session["picture"].axes
    assert {"CMakeLists.txt", "README.md", "src"} <= set(files)
