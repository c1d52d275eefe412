"""The reproduction's machinery at toy size: recipe, measurement, page."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
pytest.importorskip("keras")
pytestmark = pytest.mark.train


@pytest.fixture
def _root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1]))


def digits(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Bars at ten places, with noise; uint8 [n, 28, 28] and labels."""
    rng = np.random.default_rng(0)
    x = rng.integers(0, 60, (count, 28, 28), dtype=np.uint8)
    y = np.arange(count) % 10
    for image, label in zip(x, y, strict=True):
        image[4:24, 2 + 2 * label : 5 + 2 * label] = 220
    return x, y


@pytest.mark.usefixtures("_root")
def test_a_run_from_training_to_its_line_on_the_page(tmp_path: Path) -> None:
    from benchmarks.recipes import lenet, measure, mnist
    from benchmarks.recipes.reproduction_page import write_page

    x, y = digits(512)
    lenet.BASELINES["lenet300"] = lenet.Baseline(3, 1e-3)
    baseline = lenet.train_baseline("lenet300", x, y, seed=0)
    recipe = replace(lenet.RECIPES["lenet300", "paper"], epochs=5, rounds=2)
    model = lenet.compress(baseline, recipe, x, y, seed=0)
    for name, share in recipe.sparsity.items():
        kernel = model.get_layer(name).kernel.numpy()
        assert np.mean(kernel == 0) == pytest.approx(share, abs=0.01)
        assert np.unique(kernel).size <= 2 ** recipe.bits[name] + 1

    graph = measure.integers(model, mnist.images(x[:64]))
    layers = measure.layers_of(graph)
    assert measure.top1(graph, mnist.images(x), y) > 90.0
    assert sum(layer.weights for layer in layers) == 266_200
    for layer in layers:
        assert layer.stored <= layer.huffman
        assert (
            layer.rest >= 2 * layer.weights // {235_200: 784, 30_000: 300, 1000: 100}[layer.weights]
        )
    stored = sum(layer.stored + layer.rest for layer in layers)
    run = {
        "network": "lenet300", "goal": "paper", "seed": 0, "baseline_error": 2.0, "error": 1.5,
        "float_error": 1.5, "ratio": graph.float_bytes / stored, "stored_bytes": stored,
        "float_bytes": graph.float_bytes, "cpu_seconds": 1.0, "baseline_cpu_seconds": 1.0,
        "layers": [asdict(layer) for layer in layers],
    }  # fmt: skip
    runs = [run | {"goal": goal} for goal in ("paper", "beyond")]
    layers5 = [{**asdict(layers[0]), "name": name} for name in ("conv1", "conv2", "ip1", "ip2")]
    runs += [r | {"network": "lenet5", "layers": layers5} for r in runs]
    write_page(tmp_path / "page.md", runs)
    text = (tmp_path / "page.md").read_text()
    assert "| paper | 0 | 2.00 | 1.50 | 1.50 |" in text
    assert "| ip1 | 235,200 | 9.5% |" in text


@pytest.mark.usefixtures("_root")
def test_what_is_trained_is_kept(tmp_path: Path) -> None:
    from benchmarks.recipes import lenet
    from benchmarks.recipes.cache import digest, spent, timed

    made = []

    def train() -> object:
        made.append(1)
        return lenet.lenet300()

    path = tmp_path / f"x-{digest(lenet.BASELINES['lenet5'])}.keras"
    timed(path, train)  # type: ignore[arg-type]
    timed(path, train)  # type: ignore[arg-type]
    assert made == [1]
    assert set(spent(path)) == {"seconds", "cpu_seconds"}
    assert digest(1, 2) != digest(2, 1)
