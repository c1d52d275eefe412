"""Chains of layers a few rows at a time: the same bytes, in less memory, only where it pays."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from secateur import cores
from secateur.codegen.chain import Chain as Rows
from secateur.codegen.chain import make
from secateur.codegen.chain_plan import COST_SHARE, RAM_WORTH, SAVING
from secateur.codegen.kernels import Kernel, Layer, get
from secateur.codegen.plan import Budget, Plan, make_plan
from secateur.errors import BudgetError, ModelError
from secateur.lowering import reference
from secateur.lowering.operators.table import QTable
from secateur.lowering.qgraph import QAdd, QConv, QGraph, QPad, QPool, QRescale
from secateur.targets import tools

from . import run_c
from .qgraphs import Chain, codes, stacks

SLOW = settings(
    max_examples=4, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip


def chosen(graph: QGraph) -> tuple[dict[str, Layer], dict[str, Kernel]]:
    """The layers and kernels of a plan without chains."""
    plan = make_plan(deepcopy(graph), chains=())
    layers = {op.name: Layer(op, graph, plan.encoded.get(op.name)) for op in graph}
    return layers, {op.name: get(plan.layers[op.name].kernel) for op in graph}


def possible(graph: QGraph) -> list[tuple[str, str, int, int]]:
    """Every chain of the graph's operators, as `make_plan` takes them."""
    layers, kernels = chosen(graph)
    names = [op.name for op in graph]
    found = []
    for a, b in combinations(range(len(names)), 2):
        for rows, most in [(1, 1), (1, 4), (2, 2), (3, 6), (4, 4), (5, 5)]:
            if make(graph, a, b, rows, most, layers, kernels):
                found.append((names[a], names[b], rows, most))
    return found


def check(made: list[tuple[QGraph, Plan]], x: np.ndarray, core: str = "host") -> None:
    plans = [p for _, p in made]
    with tempfile.TemporaryDirectory() as tmp:
        got = run_c.on(core, plans, [x] * len(plans), Path(tmp))
    for (graph, plan), y in zip(made, got, strict=True):
        expected = reference.run(graph, x).reshape(len(x), -1)
        text = [(c.links[0].name, c.name, c.rows, c.start) for c in plan.chains]
        np.testing.assert_array_equal(y, expected, err_msg=f"{text} {plan.layers}")


def chained(
    graph: QGraph, wanted: list[tuple[str, str, int, int]], force: dict[str, str] | None = None
) -> list[tuple[QGraph, Plan]]:
    """The graph planned with each of the chains, each under its own name."""
    made = []
    for i, chain in enumerate(wanted):
        other = deepcopy(graph)
        other.name = f"m{i}"
        made.append((other, make_plan(other, force, chains=[chain])))
    return made


@SLOW
@given(stacks(), st.randoms(use_true_random=False))
def test_chains_give_the_bytes_of_the_reference(graph: QGraph, random: object) -> None:
    every = possible(graph)
    assume(every)
    random.shuffle(every)  # type: ignore[attr-defined]
    check(chained(graph, every[:4]), codes(graph, 3))


def block() -> Chain:
    """A residual block behind a first layer, depthwise and pointwise layers, both poolings."""
    c = Chain("block", (3, 16, 16), seed=3, zero=77)
    c.conv(8, (3, 3), "ternary", pads=(1, 1, 1, 1)).conv(8, (3, 3), "ternary", pads=(1, 1, 1, 1))
    c.conv(8, (3, 3), "sparse", pads=(1, 1, 1, 1), residual="t0", zero=5)
    c.max_pool((3, 3), (2, 2), (0, 0, 1, 1)).conv(8, (3, 3), "int8", depthwise=True, zero=9)
    return c.conv(12, (1, 1), "int8").mean_pool((2, 2), (2, 2), (0, 0, 0, 0))


def lean() -> Chain:
    """Ternary depthwise layers of both strides around a sum of a branch inside, functions of single
    codes, a border in front of a strided convolution and one at the end; odd sides, no zero point
    of 0."""
    c = Chain("lean", (5, 19, 13), seed=6, zero=77)
    c.conv(6, (1, 1), "ternary", zero=3)
    c.conv(0, (3, 3), "ternary", pads=(1, 1, 1, 1), depthwise=True, zero=9)
    c.add("t0", zero=130).look_up(4).rescale(200).pad((3, 1, 2, 0))
    c.conv(0, (5, 3), "ternary", (2, 2), (0, 0, 1, 1), depthwise=True, zero=5)
    c.conv(0, (3, 3), "ternary", pads=(2, 1, 0, 1), depthwise=True, zero=2)
    return c.pad((0, 2, 1, 1)).conv(7, (3, 3), "int8", (2, 2), zero=7).pad((1, 0, 2, 1))


