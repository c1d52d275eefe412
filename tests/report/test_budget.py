"""Budgets, verdicts, and the forms build servers read."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from secateur.errors import SecateurError
from secateur.report import Accuracy, Latency, Outputs, Regression, budget, ci
from tests.report.sample import report


def kept(**budgets: budget.Value) -> list[bool | None]:
    return [v.kept for v in budget.check(report(), budgets)]


def test_limits_are_inclusive_and_know_their_direction() -> None:
    assert kept(flash="12 kB", ram=2400, latency="4 ms", energy="121 uJ") == [True] * 4
    assert kept(flash=11_999, latency="3.99 ms", stack=299, arena="1.9 kB") == [False] * 4
    assert kept(accuracy=0.905, bit_exact=True, instructions=90_000) == [True] * 3
    assert kept(accuracy="90.6 %", instructions=89_999, stored=759) == [False] * 3


def test_bit_exact_wants_every_output() -> None:
    one_off = report(outputs=Outputs(199, 200))
    assert budget.check(one_off, {"bit_exact": True})[0].kept is False
    nothing_run = report(outputs=Outputs(0, 0))
    assert budget.check(nothing_run, {"bit_exact": True})[0].kept is None


def test_an_unknown_figure_is_neither_kept_nor_broken() -> None:
    r = report(latency=Latency(None, None, None, "estimated"), accuracy=Accuracy())
    verdicts = budget.check(r, {"latency": "4 ms", "accuracy": 0.5})
    assert [v.kept for v in verdicts] == [None, None]
    assert "not determined" in verdicts[0].text


def test_tolerance_is_against_the_baseline() -> None:
    good = {"flash": 11_800.0, "accuracy": 0.91, "ram": 2400.0}
    tolerance: dict[str, budget.Value] = {
        "flash": "2 %",
        "accuracy": "0.4 %",
        "ram": 0,
        "energy": "1 %",
    }
    verdicts = budget.check(report(), {}, good, tolerance)
    assert [(v.figure, v.kept) for v in verdicts] == [
        ("flash", True),
        ("accuracy", False),
        ("ram", True),
    ]
    assert "last known good 91.00 %" in verdicts[1].text


def test_a_broken_budget_names_the_layer_that_costs_most() -> None:
    (v,) = budget.check(report(), {"flash": "1 kB"}, {"flash": 900.0})
    assert v.costliest == "<conv & 1> (46 %)"
    assert v.text == (
        "toy on mps2_an386: flash is 12.0 kB, budget at most 1.0 kB; last known good 900 B; "
        "costliest layer: <conv & 1> (46 %)"
    )
    (v,) = budget.check(report(), {"latency": "1 us"})
    assert v.costliest.startswith("<conv & 1> (67 %)")


@pytest.mark.parametrize(
    ("figure", "value"),
    [
        ("speed", 1),
        ("flash", "20 ms"),
        ("flash", True),
        ("bit_exact", False),
        ("bit_exact", 0.5),
        ("instructions", "4 ms"),
    ],
)
def test_budgets_that_make_no_sense(figure: str, value: budget.Value) -> None:
    with pytest.raises(SecateurError):
        budget.limit_of(figure, value)


def test_snapshot_holds_every_known_figure() -> None:
    off = Regression({"float": 0.1, "device": 0.2}, {"float": 0.9, "device": 0.8})
    snap = budget.snapshot(report(regression=off))
    assert set(snap) == set(budget.FIGURES)
    assert (snap["mae"], snap["r2"]) == (0.2, 0.8)
    assert budget.check(report(regression=off), {"mae": 0.2, "r2": 0.8})[0].kept
    assert not budget.check(report(regression=off), {"r2": "0.81"})[0].kept
    assert "mae" not in budget.snapshot(report())
    assert snap["flash"] == 12_000
    bare = replace(report(), latency=Latency(None, None, None, "estimated"))
    assert "latency" not in budget.snapshot(bare)


@pytest.fixture
def verdicts() -> list[budget.Verdict]:
    r = report(latency=Latency(None, None, None, "estimated"))
    return budget.check(r, {"flash": "1 kB", "ram": "4 kB", "latency": "1 ms"}, {"flash": 900.0})


def test_junit(verdicts: list[budget.Verdict]) -> None:
    verdicts[0] = replace(verdicts[0], seconds=12.3456)
    root = ElementTree.fromstring(ci.junit(verdicts))
    assert root.attrib == {"tests": "3", "failures": "1", "errors": "1", "time": "12.346"}
    assert root.findall("testsuite/testcase")[0].get("time") == "12.346"
    cases = root.findall("testsuite/testcase")
    assert [c.get("name") for c in cases] == ["flash", "ram", "latency"]
    failure = cases[0].find("failure")
    assert failure is not None
    assert "<conv & 1>" in str(failure.get("message"))
    assert cases[1].find("failure") is None
    assert cases[2].find("error") is not None


def test_sarif(verdicts: list[budget.Verdict]) -> None:
    verdicts = [replace(v, line=9) for v in verdicts]
    data = json.loads(ci.sarif(verdicts, "secateur.toml", "1.0"))
    assert data["version"] == "2.1.0"
    (run,) = data["runs"]
    rules = {rule["id"] for rule in run["tool"]["driver"]["rules"]}
    assert [r["level"] for r in run["results"]] == ["error", "warning"]
    for result in run["results"]:
        assert result["ruleId"] in rules
        place = result["locations"][0]["physicalLocation"]
        assert place["artifactLocation"]["uri"] == "secateur.toml"
        assert place["region"] == {"startLine": 9}


def test_github(verdicts: list[budget.Verdict]) -> None:
    lines = ci.github(verdicts, "secateur.toml").splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("::error file=secateur.toml,line=1,title=secateur flash::toy on")
    assert "46 %25" in lines[0]
    assert lines[1].startswith("::warning ")


def test_markdown(verdicts: list[budget.Verdict]) -> None:
    mark, headline, _, *rows = ci.markdown(verdicts).splitlines()
    assert mark == "<!-- secateur check -->"
    assert headline == "### Secateur: 1 of 3 budgets broken, 1 not determined"
    assert len(rows) == 5
    assert len({row.count("|") for row in rows}) == 1
    assert "**broken**" in rows[2]
    assert "not determined" in rows[4]
