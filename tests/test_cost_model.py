"""How prices are fitted: from counts alone, every core from its own plans, and always the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks import cost_model, lessons
from benchmarks.cost_model import PULL, Counter, Sample, fit, refit, solve

from secateur.codegen.plan import Plan

A, B, C = ("dense_sparse", "rows"), ("huffman_joint", "symbols"), ("dense_sparse", "coded_rows")


def _sample(work: dict[tuple[str, str], float], counted: float, small: bool = False) -> Sample:
    both = (counted, 2 * counted)
    return Sample("lesson", "cortex-m4", "dense_sparse", work, (0.0, 0.0), both, small)


def test_prices_of_least_relative_error_are_found_and_none_is_below_zero() -> None:
    rows = [{A: 10.0, B: 100.0}, {A: 100.0, B: 100.0}, {A: 40.0}]
    assert solve(rows, np.array([730.0, 1000.0, 120.0]), {A: None, B: None}) == pytest.approx(
        [3.0, 7.0]
    )
    # a layer of both that takes less than one of them alone
    low = solve([{A: 1.0}, {A: 1.0, B: 1.0}], np.array([10.0, 9.0]), {A: None, B: None})
    assert low[1] == 0
    assert 9 < low[0] < 10


def test_a_price_is_drawn_to_what_is_usual_and_what_is_0_stays() -> None:
    assert solve([{A: 1.0}], np.array([10.0]), {A: 20.0, B: 5.0, C: 0.0}) == pytest.approx(
        [(1 / 10 + PULL**2 / 20) / (1 / 100 + PULL**2 / 400), 5.0, 0.0]
    )


def test_code_for_size_has_prices_behind_the_others() -> None:
    counted = [
        _sample({A: a, B: b, C: c}, 3 * a + 7 * b + 20 * c)
        for a, b, c in ((1.0, 50.0, 4.0), (9.0, 10.0, 30.0), (2.0, 400.0, 8.0))
    ]
    counted += [_sample(s.work, 2 * s.counted[0], small=True) for s in counted]
    found = fit(counted, "dsp")
    assert found["huffman_joint"]["symbols"] == pytest.approx([7, 14, 14, 28], rel=1e-3)
    assert found["dense_sparse"]["coded_rows"] == pytest.approx([20, 40, 40, 80], rel=1e-3)
    assert fit(counted, "dsp") == found


class _Paper(Counter):
    """Counts nothing: each layer takes what its plan says of its core, by a rule."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere"))
        self.asked: list[tuple[str, str]] = []

    def count(self, plan: Plan, core: str, x: np.ndarray) -> dict[str, list[float]]:
        self.asked.append((plan.core, core))
        each = {"cortex-m4": 2.0, "cortex-m0plus": 5.0}[core]
        names = [*plan.layers, "input", "output"]
        return {n: [each * (7 + len(n) * x.size), 2 * each * (7 + len(n) * x.size)] for n in names}


def test_every_core_learns_from_its_own_plans_and_twice_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prices depend on lessons and counts, not on what stood there before; what no lesson teaches
    stays."""
    monkeypatch.setattr(lessons, "TAUGHT", ((0.0, ("tiny",)), (1.0, ("tiny",))))
    written: list[Any] = []
    m4 = {"dense": {"rows": [900.0, 900.0]}, "untaught": {"x": [1.0, 1.0]}}
    for before in ({}, {"cortex-m4": m4, "rv32imac": {"dense": {"rows": [1.0, 1.0]}}}):
        path = tmp_path / "costs.json"
        path.write_text(json.dumps(before))
        monkeypatch.setattr(cost_model, "PRICES", path)
        counter = _Paper()
        refit(["cortex-m4", "cortex-m0plus"], counter)
        assert set(counter.asked) == {("cortex-m4",) * 2, ("cortex-m0plus",) * 2}
        table = json.loads(path.read_text())
        # others' stay
        assert table.pop("rv32imac", None) == before.get("rv32imac")
        written.append(table)
    assert written[1]["cortex-m4"].pop("untaught") == {"x": [1.0, 1.0]}
    assert written[0] == written[1]
    assert set(written[0]) == {"cortex-m4", "cortex-m0plus"}
    assert written[0]["cortex-m4"] != written[0]["cortex-m0plus"]