def ternary_filters(
    graph: QGraph, wanted: list[tuple[str, str, int, int]]
) -> list[tuple[QGraph, Plan]]:
    """`chained`, with the kernel of its own for every depthwise layer of ternary weights."""
    force = {
        op.name: "ternary/depthwise_ternary"
        for op in graph
        if isinstance(op, QConv) and op.groups > 1
    }
    return chained(graph, wanted, force)


@pytest.mark.emulator
@pytest.mark.parametrize("place", run_c.PLACES)
def test_chains_go_through_ternary_filters_sums_and_borders(place: str) -> None:
    graph = lean().graph
    every = possible(graph)
    longest = [w for w in every if (w[0], w[1]) == (graph.ops[0].name, graph.ops[-1].name)]
    assert {w[2:] for w in longest} >= {(1, 1), (1, 4)}
    ends = [w for w in every if w[1] in ("pad5", "pad8") or w[0] == "add2"]
    made = ternary_filters(graph, [*longest, *ends[::5]])
    kernels = {p.kernel for p in made[0][1].layers.values()}
    assert kernels >= {"depthwise_ternary", "add", "pad", "table", "rescale"}
    check(made, codes(graph, 3), place)


@pytest.mark.emulator
@pytest.mark.parametrize("rows", [(1, 1), (1, 4), (2, 2), (4, 4)])
def test_such_chains_on_vectors(rows: tuple[int, int], tmp_path: Path) -> None:
    graph = lean().graph
    ((graph, plan),) = ternary_filters(graph, [("conv0", "pad10", *rows)])
    run_c.same_on_vectors(plan, graph, codes(graph, 3), tmp_path)


@pytest.mark.emulator
@pytest.mark.parametrize("core", run_c.CORES)
def test_chains_on_the_cores(core: str) -> None:
    prefix = cores.get(core).architecture.prefix
    if why := tools.missing(prefix + "gcc"):
        pytest.skip(why)
    graph = block().graph
    names = [op.name for op in graph]
    wanted = [(names[0], names[-1], 1, 2), (names[1], names[2], 4, 4), (names[3], names[5], 2, 2)]
    check(chained(graph, wanted), codes(graph, 3), core)


def rows_read(link_op: object, i: int, y: int, height: int) -> range:
    """Rows of operand `i` that row y of the output needs, of those that exist."""
    if i or isinstance(link_op, (QAdd, QRescale, QTable)):
        return range(y, y + 1)
    if isinstance(link_op, QPad):
        top = y - link_op.pads[0]
        return range(max(0, top), min(height, top + 1))
    assert isinstance(link_op, (QConv, QPool))
    size = link_op.weight.shape[2] if isinstance(link_op, QConv) else link_op.window[0]
    top = y * link_op.stride[0] - link_op.pads[0]
    return range(max(0, top), min(height, top + size))


def replay(graph: QGraph, chain: Rows) -> None:
    """The chain's loops as its C has them, on slots that remember which row they hold."""
    height = {
        t: graph.tensors[t].shape[1] for t in graph.tensors if len(graph.tensors[t].shape) == 3
    }
    slots = {t: dict(enumerate(range(height[t]))) for t in chain.inputs}
    slots |= {t: {} for t in chain.rings}
    over = [chain.inputs[k] for k in chain.overwrites]
    gone: dict[str, set[int]] = {t: set() for t in over}
    made = dict.fromkeys((link.name for link in chain.links), 0)
    last = chain.links[-1]
    for step in range(chain.start, height[chain.output], chain.rows):
        for link in chain.links:
            op, s = link.layer.op, link.stripe
            while made[link.name] < min(height[op.output], step * link.pace + link.lead):
                rows = range(made[link.name], made[link.name] + s.rows)
                for y in rows:
                    for i, (t, held) in enumerate(zip(op.inputs, s.held, strict=True)):
                        for r in rows_read(op, i, y, height[t]):
                            assert slots[t][r % held] == r, (link.name, t, r)
                            assert r not in gone.get(t, ()) or link is last, (link.name, t, r)
                assert rows[0] % s.out + s.rows <= s.out
                if link is last:
                    for t in over:
                        gone[t] |= set(rows)
                else:
                    slots[op.output] |= {y % s.out: y for y in rows}
                made[link.name] += s.rows
        assert made[last.name] == max(0, step + chain.rows)
    assert made[last.name] == height[chain.output]
    for link in chain.links:
        assert made[link.name] == link.stripe.calls * link.stripe.rows


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(stacks())
def test_every_row_is_there_when_it_is_read(graph: QGraph) -> None:
    layers, kernels = chosen(graph)
    names = [op.name for op in graph]
    for a, b, rows, most in possible(graph):
        chain = make(graph, names.index(a), names.index(b), rows, most, layers, kernels)
        assert chain is not None
        replay(graph, chain)


