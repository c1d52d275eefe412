"""`python -m benchmarks.methods_long` at toy size: what it trains, and what it writes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.train


def test_every_method_is_trained_once() -> None:
    from benchmarks.recipes import long, methods

    names = [m.name for m in long.METHODS]
    assert sorted(names) == sorted(m.name for m in (*methods.METHODS, *methods.CURVE))
    assert not next(m for m in long.METHODS if m.name == "XNOR").last  # as its paper has it


def toy(images: int) -> Any:
    """LeNet-5 for four steps on so many images of noise."""
    from benchmarks.recipes import lenet, long, mnist

    rng = np.random.default_rng(0)
    noise = mnist.images(rng.integers(0, 256, (images, 28, 28), dtype=np.uint8))
    part = noise, np.arange(images) % 10
    return long.Network(
        "lenet5", "toy", ["conv2", "ip1", "ip2"], 4, 64, 1e-3, lambda: (part,) * 3,
        lambda n: lenet.lenet5(), lambda x: x, logits=True,
    )  # fmt: skip


def test_binary_inputs_have_the_papers_block_order() -> None:
    from benchmarks.recipes import long

    import secateur.callbacks as sc

    network = toy(512)
    xnor = next(m for m in long.METHODS if m.name == "XNOR")
    model, curve = network.train(xnor, seed=0)
    signs = [i for i, x in enumerate(model.layers) if isinstance(x, sc.QuantActivation)]
    for i in signs:  # conv, pool, norm, sign, conv
        assert isinstance(model.layers[i - 1], keras.layers.BatchNormalization)
        assert isinstance(model.layers[i - 2], keras.layers.MaxPooling2D)
        assert not isinstance(model.layers[i + 1], keras.layers.MaxPooling2D)
    assert len(signs) == 2  # in front of conv2 and of ip1; ip2 keeps real inputs and weights
    for name in ("conv2", "ip1", "ip2"):
        kernel = model.get_layer(name).kernel.numpy()
        assert (np.unique(kernel[..., 0]).size == 2) == (name != "ip2")
    assert [step for step, _ in curve] == list(range(1, 9))


def test_kernels_stay_for_the_last_steps() -> None:
    from dataclasses import replace

    from benchmarks.recipes import long

    network = toy(256)
    moving = next(m for m in long.METHODS if m.name == "Ternarize")
    assert network.still(replace(moving, still=1.0)) == 0  # LeNet-5 has no batch norm of its own
    moving = replace(moving, method=replace(moving.method, norm=True), still=0.0)
    before, short = network.train(moving, seed=0)
    after, curve = network.train(replace(moving, still=1.0), seed=0)
    assert [step for step, _ in curve] == list(range(1, 9))
    assert curve[:4] == short
    for name in ("conv1", "conv2", "ip1", "ip2"):  # those without the method, too
        pair = [m.get_layer(name).kernel.numpy() for m in (before, after)]
        assert np.array_equal(*pair)
    norms = [x.name for x in after.layers if isinstance(x, keras.layers.BatchNormalization)]
    gammas = [[m.get_layer(n).gamma.numpy() for n in norms] for m in (before, after)]
    assert norms
    assert not any(map(np.array_equal, *gammas))


def test_a_fit_has_settled_when_its_end_gains_nothing() -> None:
    from benchmarks.recipes.long import settled

    assert settled([(1, 50.0), (2, 80.0), (3, 81.0), (4, 81.5)]) == pytest.approx(0.5)
    assert settled([(1, 50.0)]) == float("inf")


def test_the_page(tmp_path: Path) -> None:
    from benchmarks.recipes.long_page import write_page

    row = {
        "network": "kws", "title": "KWS", "method": "XNOR", "what": "signs", "steps": 4800,
        "batch": 100, "last": False, "seeds": [0, 1, 2], "accuracies": [80.0, 82.0, 81.0],
        "settled": [0.1, -0.2, 0.3], "seconds": 9,
        "curves": [[[1, 10.0]], [[1, 30.0]], [[1, 20.0]]],
    }  # fmt: skip
    missing = {"KWS": ["Ternarize", "XNOR-Net"], "HAPT": []}
    text = write_page(tmp_path / "methods-long.md", [row], missing).read_text()
    assert "**Not trained yet.** KWS: Ternarize, XNOR-Net.\n" in text
    assert "| XNOR | signs | 8 bits | 4,800 x 100 | 81.00 | 80.00 82.00 81.00 | +0.10 -0.20" in text
    assert "XNOR" in (tmp_path / "methods-long-kws.svg").read_text()


def test_rows_and_seeds_of_other_machines_stay() -> None:
    from benchmarks.methods_long import _with_known

    def row(method: str, seeds: list[int], steps: int = 9) -> dict[str, object]:
        of = [[s, steps] for s in seeds]
        return {
            "network": "kws", "method": method, "what": "w", "steps": steps, "batch": 1,
            "last": True, "seeds": seeds, "accuracies": of, "settled": of, "curves": of,
        }  # fmt: skip

    known = [row("XNOR", [0]), row("Ternarize 85%", [0, 2], 9), row("LQNet", [0], 8)]
    made = _with_known([row("Ternarize 85%", [1, 2]), row("LQNet", [1])], known)
    assert [r["method"] for r in made] == ["XNOR", "Ternarize 85%", "LQNet"]
    assert made[1]["seeds"] == [0, 1, 2]
    assert made[1]["curves"] == [[0, 9], [1, 9], [2, 9]]
    assert made[2]["seeds"] == [1]  # of another recipe
