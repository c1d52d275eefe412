"""Recurrent layers: the float operator, the integers, the C on host and cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur import coding
from secateur.codegen.plan import candidates
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder
from secateur.lowering import passes, reference
from secateur.lowering.operators.recurrent import curve
from secateur.lowering.qgraph import QGraph, QSums
from secateur.lowering.quantize import lower
from tests.codegen import run_c

from .graphs import layer, recurrent_graphs


def integers(graph: Graph, x: np.ndarray) -> QGraph:
    return passes.run(passes.INTEGER, lower(graph, x))


def net(cell: str, units: int = 16, size: int = 12, turns: int = 20, **attrs: object) -> Graph:
    rng = np.random.default_rng(5)
    b = Builder("net")
    x = b.add_input("x", (turns, size))
    kernel, recurrent = attrs.pop("kernel", "free"), attrs.pop("recurrent", "free")
    y = layer(b, rng, x, "layer", cell, units, (str(kernel), str(recurrent)), **attrs)
    return b.finish(y)


def data(graph: Graph, n: int = 16, scale: float = 1.0) -> np.ndarray:
    shape = graph.node(graph.input).shape
    return np.random.default_rng(1).normal(0, scale, (n, *shape)).astype(np.float32)


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(drawn=st.lists(recurrent_graphs(), min_size=4, max_size=4))
def test_random_graphs_agree_on_host(
    drawn: list[tuple[Graph, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    graphs = [integers(g, x) for g, x in drawn]
    plans = [run_c.plan(q, f"net{i}", guard=run_c.GUARD) for i, q in enumerate(graphs)]
    codes = [reference.quantize_input(q, x[:3]) for q, (_, x) in zip(graphs, drawn, strict=True)]
    expected = [reference.run(q, c).reshape(3, -1) for q, c in zip(graphs, codes, strict=True)]
    folder = tmp_path_factory.mktemp("host")
    for got, want in zip(run_c.on_host(plans, codes, folder, guard=True), expected, strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("core", run_c.CORES)
def test_cores_agree(core: str, tmp_path: Path) -> None:
    cells = [
        ("lstm", {}), ("gru", {"sequence": False}), ("gru", {"reset_after": False}),
        ("rnn", {"function": ("relu", ()), "reverse": True}), ("lstm", {"recurrent": "ternary"}),
        ("gru", {"kernel": "sparse", "recurrent": "codebook"}),
    ]  # fmt: skip
    plans, codes, expected = [], [], []
    for i, (cell, attrs) in enumerate(cells):
        graph = net(cell, 6, 5, 4, **attrs)
        x = data(graph, 6)
        q = integers(graph, x)
        plans.append(run_c.plan(q, f"net{i}"))
        codes.append(reference.quantize_input(q, x[:3]))
        expected.append(reference.run(q, codes[-1]).reshape(3, -1))
    got = run_c.on_core(core, plans, codes, tmp_path)
    for one, want in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, want)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_integers_are_near_the_float_layer(cell: str) -> None:
    graph = net(cell, 32, 24, 60)
    x = data(graph, 32)
    q = integers(graph, x)
    got = reference.dequantize_output(q, reference.run(q, reference.quantize_input(q, x)))
    want = execute.run(graph, x).reshape(got.shape)
    step = q.tensors[q.output].scale
    error = np.abs(got - want)
    assert error.mean() < 1.5 * step
    assert np.quantile(error, 0.99) < 8 * step


@pytest.mark.parametrize(
    ("name", "bound"), [("sigmoid", 3.5e-4), ("tanh", 7e-4), ("hard_sigmoid", 1e-4)]
)
def test_curves_keep_their_stated_error(name: str, bound: float) -> None:
    from secateur.frontend.ops.recurrent import evaluate

    c = curve((name, (("offset", 0.5), ("slope", 1 / 6)) if name == "hard_sigmoid" else ()), 11)
    p = np.arange(-40000, 40000)
    real = evaluate((name, ()), (p / 2.0**11).astype(np.float64))
    assert np.abs(c(p) * 2.0 ** (c.extent - 15) - real).max() < bound


def test_every_encoding_of_a_dense_layer_applies() -> None:
    graph = net("lstm", 16, 16, 3, kernel="ternary", recurrent="sparse")
    q = integers(graph, data(graph))
    found = {}
    for op in q.ops:
        if isinstance(op, QSums):
            found[op.name] = {c.encoding for c in candidates(op, q)}
    assert {"dense", "sparse", "ternary", "huffman_ternary"} & found["layer_kernel"] >= {
        "dense", "ternary",
    }  # fmt: skip
    assert {"dense", "sparse"} <= found["layer_recurrent"]


def test_kernels_agree_whatever_the_encoding(tmp_path: Path) -> None:
    plans, codes, expected = [], [], []
    for kind in ("sparse", "ternary", "codebook", "powers", "two"):
        graph = net("gru", 8, 8, 3, kernel=kind, recurrent=kind)
        x = data(graph, 6)
        for e in coding.all_encodings():
            q = integers(graph, x)
            op = next(op for op in q.ops if isinstance(op, QSums))
            if not any(c.encoding == e.name for c in candidates(op, q, only=e.name)):
                continue
            plans.append(run_c.plan(q, f"net{len(plans)}", e.name))
            codes.append(reference.quantize_input(q, x[:2]))
            expected.append(reference.run(q, codes[-1]).reshape(2, -1))
    assert len(plans) > 12
    got = run_c.on_host(plans, codes, tmp_path, flags=["-O1"])
    for one, want in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, want)


def test_a_stateful_layer_needs_streaming() -> None:
    graph = net("lstm", 4, 3, 2, stateful=True)
    with pytest.raises(ModelError, match="streaming=True"):
        lower(graph, data(graph))


def test_gates_that_are_not_bounded_are_refused() -> None:
    graph = net("gru", 4, 3, 2, gate=("relu", ()))
    with pytest.raises(ModelError, match="recurrent_activation"):
        lower(graph, data(graph))
