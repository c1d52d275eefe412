"""What each `optimize` promises, by time and linked bytes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks import promises
from benchmarks.promises import BOARDS, NETWORKS, Row, broken, measure, prepare, rows_of

from secateur.codegen.optimize import WEIGHTS

RESULTS = Path(__file__).parents[1] / promises.OUT


@pytest.mark.emulator
@pytest.mark.parametrize("network", ["mlp_10x32x16x4", "mlp_ternary_24x48x24x5", "har_ternary"])
def test_every_optimize_keeps_its_promise(network: str) -> None:
    rows = [r for job in prepare([network], ["cortex-m4"]) for r in rows_of(job, measure(job))]
    assert {r.optimize for r in rows} == set(WEIGHTS)
    for r in rows:
        assert not broken(r, rows), (r, broken(r, rows))


def test_the_committed_run_is_whole() -> None:
    rows = [Row(**r) for r in json.loads(RESULTS.read_text(encoding="utf-8"))]
    cases = {(n, c, o) for n in NETWORKS for c in BOARDS for o in WEIGHTS}
    assert {(r.network, r.core, r.optimize) for r in rows} == cases
    for r in rows:
        others = [o for o in rows if (o.network, o.core) == (r.network, r.core)]
        assert r.identical
        assert r.kept == (not broken(r, others))
        assert r.kept_counted == (not broken(r, others, "instructions"))


def test_what_breaks_a_promise() -> None:
    fast = Row("n", "cortex-m4", "latency", 1000, 9000, 100, True, 1000, 9000)
    small = Row("n", "cortex-m4", "flash", 5000, 4000, 100, True, 5000, 4000)
    slow = Row("n", "cortex-m4", "balanced", 6000, 9100, 100, True, 6000, 9100)
    rows = [fast, small, slow]
    assert broken(fast, rows) == broken(small, rows) == []
    assert broken(slow, rows) == ["is beaten by latency", "is beaten by flash"]
    other = Row("n", "cortex-m4", "energy", 1100, 9000, 100, False, 1100, 9000)
    told = broken(other, [*rows, other])
    assert told == ["gives other outputs", "is 10.0% slower than latency", "is beaten by latency"]
    crawl = Row("n", "cortex-m4", "flash", 20_000, 3900, 100, True, 900, 3900)
    assert broken(crawl, [fast, crawl]) == ["is 20.0 times slower"]


def test_time_is_cycles_where_they_are_known() -> None:
    fast = Row("n", "cortex-m4", "latency", 1100, 9000, 100, True, 1100, 9000, 1500)
    few = Row("n", "cortex-m4", "flash", 1000, 4000, 100, True, 1000, 4000, 1700)
    assert broken(fast, [fast, few]) == []
    told = broken(fast, [fast, few], "instructions")
    assert told == ["is 10.0% slower than flash", "is beaten by flash"]
