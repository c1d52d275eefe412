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

from secateur.codegen.chain import Chain as Rows
from secateur.codegen.chain import make
from secateur.codegen.kernels import Kernel, Layer, get
from secateur.codegen.plan import Budget, Plan, make_plan
from secateur.errors import BudgetError, ModelError
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools

from . import run_c
from .qgraphs import Chain, codes

KINDS = ("ternary", "sparse", "int8", "levels", "powers", "two")
SLOW = settings(
    max_examples=12, deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip


@st.composite
def stacks(draw: st.DrawFn) -> QGraph:
    """Two to five convolutions and poolings: windows, strides, paddings and sides of all sorts."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    sides, channels = st.sampled_from([6, 7, 8, 9, 12, 13, 16, 17, 20]), st.integers(1, 6)
    zeros = st.sampled_from([0, 0, 1, 128, 255])
    c = Chain(
        "stack", (draw(channels), draw(sides), draw(sides)), number(0, 2**32 - 1), draw(zeros)
    )
    kind = draw(st.sampled_from(KINDS))
    for _ in range(number(2, 4)):
        _, h, w = c.top.shape
        if min(h, w) < 2:
            break
        what = draw(st.sampled_from(["pointwise", "window", "block", "depthwise", "pool"]))
        zero = draw(zeros)
        k = (number(1, min(5, h)), number(1, min(4, w)))
        stride = (number(1, 3), number(1, 2))
        p = [number(0, n // 2) for n in (*k, *k)] if draw(st.booleans()) else [0] * 4
        pads = (p[0], p[1], p[2], p[3])
        if what == "pointwise":
            c.conv(draw(channels), (1, 1), kind, zero=zero)
        elif what == "block":
            before, same = c.top, (1, 1, 1, 1)
            c.conv(draw(channels), (3, 3), kind, pads=same, zero=zero)
            c.conv(before.shape[0], (3, 3), kind, pads=same, zero=zero, residual=before.name)
        elif what == "pool":
            (c.max_pool if draw(st.booleans()) else c.mean_pool)(k, stride, pads)
        else:
            c.conv(
                draw(channels), k, "int8" if what == "depthwise" else kind, stride, pads, zero=zero,
                depthwise=what == "depthwise",
            )  # fmt: skip
    return c.graph


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
        run = [x] * len(plans)
        if core == "host":
            got = run_c.on_host(plans, run, Path(tmp))
        else:
            got = run_c.on_core(core, plans, run, Path(tmp))
    for (graph, plan), y in zip(made, got, strict=True):
        expected = reference.run(graph, x).reshape(len(x), -1)
        text = [(c.links[0].name, c.name, c.rows, c.start) for c in plan.chains]
        np.testing.assert_array_equal(y, expected, err_msg=f"{text} {plan.layers}")


def chained(graph: QGraph, wanted: list[tuple[str, str, int, int]]) -> list[tuple[QGraph, Plan]]:
    """The graph planned with each of the chains, each under its own name."""
    made = []
    for i, chain in enumerate(wanted):
        other = deepcopy(graph)
        other.name = f"m{i}"
        made.append((other, make_plan(other, chains=[chain])))
    return made


@SLOW
@given(stacks(), st.randoms(use_true_random=False))
def test_chains_give_the_bytes_of_the_reference(graph: QGraph, random: object) -> None:
    every = possible(graph)
    assume(every)
    random.shuffle(every)  # type: ignore[attr-defined]
    check(chained(graph, every[:6]), codes(graph, 3))
