"""Memory planner: nothing that lives overlaps, little is wasted, overwriting only where legal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.codegen.chain import Chain
from secateur.codegen.kernels import Layer, get
from secateur.codegen.memory import MemoryPlan, Step, plan_memory, steps_of
from secateur.codegen.plan import make_plan
from secateur.lowering.align import align
from secateur.lowering.orient import orient
from secateur.lowering.qgraph import QAdd, QGraph, QOp, QRescale, QTensor, Requant
from secateur.lowering.quantize import lower

from .qgraphs import layer_chains, stacks


def lives(graph: QGraph, steps: Sequence[Step]) -> dict[str, tuple[int, int]]:
    """First and last step of every tensor: 0 is the input's copy, n + 1 the output's."""
    out = {graph.input: (0, 0)}
    for i, step in enumerate(steps):
        for t in step.inputs:
            out[t] = (out[t][0], i + 1)
        out[step.output] = (i + 1, i + 1)
    out[graph.output] = (out[graph.output][0], len(steps) + 1)
    return out


def check(
    graph: QGraph, m: MemoryPlan, scratch: dict[str, int], overwrites: dict[str, tuple[int, ...]],
    chains: Sequence[Chain] = (),
) -> None:  # fmt: skip
    """Everything in the arena; two things overlap only where one may overwrite the other."""
    steps = steps_of(
        graph, lambda op: scratch.get(op.name, 0), lambda op: overwrites.get(op.name, ()), chains
    )
    things: list[tuple[str, int, int, int, int]] = []
    for name, (first, last) in lives(graph, steps).items():
        things.append((name, m.tensors[name], graph.tensors[name].size, first, last))
    for i, step in enumerate(steps):
        if step.scratch:
            offset = m.scratch[step.name]
            things.append((f"scratch:{step.name}", offset, step.scratch, i + 1, i + 1))
    for name, offset, size, _, _ in things:
        assert offset >= 0, name
        assert offset % 4 == 0, name
        assert offset + size <= m.arena, name
    by_output = {step.output: (i + 1, step) for i, step in enumerate(steps)}
    for i, (a, at, size, first, last) in enumerate(things):
        for b, bt, bsize, bfirst, blast in things[:i]:
            apart = at + size <= bt or bt + bsize <= at
            time = max(first, bfirst)
            if apart or time > min(last, blast):
                continue
            # They meet in one step only, where the later one is written over an operand.
            assert time == min(last, blast), (a, b)
            new, old, place, oldplace = (a, b, at, bt) if first >= bfirst else (b, a, bt, at)
            made = by_output.get(new)
            assert made is not None, (a, b)
            assert made[0] == time, (a, b)
            assert old in [made[1].inputs[k] for k in made[1].overwrites], (a, b)
            assert place == oldplace, (a, b)
            assert list(made[1].inputs).count(old) == 1, (a, b)


def planned(graph: QGraph, scratch: dict[str, int], over: dict[str, tuple[int, ...]]) -> MemoryPlan:
    m = plan_memory(graph, lambda op: scratch.get(op.name, 0), lambda op: over.get(op.name, ()))
    check(graph, m, scratch, over)
    return m


@st.composite
def tensor_graphs(
    draw: st.DrawFn,
) -> tuple[QGraph, dict[str, int], dict[str, tuple[int, ...]]]:
    """Graphs whose operators only have names, operands and sizes."""
    size = st.integers(1, 500)
    names = ["x"]
    graph = QGraph("g", [], {"x": QTensor("x", (draw(size),), 1, 0)}, "x", "x")
    scratch: dict[str, int] = {}
    over: dict[str, tuple[int, ...]] = {}
    none = Requant(np.ones(1, np.int16), np.zeros(1, np.int32), 0, 0)
    for i in range(draw(st.integers(1, 12))):
        recent = names[-4:]
        a = draw(st.sampled_from(recent))
        op: QOp
        if draw(st.booleans()):
            b = draw(st.sampled_from(recent))
            op = QAdd(f"op{i}", (a, b), f"t{i}", (1, 1), 0, 0)
        else:
            op = QRescale(f"op{i}", (a,), f"t{i}", none)
        n = draw(size)
        graph.tensors[op.output] = QTensor(op.output, (n,), 1, 0)
        graph.ops.append(op)
        scratch[op.name] = draw(st.sampled_from([0, 0, 1, 64, 333]))
        over[op.name] = draw(st.sampled_from([(), (0,), (1,), (0, 1)]))
        over[op.name] = tuple(k for k in over[op.name] if k < len(op.inputs))
        names.append(op.output)
    graph.output = names[-1]
    return graph, scratch, over


@settings(max_examples=300, deadline=None)
@given(tensor_graphs())
def test_nothing_alive_overlaps(
    made: tuple[QGraph, dict[str, int], dict[str, tuple[int, ...]]],
) -> None:
    m = planned(*made)
    assert m.lower_bound <= m.arena


def test_a_block_grows_when_its_tensor_does() -> None:
    """What a small tensor is written over with later does not take room before."""
    none = Requant(np.ones(1, np.int16), np.zeros(1, np.int32), 0, 0)
    graph = QGraph("g", [], {}, "x", "b")
    for name, size in (("x", 800), ("a", 100), ("b", 900)):
        graph.tensors[name] = QTensor(name, (size,), 1, 0)
    graph.ops = [QRescale("first", ("x",), "a", none), QRescale("second", ("a",), "b", none)]
    m = planned(graph, {}, {"first": (), "second": (0,)})
    assert m.arena == m.lower_bound == 900
    assert m.tensors["a"] == m.tensors["b"]


def test_few_blocks_are_laid_in_every_order() -> None:
    """`b`, which grows over `a`, below; the first scratch over where it will be, `x` behind that.
    Neither large blocks first nor moves of one block find it."""
    none = Requant(np.ones(1, np.int16), np.zeros(1, np.int32), 0, 0)
    graph = QGraph("g", [], {}, "x", "d")
    for name, size in (("x", 720), ("a", 480), ("b", 720), ("c", 840), ("d", 840)):
        graph.tensors[name] = QTensor(name, (size,), 1, 0)
    graph.ops = [
        QRescale("first", ("x",), "a", none), QAdd("second", ("a", "x"), "b", (1, 1), 0, 0),
        QRescale("third", ("b",), "c", none), QRescale("fourth", ("c",), "d", none),
    ]  # fmt: skip
    scratch = {"first": 1584, "second": 1056, "third": 0, "fourth": 0}
    m = planned(graph, scratch, {"first": (), "second": (0,), "third": (), "fourth": (0,)})
    assert m.arena == m.lower_bound == 2784


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(layer_chains() | stacks())
def test_the_kernels_claims_hold_together(graph: QGraph) -> None:
    """With the scratch and the overwriting that the chosen kernels declare, and the rings of
    chains; hardly a byte above the largest live set."""
    plan = make_plan(graph)
    scratch, over = {}, {}
    for op in graph:
        kernel = get(plan.layers[op.name].kernel)
        layer = Layer(op, graph, plan.encoded.get(op.name))
        scratch[op.name], over[op.name] = kernel.scratch(layer), kernel.overwrites(layer)
    check(graph, plan.memory, scratch, over, plan.chains)
    assert plan.arena <= 1.02 * plan.memory.lower_bound


@pytest.mark.train
@pytest.mark.parametrize("name", ["kws", "resnet8", "lenet5", "lenet300"])
@pytest.mark.parametrize("encoding", ["dense", "sparse"])
def test_arena_is_the_lower_bound(name: str, encoding: str) -> None:
    pytest.importorskip("keras")
    from benchmarks import networks

    made = getattr(networks, name)() if name in ("kws", "resnet8") else networks.lenet(name)
    q = align(orient(lower(made.graph, made.inputs[:8])))
    plan = make_plan(q, encoding)
    assert plan.arena <= 1.02 * plan.memory.lower_bound
    assert bool(plan.chains) == (name in ("resnet8", "lenet5"))
    bound = {"kws": 11_410, "resnet8": 27_000, "lenet5": 10_000, "lenet300": 2_000}
    assert plan.arena <= bound[name]
