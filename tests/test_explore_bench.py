"""The benchmarks of exploration: pages say what results say, and results are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("keras")

from benchmarks import explore_kws

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
