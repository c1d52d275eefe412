"""A few of every category of `python -m benchmarks.hostile`, and what that run wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

pytest.importorskip("keras")

from benchmarks import hostile

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results" / "hostile.json"
EACH = 5  #: of a category


def sample() -> list[hostile.Case]:
    """Cases evenly spaced in their categories, without those that write a gigabyte."""
    by_category: dict[str, list[hostile.Case]] = {}
    for case in hostile.all_cases():
        if "1 GB" not in case.name and "expanding" not in case.name:
            by_category.setdefault(case.category, []).append(case)
    return [
        c for cases in by_category.values() for c in cases[:: max(1, len(cases) // EACH)][:EACH]
    ]


@pytest.mark.parametrize("case", sample(), ids=lambda c: f"{c.category}-{c.name}"[:60])
def test_a_hostile_input_ends_in_its_sentence(
    case: hostile.Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    outcome = hostile.attempt(case, tmp_path)
    assert outcome.fine, outcome.said


def test_the_last_whole_run_found_nothing() -> None:
    document = json.loads(RESULTS.read_text())
    assert document["not_fine"] == 0
    assert document["tried"] == len(document["cases"]) >= 500
    assert set(document["categories"]) == {c.category for c in hostile.all_cases()}, "run it again"


def test_the_page_says_how_many() -> None:
    (said,) = re.findall(r"tries ([\d,]+) such inputs", (ROOT / "SECURITY.md").read_text())
    assert int(said.replace(",", "")) == json.loads(RESULTS.read_text())["tried"]
