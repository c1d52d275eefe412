"""TensorFlow Lite beside the device, answers by class, and drawings of models."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import secateur as sc
from secateur.cli import main
from secateur.errors import DataError, ModelError, ToolError
from secateur.flow import against, run_tflite
from secateur.report import classes, graph, html, peer
from secateur.report.figures import Report

pytestmark = [
    pytest.mark.train,
    pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.keras, x.npz and model.tflite: a network that has learned three classes."""
    import keras

    path = tmp_path_factory.mktemp("against")
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, activation="relu", name="a"), keras.layers.Dense(3, name="b")]
    net = keras.Sequential([keras.Input((6,)), *layers], name="net")
    net.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    x = np.random.default_rng(0).normal(size=(256, 6)).astype(np.float32)
    y = x[:, :3].argmax(1)
    net.fit(x, y, epochs=20, verbose=0)
    net.save(path / "model.keras")
    np.savez(path / "x.npz", x=x, y=y)
    return path


def data(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    with np.load(folder / "x.npz") as z:
        return z["x"], z["y"]


def run(*words: str, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(main, list(words))
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_the_same_model_in_tensorflow_lite(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    (tmp_path / "peers.json").write_text(
        json.dumps({"model": {"flash": 100_000, "arena": 2000, "source": "measured elsewhere"}})
    )
    out, _ = run(
        "deploy", str(folder / "model.keras"), "--board", "host", "--inputs",
        str(folder / "x.npz"), "--out", str(tmp_path / "o"), "--against", "tflite",
        "--peer-figures", str(tmp_path / "peers.json"), "--name", "model", "--json",
    )  # fmt: skip
    report = json.loads(out)
    beside = report["against"]
    assert beside["runtime"].startswith("LiteRT ")
    assert beside["inputs"] == 256
    assert beside["equal"] >= 0.95
    assert abs(beside["accuracy"] - report["accuracy"]["device"]) < 0.05
    assert beside["bytes"] == (tmp_path / "o" / "model.tflite").stat().st_size
    assert beside["flash"] == 100_000
    loaded = Report.from_dict(report)
    text = str(loaded)
    assert "TensorFlow Lite Micro: flash 100,000, arena 2,000 (measured elsewhere)" in text
    assert "the same answer for" in text
    assert "Beside TensorFlow Lite" in html.render(loaded)
    # the user's own, through Python
    x, y = data(folder)
    compiled = sc.convert(folder / "model.keras", x, name="model")
    mine = tmp_path / "o" / "model.tflite"
    again = sc.deploy(compiled, "host", inputs=x, labels=y, build_dir=tmp_path / "p", against=mine)
    assert again.against is not None
    assert again.against.equal == beside["equal"]
    # equal to what LiteRT itself gives
    theirs, _ = run_tflite(mine, x)
    assert np.mean(theirs.argmax(1) == y) == again.against.accuracy


def test_what_is_no_tflite_is_refused(folder: Path, tmp_path: Path) -> None:
    x, _ = data(folder)
    (tmp_path / "wrong.tflite").write_bytes(b"nothing")
    with pytest.raises(ModelError, match=r"wrong\.tflite is no TensorFlow Lite model"):
        run_tflite(tmp_path / "wrong.tflite", x)
    (tmp_path / "broken.tflite").write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))
    with pytest.raises(ModelError, match=r"TensorFlow Lite failed running broken.tflite \("):
        run_tflite(tmp_path / "broken.tflite", x)
    with pytest.raises(DataError, match="against without inputs has nothing to run"):
        sc.deploy(sc.convert(folder / "model.keras", x), "host", against=tmp_path / "wrong.tflite")
    args = ["deploy", str(folder / "model.keras"), "--board", "host"]
    _, said = run(*args, "--calibration", str(folder / "x.npz"), "--against", "tflite", code=2)
    assert "--against runs inputs in TensorFlow Lite: give --inputs." in said


def test_a_missing_runtime_is_told_with_the_line_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_runtime(*a: Any, **k: Any) -> Any:
        said = json.dumps({"error": "neither LiteRT nor tflite-runtime is installed"})
        return subprocess.CompletedProcess([], against.MISSING, said + "\n", "")

    monkeypatch.setattr(against.subprocess, "run", no_runtime)
    with pytest.raises(
        ToolError,
        match=r"nor tflite-runtime is installed; run: pip install .*tflite",
    ):
        against._work("run", "a.tflite", "x", "y")


def test_the_worker_prints_one_document(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 2)))
    done = subprocess.run(
        [sys.executable, "-m", "secateur.flow.tflite_worker", "make", "no.keras",
         str(tmp_path / "x.npz"), str(tmp_path / "y")], capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "no.keras does not exist" in json.loads(done.stdout.splitlines()[-1])["error"]


def test_figures_of_a_peer_are_checked(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    for wrong in (
        "[]",
        '{"kws": {"flash": "1"}}',
        '{"kws": {"size": 1}}',
        '{"kws": {"flash": -1}}',
    ):
        file.write_text(wrong)
        with pytest.raises(DataError, match=r"is no file of figures: write \{\"kws\""):
            peer.figures(file, "kws")
    file.write_text('{"other": {"flash": 1}}')
    assert peer.figures(file, "kws") == {}


def test_answers_by_class() -> None:
    labels = np.array([0, 0, 1, 1, 1, 2])
    device = np.array([0, 0, 1, 2, 2, 2])
    real = np.array([0, 0, 1, 1, 2, 2])
    found = classes.of(labels, device, real, 3)
    assert found.counts == (2, 3, 1)
    assert found.device == (2, 1, 1)
    assert found.float == (2, 2, 1)
    assert found.confusion == ((2, 0, 0), (0, 1, 2), (0, 0, 1))
    assert found.changed == (3,)
    assert found.sentence() == (
        "class 1 is the worst: 33.3 % of 3, 2 taken for class 2; 1 of 6 answered otherwise than in "
        "float"
    )
    many = np.arange(200)
    assert classes.of(many, many, None, 200).confusion is None


def test_a_report_tells_classes(folder: Path, tmp_path: Path) -> None:
    x, y = data(folder)
    compiled = sc.convert(folder / "model.keras", x)
    report = sc.deploy(compiled, "host", inputs=x, labels=y, build_dir=tmp_path)
    found = report.classes
    assert found is not None
    assert found.confusion is not None
    assert sum(found.counts) == 256
    assert sum(found.device) == round(256 * (report.accuracy.device or 0))
    assert [row[i] for i, row in enumerate(found.confusion)] == list(found.device)
    assert found.sentence() in str(report).replace("\n", " ") or "is the worst" in str(report)
    assert "By class" in html.render(report)
    assert Report.load(tmp_path / "report.json").classes == found


def test_a_model_is_drawn(folder: Path, tmp_path: Path) -> None:
    model = str(folder / "model.keras")
    text, _ = run("inspect", model, "--graph", "mermaid")
    assert text.startswith("%% Secateur\nflowchart TD\n")
    assert "n0 --> n1" in text
    assert "a<br/>dense 8, 56 weights" in text
    dot, _ = run("inspect", model, "--graph", "dot")
    assert "n0 -> n1;" in dot
    page = tmp_path / "graph.html"
    run("inspect", model, "--graph", "html", "--out", str(page))
    run("inspect", model, "--graph", "html", "--out", str(page))  # its own is replaced
    assert "<svg" in page.read_text()
    page.write_text("mine")
    _, said = run("inspect", model, "--graph", "html", "--out", str(page), code=2)
    assert "secateur did not write it" in said
    _, said = run("inspect", model, "--graph", "png", code=2)
    assert "--graph png is none of mermaid, dot, html" in said
    _, said = run("inspect", model, "--out", str(page), code=2)
    assert "--out is where --graph draws" in said


def test_drawings_take_no_code_from_names() -> None:
    from secateur.frontend.ir import Graph, Node

    bad = 'a"]; click n0 "javascript:1" <script>\n\\'
    nodes = [Node("input", bad, (), "x", (1, 1, 4))]
    drawn = Graph("</title><script>", nodes, ("x",), ("x",))
    assert "<script>" not in graph.html(drawn)
    assert 'a"' not in graph.mermaid(drawn)
    assert len(graph.mermaid(drawn).splitlines()) == 3
    assert 'a"]' not in graph.dot(drawn).replace('\\"', "")
    if shutil.which("dot"):
        subprocess.run(["dot", "-Tsvg"], input=graph.dot(drawn), text=True, check=True)
