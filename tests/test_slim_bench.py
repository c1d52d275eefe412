"""The slimming benchmark: its page says what its results say, and its results are whole."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytest.importorskip("keras")

from benchmarks.recipes import slimming, slimming_page

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[1]
RESULTS = json.loads((ROOT / "benchmarks" / "results" / "slim.json").read_text(encoding="utf-8"))


def test_the_page_says_what_was_measured(tmp_path: Path) -> None:
    shutil.copy(ROOT / "docs" / "slimming.md", tmp_path)
    slimming_page.write_page(tmp_path, RESULTS)
    for file in tmp_path.iterdir():
        assert file.read_text() == (ROOT / "docs" / file.name).read_text()


def test_every_output_was_the_references() -> None:
    rows = RESULTS["rows"]
    assert {r["task"] for r in rows} == set(slimming.TASKS)
    assert all(r["identical"] == r["total"] > 0 for r in rows)
    half = [r for r in rows if r["left"] == 0.5 and r["method"] != "ternary"]
    assert {(r["task"], r["method"]) for r in half} == {
        (t, m) for t in slimming.TASKS for m in slimming.METHODS
    }


def test_slimming_keeps_its_promises() -> None:
    """Half the operations, within a point of the float network."""
    kws = [r for r in RESULTS["rows"] if r["task"] == "kws"]
    whole = next(r for r in kws if r["method"] == "float")
    half = [r for r in kws if r["left"] == 0.5 and r["method"] in slimming.METHODS]
    assert max(r["accuracy"] for r in half) >= whole["float_accuracy"] - 1.0
    assert all(r["flops"] <= 0.5 * whole["flops"] for r in half)


def test_slim_and_ternary_takes_a_quarter_less_than_ternary_alone() -> None:
    """At equal accuracy, on test clips and on those that chose the point; medians of seeds."""
    front = [r for r in RESULTS["rows"] if r["method"] == "ternary"]
    (chosen,) = (r for r in front if (r["left"], r["zeros"], r["by"]) == (0.4, 0.4, "ThiNet"))
    assert len(chosen["seeds"]) == 3
    alone = [r for r in front if r["left"] == 1]
    for right in ("accuracies", "held_out"):
        ((_, saved),) = slimming_page.saved([*alone, chosen], right)
        assert saved >= 0.25
    plans = {(p.left, p.zeros) for p in slimming.FRONT}
    assert {(r["left"], r["zeros"]) for r in front} <= plans


@pytest.mark.parametrize("method", slimming.METHODS)
def test_every_method_is_what_it_is_called(method: str) -> None:
    import numpy as np

    criterion = slimming.METHODS[method](0.5, np.zeros((1, 2)), 1)
    names = {"L1": "L1Filters", "slimming": "Slimming", "complexity": "Complexity",
             "random": "RandomFilters", "from scratch": "L1Filters"}  # fmt: skip
    assert criterion.name == names.get(method, method)
    assert criterion.flops == 0.5