def test_a_residual_block_runs_over_its_input() -> None:
    """The block's output lies over its input, and only one ring of rows beside them."""
    graph = block().graph
    layers, kernels = chosen(graph)
    chain = make(graph, 1, 2, 1, 1, layers, kernels)
    assert chain is not None
    assert chain.overwrites == (0,)
    assert list(chain.rings) == ["t1"]
    assert chain.links[0].stripe.out == 3
    strided = Chain("s", (4, 16, 16), seed=4).conv(4, (3, 3), "ternary", (2, 2), (0, 0, 1, 1)).graph
    wider = Chain("w", (4, 8, 8), seed=4).conv(4, (3, 3), "ternary", pads=(2, 1, 2, 1)).graph
    for other, pads in ((strided, (1, 1, 1, 1)), (wider, (0, 1, 0, 1))):
        c = Chain("over", other.tensors["x"].shape, seed=5)
        c.graph.ops, c.graph.tensors = list(other.ops), dict(other.tensors)
        c.top = other.tensors[other.output]
        c.conv(4, (3, 3), "ternary", pads=pads)
        layers, kernels = chosen(c.graph)
        chain = make(c.graph, 0, 1, 1, 1, layers, kernels)
        assert chain is not None
        same = c.top.shape[1:] == c.graph.tensors["x"].shape[1:]
        assert bool(chain.overwrites) == same


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(stacks())
def test_chains_only_where_the_arena_falls(graph: QGraph) -> None:
    """By as much as is worth the code, and at little cost."""
    plain, plan = make_plan(deepcopy(graph), chains=()), make_plan(graph)
    assert plan.memory.lower_bound <= plan.arena
    if plan.chains:
        assert plan.arena <= plain.arena - SAVING
        saved = 1 - plan.arena / plain.arena
        assert plan.cycles <= (1 + max(COST_SHARE, RAM_WORTH * saved)) * plain.cycles
    else:
        assert plan.arena == plain.arena


def test_a_budget_of_ram_is_kept_at_what_it_costs() -> None:
    c = Chain("budget", (1, 32, 32), seed=1, zero=0)
    c.conv(16, (3, 3), "ternary", pads=(1, 1, 1, 1)).max_pool((2, 2), (2, 2), (0, 0, 0, 0))
    graph = c.conv(4, (3, 3), "ternary", (2, 2)).graph
    plain = make_plan(deepcopy(graph), optimize="flash")
    assert not plain.chains  # where flash comes first, code is not spent on RAM unasked
    assert plain.arena > 16 * 32 * 32
    tight = make_plan(deepcopy(graph), optimize="flash", budget=Budget(ram=8000))
    assert tight.chains
    assert tight.arena <= 8000
    assert make_plan(deepcopy(graph), budget=Budget(ram=plain.arena)).arena <= plain.arena
    with pytest.raises(BudgetError, match="ram"):
        make_plan(graph, budget=Budget(ram=1000))


def test_a_budget_of_ram_is_kept_through_ternary_filters_a_sum_and_a_border() -> None:
    c = Chain("through", (2, 32, 32), seed=1, zero=9)
    c.conv(16, (1, 1), "ternary", zero=3)
    c.conv(0, (3, 3), "ternary", pads=(1, 1, 1, 1), depthwise=True, zero=4).add("t0", zero=7)
    graph = c.pad((0, 0, 1, 1)).conv(4, (3, 3), "ternary", (2, 2)).graph
    force = {"conv1": "ternary/depthwise_ternary"}
    assert make_plan(deepcopy(graph), force, chains=()).arena > 2 * 16 * 32 * 32
    plan = make_plan(graph, force, budget=Budget(ram=12_000))
    assert plan.arena <= 12_000
    (chain,) = plan.chains
    assert {"conv1", "add2", "pad3"} <= {link.name for link in chain.links}
    check([(graph, plan)], codes(graph, 3))


def test_the_comment_says_so_and_an_impossible_chain_is_a_clear_mistake() -> None:
    graph = block().graph
    plan = make_plan(graph, chains=[("conv1", "conv2", 2, 2)])
    text = plan.library.files["src/block.c"]
    assert "A chain. Each step makes 2 rows of conv2" in text
    assert "conv1: 8x16x16 -> 8x16x16, " in text
    assert text.count("2 rows a call") == 2
    for wrong in [("conv1", "nowhere", 1, 1), ("conv2", "conv1", 1, 1), ("conv0", "conv1", 1, 1)]:
        with pytest.raises(ModelError, match="as a chain"):
            make_plan(graph, chains=[wrong])
