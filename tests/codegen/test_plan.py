"""The planner: never slower than dense when speed counts, never larger when flash does."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from secateur.codegen.costs import prices
from secateur.codegen.plan import CODE_NOISE, MAX_SLOWDOWN, Budget, candidates, make_plan
from secateur.errors import BudgetError, ModelError
from secateur.lowering.qgraph import QConv, QGraph, QTensor, Requant

from .qgraphs import Chain


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
@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["conv", "depthwise", "depthwise_strided"])
def test_no_choice_is_worse_than_dense(kind: str, density: float, ternary: bool) -> None:
    graph = _graph(density, ternary)
    if kind != "conv":
        graph = _depthwise(density, ternary, 1 + (kind != "depthwise"))
    (op,) = graph.ops
    for core in prices():
        options = {(c.kernel.name, c.encoding): c for c in candidates(op, graph, core)}
        dense = options["conv_dense" if kind == "conv" else "depthwise", "dense"]
        fast = make_plan(graph, optimize="latency", core=core).layers["c"]
        assert options[fast.kernel, fast.encoding].cycles <= dense.cycles
        small = make_plan(graph, optimize="flash", core=core)  # the image, code included
        plain = make_plan(graph, "dense", optimize="flash", core=core)
        assert small.flash <= CODE_NOISE * plain.flash


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


def _har(kind: str) -> QGraph:
    """A 1-D network on 128 samples of six sensors, as activity recognition uses them."""
    c = Chain("har", (6, 1, 128), 4)
    c.conv(16, (1, 5), kind, (1, 2)).conv(24, (1, 5), kind, (1, 2)).conv(24, (1, 3), kind, (1, 2))
    return c.dense(32, kind).dense(6, kind).graph


def _autoencoder(kind: str) -> QGraph:
    c = Chain("auto", (64,), 5)
    for n in (32, 8, 32, 64):
        c.dense(n, kind)
    return c.graph


@pytest.mark.parametrize("make", [_har, _autoencoder])
@pytest.mark.parametrize("kind", ["int8", "sparse", "ternary", "levels"])
def test_flash_is_the_smallest_image_and_bounded_in_time(
    make: Callable[[str], QGraph], kind: str
) -> None:
    plans = {w: make_plan(make(kind), optimize=w) for w in ("latency", "balanced", "flash")}
    fastest = min(p.cycles for p in plans.values())
    assert plans["flash"].cycles <= MAX_SLOWDOWN * fastest
    for other in ("latency", "balanced"):
        assert plans["flash"].flash <= CODE_NOISE * plans[other].flash


def test_the_bound_on_slowness_is_the_callers() -> None:
    graph = _har("sparse")
    fast = make_plan(graph, optimize="latency")
    strict = make_plan(graph, optimize="flash", max_slowdown=1.0)
    assert strict.cycles <= fast.cycles
    assert make_plan(graph, optimize="flash").flash <= CODE_NOISE * strict.flash
    with pytest.raises(ModelError, match=r"max_slowdown is 0\.5"):
        make_plan(graph, max_slowdown=0.5)
