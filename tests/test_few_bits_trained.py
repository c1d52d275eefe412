"""`python -m benchmarks.few_bits_trained` at toy size, and the network that is committed."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from benchmarks import few_bits_trained as bench  # noqa: E402
from benchmarks.explore_kws import Clips  # noqa: E402

from secateur import data  # noqa: E402

pytestmark = pytest.mark.train


def zeros(model: Any) -> list[float]:
    """Shares of the first, the depthwise and the pointwise layers and of the classifier."""
    layers = bench.kws.groups(model)
    groups = (layers.first, layers.depthwise, layers.main[:-1], layers.main[-1:])
    kernels = [[model.get_layer(n).kernel.numpy() for n in names] for names in groups]
    return [float(np.mean([(k == 0).mean() for k in group])) for group in kernels]


def ternary(model: Any) -> bool:
    """Whether every output channel is -a, 0, a."""
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            kernel = layer.kernel.numpy()
            axis = 2 if isinstance(layer, keras.layers.DepthwiseConv2D) else kernel.ndim - 1
            for channel in np.moveaxis(kernel, axis, 0):
                if np.unique(np.abs(channel[channel != 0])).size > 1:
                    return False
    return True


@pytest.mark.parametrize("name", list(bench.RECIPES))
def test_a_recipe_reaches_its_zeros_and_comes_back_from_its_file(name: str, tmp_path: Path) -> None:
    x, y = data.load("kws_train")
    part = x[:200], y[:200].astype(np.int64)
    clips: Any = SimpleNamespace(x=part[0], y=part[1], validation=part, often=Clips.often)
    recipe = bench.RECIPES[name]
    model, curve = bench.train(recipe, clips, share=10 / recipe.steps)
    assert [step for step, _ in curve] == list(range(1, 14 if recipe.still else 11))
    assert ternary(model)
    assert zeros(model) == pytest.approx(recipe.zeros, abs=2e-3)
    bench.save(model, tmp_path / "it.npz")
    again = bench.load(tmp_path / "it.npz")
    assert all(map(np.array_equal, model.get_weights(), again.get_weights()))


def test_rare_words_come_three_times() -> None:
    y = np.array([0] * 9 + [1] * 9 + [2])
    _, often = Clips.often(np.arange(19.0), y)
    assert np.bincount(often).tolist() == [9, 9, 3]


def test_the_committed_network_is_that_of_the_results() -> None:
    rows = json.loads(bench.FIGURES.read_text(encoding="utf-8"))
    found = {(r["encoding"], r["target"]): r for r in rows}
    said = found[bench.KEPT, bench.TRAINING]
    model = bench.load()
    assert ternary(model)
    assert zeros(model) == pytest.approx(said["zeros"], abs=2e-3)
    for core in bench.TARGETS:
        row = found[bench.KEPT, core]
        assert row["identical"] == row["total"] > 0
    folder = data.full_data()
    if folder is not None and (folder / "kws12_test.npz").is_file():
        top1 = bench.top1(bench.integers(model).qgraph, *Clips().validation)
        assert round(top1, 2) == pytest.approx(said["held_out"], abs=0.2)  # float scales' rounding
