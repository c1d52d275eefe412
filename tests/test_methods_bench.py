"""`make bench-methods` at toy size: every method is in it, trains on its layers, gets its line."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.train


def test_no_method_is_left_out() -> None:
    from benchmarks.recipes.methods import METHODS

    import secateur.callbacks as sc

    exported = {getattr(sc, name) for name in sc.__all__}
    callbacks = {
        c for c in exported
        if isinstance(c, type) and issubclass(c, sc.Compression) and c is not sc.Compression
    }  # fmt: skip
    used = {kind for method in METHODS for kind, _ in method.callbacks}
    assert used == callbacks
    assert len({m.name for m in METHODS}) == len(METHODS)


@pytest.mark.parametrize("name", ["HypersphericalTernary", "QuantizedNN"])
def test_a_method_takes_its_layers_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks.recipes import lenet, methods, mnist

    import secateur.callbacks as sc

    rng = np.random.default_rng(0)
    split = rng.integers(0, 256, (512, 28, 28), dtype=np.uint8), np.arange(512) % 10
    monkeypatch.setattr(mnist, "load", lambda: (split, split))
    monkeypatch.setitem(methods.STEPS, "lenet5", 4)
    bench = methods.Bench("lenet5", lambda x, y: lenet.lenet5())
    method = next(m for m in methods.METHODS if m.name == name)
    model = bench.train(method, seed=0)
    levels = {"HypersphericalTernary": 3, "QuantizedNN": 4}[name]
    for layer in (model.get_layer(n) for n in ("conv1", *bench.main())):
        kernel = layer.kernel.numpy().reshape(-1, layer.kernel.shape[-1])
        most = max(np.unique(kernel[:, i]).size for i in range(min(20, kernel.shape[1])))
        assert most <= levels if layer.name != "conv1" else most > levels
    low = [x.name for x in model.layers if isinstance(x, sc.QuantActivation)]
    assert low == (["conv1_relu", "conv2_relu", "ip1_relu"] if method.activations else [])


def row(method: str, accuracy: float, size: int, **more: object) -> dict[str, object]:
    """One line of the table."""
    return {
        "method": method, "network": "kws", "what": "", "accuracy": accuracy, "zeros": 0.8,
        "accuracies": [accuracy], "stored_bytes": size, "smallest_bytes": size,
        "bits_per_weight": 1.5, "smallest_bits_per_weight": 1.5, "instructions": 1000,
        "energy_uj": 2.0, "identical": 8, "total": 8, "ternary": True,
    } | more  # fmt: skip


def test_the_page_and_its_front(tmp_path: Path) -> None:
    from benchmarks.recipes.methods_page import pareto, write_page

    rows = [
        row("float", 91.0, 99_632, instructions=None, ternary=False),
        row("Ternarize", 89.0, 9_000),
        row("TernaryTWN", 88.0, 10_000),
        row("TernaryTTQ", 89.5, 10_500),
        row("HypersphericalTernary", 89.0, 8_900),
    ]
    assert [r["method"] for r in pareto(rows[1:])] == ["TernaryTTQ", "HypersphericalTernary"]
    assert pareto([rows[1], dict(rows[1])]) == [rows[1], rows[1]]
    more = [r | {"network": "lenet5"} for r in rows]
    text = write_page(tmp_path / "methods.md", rows + more).read_text()
    assert "| TernaryTWN |  | 88.00 | 88.00 | 80% | 10,000 | 1.50 | 10,000 (1.50) " in text
    assert "HypersphericalTernary (89.00 % in 8,900 bytes), TernaryTTQ (89.50 %" in text
    assert (tmp_path / "methods-kws.svg").read_text().count("HypersphericalTernary")
