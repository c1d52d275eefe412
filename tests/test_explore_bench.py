"""The benchmarks of exploration: pages say what results say, and results are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")

from benchmarks import explore_kws, explore_small

pytestmark = pytest.mark.train

ROOT = Path(__file__).parents[1]


def results(name: str) -> Any:
    return json.loads((ROOT / "benchmarks" / "results" / f"{name}.json").read_text("utf-8"))


def test_the_page_of_keyword_spotters_says_what_was_measured() -> None:
    rows = results("explore_kws")
    page = (ROOT / "docs" / "explore-kws.md").read_text(encoding="utf-8")
    assert page == explore_kws.page(rows)
    assert {r["settings"]["name"] for r in rows} == set(explore_kws.RECIPES)
    assert all(r["identical"] == r["total"] > 0 for r in rows)


def test_points_beat_the_guess_as_the_page_says() -> None:
    rows = results("explore_small")
    assert [r["task"] for r in rows] == list(explore_small.TASKS)
    for r in rows:
        assert r["guess"]["identical"] == r["guess"]["total"] > 0
        assert all(p["identical"] == p["total"] > 0 for p in r["front"])
        assert r["beating"] == sum(explore_small.beats(p, r["guess"]) for p in r["front"])
        assert not r["beaten"]


def test_what_beats() -> None:
    guess = {"accuracy": 90.0, "flash": 100, "instructions": 1000}
    assert explore_small.beats({**guess, "flash": 99}, guess)
    assert not explore_small.beats(guess, guess)
    assert not explore_small.beats({**guess, "flash": 99, "accuracy": 89.9}, guess)
