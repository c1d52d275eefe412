"""Estimated code against linked images, and the prices behind the estimates."""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks import code_networks, code_rest, linking, render
from benchmarks.code_networks import ALLOWED, BOARDS, NETWORKS, Job, Row, measure, page, read
from benchmarks.code_rest import PRICES, bounded, solve
from benchmarks.promises import NETWORKS as SMALL

from secateur import cores
from secateur.targets import tools


def need(core: str) -> None:
    if why := tools.missing(cores.get(core).compiler):
        pytest.skip(why)


def test_the_committed_run_is_whole() -> None:
    rows = read(render.ROOT / code_networks.OUT)
    assert {(r.network, r.target) for r in rows} == {(n, c) for n in NETWORKS for c in BOARDS}
    for core in BOARDS:
        cases = [(r.network, r.encoding) for r in rows if r.target == core]
        assert len(cases) == len(set(cases)) == 17
    assert all(0 < r.constants < r.flash for r in rows)


def test_code_is_what_is_no_array() -> None:
    near = Row("n", "dense int8", "cortex-m4", 10_000, 10_070, 9000)
    far = Row("n", "ternary", "cortex-m4", 10_000, 9900, 9000)
    assert near.code == 1000
    assert near.error == pytest.approx(0.07)
    assert abs(near.error) <= ALLOWED < abs(far.error)
    assert "| cortex-m4 | 2 | 1 | 8.5 % | -10.0 % |" in page([near, far])


@pytest.mark.parametrize("core", list(BOARDS))
def test_an_image_is_near_its_estimate(core: str) -> None:
    need(core)
    row = measure(Job("mlp", "int8", core, SMALL["mlp_64x64x10"]("mlp").graph, None))
    assert abs(row.error) <= ALLOWED


def test_runtime_functions_bring_what_they_call() -> None:
    need("cortex-m0plus")
    sizes, called = linking.brought("cortex-m0plus", ["__aeabi_uidivmod", "nothing_of_this_name"])
    assert sizes["__udivsi3"] > sizes["__aeabi_uidivmod"] > 0
    assert "__udivsi3" in called["__aeabi_uidivmod"].split()
    assert "nothing_of_this_name" not in {*sizes, *called}


def test_a_linked_library_is_its_functions_and_little_more() -> None:
    need("cortex-m4")
    library = next(code_rest.libraries(1, "cortex-m4", 3))
    found = linking.linked(library, "cortex-m4")
    assert found.functions[f"{library.name}_run_in"] > 0
    assert not any("." in name for name in found.functions)
    assert sum(found.functions.values()) < found.code < sum(found.functions.values()) + 1000


def test_bounded_least_squares() -> None:
    rng = np.random.default_rng(3)
    a, x = rng.normal(size=(40, 3)), np.array([2.0, -1.0, 5.0])
    free = bounded(a, a @ x, np.full(3, -9.0), np.full(3, 9.0), np.zeros(3))
    assert free == pytest.approx(x, abs=1e-3)
    least, most = np.array([0.0, 0.0, 0.0]), np.array([9.0, 9.0, 4.0])
    inside = bounded(a, a @ x, least, most, np.ones(3))
    assert np.all((least <= inside) & (inside <= most))
    # no step within the bounds makes the sum of squares less
    best = np.sum((a @ inside - a @ x) ** 2)
    for step in np.concatenate([np.eye(3), -np.eye(3)]) * 0.05:
        near = np.clip(inside + step, least, most)
        assert np.sum((a @ near - a @ x) ** 2) >= best - 1e-9


def test_prices_are_found_and_what_they_do_not_explain_counts_little() -> None:
    rng = np.random.default_rng(4)
    true = {"library": 210.0, "calls": 6.0, "arguments": 1.0, "arrays": 8.0}
    rows = [
        {"library": 1.0, **{k: float(rng.integers(1, 40)) for k in true if k != "library"}}
        for _ in range(60)
    ]
    rest = np.array([sum(true[k] * n for k, n in r.items()) for r in rows])
    total = rest + 2000
    found = dict(zip(PRICES, solve(rows, rest, total), strict=True))
    assert {k: found[k] for k in true} == pytest.approx(true, rel=0.1)
    rest[::10] += 1500  # decoders that were written into their callers
    found = dict(zip(PRICES, solve(rows, rest, total), strict=True))
    assert {k: found[k] for k in ("calls", "arrays")} == pytest.approx(
        {k: true[k] for k in ("calls", "arrays")}, rel=0.25
    )
    for name, price in PRICES.items():
        assert price.least <= found[name] <= price.most
