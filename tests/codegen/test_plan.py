"""The planner: never slower than dense when speed counts, never larger when flash does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur import cores
from secateur.codegen import choose
from secateur.codegen.choose import (
    ALIKE_BYTES,
    LEAST_SAVED,
    YIELDED_CYCLES,
    Option,
    PlanSearch,
    ternary_kept,
)
from secateur.codegen.kernels.base import COMPACT
from secateur.codegen.optimize import MAX_SLOWDOWN, WEIGHTS
from secateur.codegen.plan import Budget, Plan, candidates, make_plan
from secateur.errors import BudgetError, ModelError
from secateur.lowering import reference
from secateur.lowering.qgraph import QConv, QGraph, QTensor, Requant

from . import run_c
from .qgraphs import Chain, codes


def _graph(density: float, ternary: bool, n: int = 32) -> QGraph:
    rng = np.random.default_rng(round(1000 * density))
    shape = (n, n, 1, 1)
    w = rng.choice([-1, 1], shape) if ternary else rng.integers(1, 128, shape)
    w = (w * (rng.random(w.shape) < density)).astype(np.int8)
    requant = Requant(np.full(n, 500, np.int16), np.full(n, 1 << 15, np.int32), 16, 7)
    tensors = {t: QTensor(t, (n, 8, 8), 0.1, 0) for t in ("x", "y")}
    return QGraph("p", [QConv("c", ("x",), "y", w, requant)], tensors, "x", "y")


def _depthwise(density: float, ternary: bool, stride: int) -> QGraph:
    graph = _graph(density, ternary, 24)
    (op,) = graph.ops
    assert isinstance(op, QConv)
    op.weight = np.ascontiguousarray(op.weight.reshape(-1)[: 24 * 9].reshape(24, 1, 3, 3))
    op.groups, op.pads, op.stride = 24, (1, 1, 1, 1), (stride, stride)
    side = 8 // stride
    graph.tensors["y"] = QTensor("y", (24, side, side), 0.1, 0)
    return graph


@pytest.mark.parametrize("ternary", [True, False])
@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "depthwise_strided"])
def test_no_choice_is_worse_than_dense(kind: str, density: float, ternary: bool) -> None:
    graph = _graph(density, ternary)
    if kind != "conv":
        graph = _depthwise(density, ternary, 1 + (kind != "depthwise"))
    (op,) = graph.ops
    for core in ("cortex-m0plus", "cortex-m4", "cortex-m55", "rv32imac"):
        fast, fast_dense = (make_plan(graph, e, "latency", core=core) for e in (None, "dense"))
        assert fast.cycles <= cores.get(core).alike[0] * fast_dense.cycles
        small, small_dense = (make_plan(graph, e, "flash", core=core) for e in (None, "dense"))
        if ternary:  # no more than two bits a weight unless that is faster
            kept = ternary_kept(candidates(op, graph, core), op.weight.size)
            layer = small.layers["c"]
            assert (layer.kernel, layer.encoding) in {(c.kernel.name, c.encoding) for c in kept}
        else:
            assert small.flash <= 1.1 * small_dense.flash  # whole images count: code, too


@pytest.mark.parametrize("core", ["cortex-m4", "rv32imac"])
def test_each_optimize_gets_what_it_promises(core: str) -> None:
    """By the planner's own estimates, for three layers that could share a decoder."""
    graph = _graph(0.2, ternary=True, n=64)
    plans = {o: make_plan(graph, optimize=o, core=core) for o in WEIGHTS}
    fastest = min(p.cycles for p in plans.values())
    smallest = min(p.flash for p in plans.values())
    assert plans["latency"].cycles <= cores.get(core).alike[0] * fastest
    assert plans["energy"].cycles == plans["latency"].cycles
    assert plans["flash"].flash <= max(ALIKE_BYTES * smallest, smallest + LEAST_SAVED)
    bounded = make_plan(graph, optimize="flash", core=core, max_slowdown=1.0)
    assert bounded.cycles <= 1.15 * fastest
    for optimize, plan in plans.items():
        assert optimize not in plan.others
        for other in set(WEIGHTS) - {optimize, *plan.others}:  # the same plan
            assert plans[other].flash == plan.flash
            assert plans[other].cycles == plan.cycles
    with pytest.raises(ModelError, match="max_slowdown is"):
        make_plan(graph, max_slowdown=0.5)


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "rv32imac"])
def test_no_plan_offered_takes_fewer_instructions_than_the_fastest(core: str) -> None:
    """Fewest cycles are not fewest instructions where a load takes two cycles: the fastest plan is
    ahead of the others in both, by estimate, and gives up few cycles for it."""
    for sizes in ((10, 32, 16, 4), (24, 48, 5)):
        c = Chain("net", (sizes[0],), 7)
        for n in sizes[1:]:
            c.dense(n, "int8")
        plans = {o: make_plan(c.graph, optimize=o, core=core) for o in WEIGHTS}
        fast = plans["latency"]
        assert (
            fast.cycles <= YIELDED_CYCLES * make_plan(c.graph, "dense", "latency", core=core).cycles
        )
        for plan in plans.values():
            assert fast.cycles <= cores.get(core).alike[0] * plan.cycles
            assert fast.instructions <= plan.instructions


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "rv32imac"])
def test_a_budget_may_be_kept_written_for_speed_and_compiled_for_size(
    core: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    chain = Chain("net", (32, 16, 16), 3).conv(32, (1, 1), "ternary").conv(8, (3, 3), "ternary")
    graph = chain.dense(12, "ternary").graph
    roomy = Budget(flash=1 << 20)
    monkeypatch.setattr(choose, "WAYS_WITHIN", (COMPACT,))
    made = make_plan(graph, optimize="latency", budget=roomy, core=core)
    assert made.library.small
    assert made.weight == COMPACT
    forms = [f.form(cores.get(core).isa) for of_layer in made.library.functions for f in of_layer]
    assert not any("_small" in text for text in forms)
    x = codes(graph, 3)
    (y,) = run_c.on_core(core, [made], [x], tmp_path)
    np.testing.assert_array_equal(y, reference.run(graph, x).reshape(len(x), -1))


def sparse_ternary(rng: np.random.Generator, n: int) -> np.ndarray:
    """int8 [n, n, 1, 1] of -1, 0, 1, a fifth of them present."""
    signs = rng.integers(0, 2, (n, n, 1, 1)) * 2 - 1
    return (signs * (rng.random(signs.shape) < 0.2)).astype(np.int8)


def test_budgets() -> None:
    graph = _graph(0.2, ternary=True, n=128)
    fast = make_plan(graph, optimize="latency")
    small = make_plan(graph, optimize="flash")
    assert small.flash < fast.flash
    limit = (small.flash + fast.flash) // 2
    assert make_plan(graph, optimize="latency", budget=Budget(flash=limit)).flash <= limit
    with pytest.raises(BudgetError, match=r"'p' keeps the budget for flash: .* of 100 bytes"):
        make_plan(graph, budget=Budget(flash=100))
    with pytest.raises(BudgetError, match="budget for ram"):
        make_plan(graph, budget=Budget(ram=64))
    with pytest.raises(BudgetError, match="budget for latency"):
        make_plan(graph, budget=Budget(latency_ms=1e-6, clock_hz=1_000_000))
    with pytest.raises(ModelError, match="choose one of latency"):
        make_plan(graph, optimize="speed")


def ways(plan: Plan) -> tuple[tuple[str, str], ...]:
    """How each layer is executed."""
    return tuple((p.kernel, p.encoding) for p in plan.layers.values())


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_a_budget_is_used_up(core: str) -> None:
    """Layer by layer, though no weight of bytes against cycles picks a mixture."""
    c = Chain("net", (64, 12, 12), 7)
    for _ in range(4):
        c.conv(64, (1, 1), "", weight=sparse_ternary(c.rng, 64))
    fast, small = (make_plan(c.graph, optimize=o, core=core) for o in ("latency", "flash"))
    assert small.flash < fast.flash
    last = fast.cycles
    between = set()
    for part in (0.75, 0.5, 0.25):
        limit = round(small.flash + part * (fast.flash - small.flash))
        plan = make_plan(c.graph, optimize="latency", budget=Budget(flash=limit), core=core)
        assert plan.flash <= limit
        assert last <= plan.cycles <= small.cycles
        last = plan.cycles
        between.add(ways(plan))
    assert between - {ways(fast), ways(small)}


@pytest.mark.parametrize("kind", ["int8", "sparse", "ternary", "levels"])
@pytest.mark.parametrize("network", ["har", "autoencoder"])
def test_flash_is_bounded_in_time(network: str, kind: str) -> None:
    """A 1-D CNN over three axes, which was 135 times slower for flash, and an autoencoder."""
    if network == "har":
        c = Chain("har", (3, 1, 64), 5)
        c.conv(16, (1, 5), kind).max_pool((1, 2), (1, 2), (0, 0, 0, 0))
        c.conv(24, (1, 5), kind).max_pool((1, 2), (1, 2), (0, 0, 0, 0)).dense(32, kind)
        c.dense(6, kind)
    else:
        c = Chain("ae", (64,), 7).dense(32, kind).dense(8, kind).dense(32, kind).dense(64, kind)
    fast, small, strict = (
        make_plan(c.graph, optimize=o, max_slowdown=m)
        for o, m in (("latency", MAX_SLOWDOWN), ("flash", MAX_SLOWDOWN), ("flash", 2.0))
    )
    assert small.cycles <= MAX_SLOWDOWN * fast.cycles
    assert strict.cycles <= 2.0 * fast.cycles
    assert small.flash <= strict.flash * ALIKE_BYTES
    assert small.flash <= fast.flash


def _search(front: list[tuple[float, float, float]], core: str = "cortex-m4") -> PlanSearch:
    """One that has found choices of so many (bytes, cycles, instructions)."""
    search = PlanSearch.__new__(PlanSearch)
    search.alike = cores.get(core).alike
    search.__dict__["front"] = [Option({}, 0.0, *figures) for figures in front]
    return search


@pytest.mark.parametrize(("core", "fastest"), [("cortex-m4", 1000), ("cortex-m0plus", 1040)])
def test_what_is_alike_says_the_core(core: str, fastest: int) -> None:
    """The smaller of what its prices cannot tell apart is taken."""
    search = _search([(8000, 1000, 700), (7000, 1040, 705), (4000, 2000, 1400)], core)
    assert search.best(0.0, 8.0).cycles == fastest
    assert search.best(1.0, 8.0).cycles == 2000


def test_none_beside_the_fastest_executes_fewer() -> None:
    """Where the fastest by cycles would give up too many of them to be it by instructions, too."""
    front = [(6600, 1000, 800), (6000, 1100, 790), (5500, 1400, 1100), (5000, 1500, 780)]
    search = _search(front)
    assert [search.best(w, 8.0).cycles for w in (0.0, 1.0)] == [1000, 1400]
    few = _search([(6600, 1000, 800), (5000, 1070, 790)])
    assert few.best(0.0, 8.0).cycles == 1070


def test_few_bytes_of_a_small_image_cost_no_time() -> None:
    assert _search([(1390, 600, 600), (1334, 1500, 1500)]).best(1.0, 8.0).cycles == 600
    assert _search([(1390, 600, 600), (1270, 1500, 1500)]).best(1.0, 8.0).cycles == 1500


@pytest.mark.parametrize(("cycles", "chosen"), [(1080, 1000), (1050, 1050)])
def test_balanced_is_the_fastest_of_what_estimates_cannot_tell_apart(
    cycles: int, chosen: int
) -> None:
    search = _search([(11_000, 1000, 1000), (10_000, cycles, cycles), (8000, 2000, 2000)])
    assert search.best(0.5, 8.0).cycles == chosen
    assert [o.cycles for o in search.ranked(0.5, 8.0)].count(chosen) == 1
    assert search.best(0.0, 8.0).cycles == 1000
    assert search.best(1.0, 8.0).cycles == 2000


def test_balanced_executes_least_of_what_cycles_do_not_tell_apart() -> None:
    """LeNet-5 on a Cortex-M7 was compiled for size for 43 bytes and a few cycles, by estimate."""
    search = _search([(10_043, 1003, 900), (10_000, 1000, 950), (7000, 3000, 3000)])
    assert search.best(0.5, 8.0).instructions == 900
    apart = _search([(10_043, 1040, 900), (10_000, 1000, 950), (7000, 3000, 3000)])
    assert apart.best(0.5, 8.0).instructions == 950


def test_the_smallest_is_bounded_in_instructions_too() -> None:
    """With straight rows on RV32IMAC one plan was 8 times slower by cycles, 12 by instructions."""
    search = _search([(50_000, 1000, 500), (7000, 1200, 900), (5700, 7700, 6000)])
    assert search.best(1.0, 8.0).bytes == 7000
    assert search.best(1.0, 12.0).bytes == 5700


def test_balanced_compares_what_fits_a_budget() -> None:
    """The best plan of all does not, and hid that two of the others are as good."""
    front = [(10_800, 1000, 1000), (9600, 1200, 1200), (8550, 1346, 1346), (5000, 9000, 9000)]
    search = _search(front)
    search.most = 10_000
    fitting = [o for o in search.ranked(0.5, 16.0) if o.bytes <= 10_000]
    assert fitting[0].cycles == 1200
