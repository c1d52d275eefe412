"""16-bit activations: near the float graph, and the same bytes in C on host and cores."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur.codegen.ends import ends, joined, split
from secateur.codegen.plan import Plan, make_plan
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph
from secateur.lowering import passes
from secateur.lowering import reference as ref
from secateur.lowering.qgraph import QGraph
from secateur.lowering.quantize import lower
from secateur.lowering.registry import wide_ops
from secateur.targets import tools

from . import run_c
from .test_operators import CASES, LOOSE, STEPS, Make, made, samples


def residual(b: Builder, x: str) -> str:
    """A convolution that takes a sum in, behind one with a ReLU; then pooling and a Dense."""
    rng = np.random.default_rng(11)

    def conv(name: str, x: str, ci: int, co: int) -> str:
        params = {
            "kernel": rng.normal(0, 0.4, (3, 3, ci, co)).astype(np.float32),
            "bias": rng.normal(0, 0.4, co).astype(np.float32),
        }
        attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1)}
        return b.emit("conv2d", name, [x], None, attrs, params)

    first = b.emit("relu", "first_relu", [conv("first", x, 4, 4)], None, {"max_value": 6.0})
    both = b.emit("add", "both", [conv("second", first, 4, 4), first])
    y = b.emit("relu", "last_relu", [both], None, {"max_value": None})
    pool = {"window": (3, 3), "strides": (2, 2), "pads": (1, 1, 1, 1)}
    y = b.emit("max_pool", "most", [y], None, pool)
    y = b.emit("avg_pool", "mean", [y], None, {**pool, "window": (2, 2)})
    return b.emit("add", "doubled", [y, y])


WIDE: dict[str, Make] = {
    **{n: m for n, m in CASES.items() if all(x.op in wide_ops() for x in made(n).nodes)},
    "residual": residual,
}
#: Weights of eight bits weigh more than activations of sixteen: codes of eight bits.
WEIGHTED = ("dense", "dilated", "grouped", "depth", "transposed", "squeeze", "residual")


def graph_of(name: str) -> Graph:
    b = Builder(name)
    return b.finish(WIDE[name](b, b.add_input("x", (5, 6, 4))))


def wide(graph: Graph, kind: str = "all", n: int = 32) -> QGraph:
    """`graph` with 16 bits in all tensors, or in "inputs" or "outputs" alone."""
    graph.node("x").attrs["activations"] = "int8" if kind == "outputs" else "int16"
    q = lower(
        graph, samples(n), activations="int8" if kind == "inputs" else "int16",
        wide_outputs=False if kind == "inputs" else None,
    )  # fmt: skip
    return passes.run(passes.INTEGER, q)


def given_codes(q: QGraph, n: int, seed: int) -> np.ndarray:
    """Random codes of the model's input, its extremes among them."""
    rng, t = np.random.default_rng(seed), q.tensors[q.input]
    kind = q.interface_dtype(q.input)
    low = t.bottom - (128 if kind == "int8" else 0)
    high = low + t.top - t.bottom
    x = rng.integers(low, high + 1, (n, *q.interface_shape(q.input)))
    x.reshape(-1)[:7] = low
    x.reshape(-1)[7:11] = high
    return x.astype(kind)


def compared(
    graphs: Sequence[QGraph], plans: Sequence[Plan], folder: Path, core: str = "", n: int = 3
) -> None:
    inputs = [given_codes(q, n, i) for i, q in enumerate(graphs)]
    raw = [joined(ends(q, q.inputs, "input"), [x]) for q, x in zip(graphs, inputs, strict=True)]
    got = run_c.on_core(core, plans, raw, folder) if core else run_c.on_host(plans, raw, folder)
    for q, x, r in zip(graphs, inputs, got, strict=True):
        (codes,) = split(ends(q, q.outputs, "output"), r)
        want = ref.run(q, x)
        assert codes.dtype == want.dtype
        assert np.array_equal(codes.reshape(want.shape), want), q.name


@pytest.mark.parametrize("name", WIDE)
def test_near_the_float_graph(name: str) -> None:
    graph, x = graph_of(name), samples()
    want = execute.run(graph, x)
    q = wide(graph)
    assert all(t.wide for t in q.tensors.values() if t.dtype != "int32")
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, x))).reshape(want.shape)
    error = np.abs(got - want) / q.tensors[q.output].scale
    if name == "fake_quant":  # a marker of 8 bits, which 16 leave out
        assert np.abs(got - want).max() <= 0.03
    elif name.removeprefix("activation ") in STEPS:
        assert np.quantile(error, 0.9) <= 1.5
    elif name.startswith(WEIGHTED):  # int8 weights: as near as 8 bits are, or nearer
        assert error.max() <= LOOSE.get(name, 3.0) * 128
    else:
        assert error.max() <= LOOSE.get(name, 6.0)


@pytest.mark.parametrize("kind", ["all", "inputs", "outputs"])
def test_the_same_bytes_in_c(kind: str, tmp_path: Path) -> None:
    graphs = [wide(graph_of(name), kind, 8) for name in WIDE]
    plans = [run_c.plan(q, f"w{i}") for i, q in enumerate(graphs)]
    compared(graphs, plans, tmp_path)


@pytest.mark.emulator
@pytest.mark.parametrize("core", run_c.CORES)
def test_the_same_bytes_on_cores(core: str, tmp_path: Path) -> None:
    kinds = ("all", "inputs", "outputs")
    graphs = [wide(graph_of(n), kinds[i % 3], 8) for i, n in enumerate(WIDE)]
    plans = [run_c.plan(q, f"w{i}") for i, q in enumerate(graphs)]
    compared(graphs, plans, tmp_path, core)


def weighted(encoding: str, seed: int) -> tuple[QGraph, dict[str, str]]:
    """Convolution, depthwise and Dense of few levels, sums beyond 32 bits in the last."""
    rng = np.random.default_rng(seed)
    b = Builder("weighted")
    x = b.add_input("x", (5, 6, 4))
    levels = np.array([-0.5, 0, 0, 0, 0.25, 0.5], np.float32)
    if encoding == "dense":
        levels = np.linspace(-1, 1, 99).astype(np.float32)

    def some(*shape: int) -> dict[str, np.ndarray]:
        return {"kernel": rng.choice(levels, shape)}

    attrs = {"strides": (2, 1), "pads": (1, 0, 1, 1)}
    y = b.emit("conv2d", "conv", [x], None, attrs, some(3, 2, 4, 120))
    y = b.emit("depthwise_conv2d", "planes", [y], None, attrs, some(3, 3, 120, 1))
    y = b.emit("flatten", "flat", [y])
    big = {"kernel": np.where(rng.random((b.shape(y)[0], 3)) < 0.02, -1, 1).astype(np.float32)}
    big["kernel"] *= rng.uniform(0.8, 1, big["kernel"].shape).astype(np.float32)
    graph = b.finish(b.emit("dense", "end", [y], None, {}, big))
    graph.node("x").attrs["activations"] = "int16"
    q = lower(graph, samples(8), activations="int16")
    return q, dict.fromkeys(("conv", "planes", "end"), encoding)


@pytest.mark.parametrize("core", ["", *run_c.CORES])
def test_encodings_and_long_sums(core: str, tmp_path: Path) -> None:
    if core and tools.missing("arm-none-eabi-gcc"):
        pytest.skip("no compiler")
    graphs, plans = [], []
    for i, encoding in enumerate(("dense", "book4", "huffman", "rice")):
        q, encodings = weighted(encoding, i)
        graphs.append(q)
        plans.append(run_c.plan(q, f"e{i}", encodings))
        used = {p.encoding for p in plans[-1].layers.values()} - {""}
        assert used, encoding
    source = plans[0].library.files["src/e0.c"]
    assert "int64_t a = 0" in source
    compared(graphs, plans, tmp_path, core)


@st.composite
def mixed(draw: st.DrawFn) -> QGraph:
    """Two to four operators with 8 or 16 bits each, with branches."""
    b = Builder("random")
    tensors = [b.add_input("x", (5, 6, 4))]
    for _ in range(draw(st.integers(2, 4))):
        x = draw(st.sampled_from(tensors))
        shape = b.shape(x)
        fits = [n for n in WIDE if shape == (5, 6, 4) or n.startswith("activation")]
        y = WIDE[draw(st.sampled_from(fits))](b, x)
        if int(np.prod(b.shape(y))) <= 1000:
            tensors.append(y)
    same = [t for t in tensors if b.shape(t) == b.shape(tensors[-1])]
    graph = b.finish(b.emit("add", "end", [tensors[-1], draw(st.sampled_from(same))]))
    for node in graph.nodes:
        node.attrs["activations"] = draw(st.sampled_from(["int8", "int16", "int16"]))
    return passes.run(passes.INTEGER, lower(graph, samples(8)))


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(mixed(), min_size=4, max_size=6))
def test_random_graphs_have_the_same_bytes(graphs: list[QGraph]) -> None:
    plans = [run_c.plan(q, f"r{i}") for i, q in enumerate(graphs)]
    with tempfile.TemporaryDirectory() as folder:
        compared(graphs, plans, Path(folder))


@pytest.mark.emulator
@settings(max_examples=1, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(mixed(), min_size=6, max_size=6))
def test_random_graphs_on_cores(graphs: list[QGraph]) -> None:
    plans = [run_c.plan(q, f"r{i}") for i, q in enumerate(graphs)]
    for core in run_c.CORES:
        with tempfile.TemporaryDirectory() as folder:
            compared(graphs, plans, Path(folder), core, 2)


@pytest.mark.emulator
def test_on_a_core_with_vectors(tmp_path: Path) -> None:
    q = wide(graph_of("residual"))
    run_c.same_on_vectors(make_plan(q), q, given_codes(q, 4, 0), tmp_path)


def test_what_has_no_form_is_named_with_the_way_out() -> None:
    b = Builder("normed")
    x = b.add_input("x", (5, 6, 4))
    y = b.emit("l2_norm", "unit", [x], None, {"axes": (2,)})
    y = b.emit("log_softmax", "shares", [y], None, {"axis": -1})
    graph = b.finish(y)
    with pytest.raises(ModelError, match=r"'unit'.*1 more: shares.*'unit': 'int8'"):
        lower(graph, samples(4), activations="int16")
    q = lower(graph, samples(4), activations={"*": "int16", "unit": "int8", "shares": "int8"})
    assert q.interface_dtype(q.output) == "int8"
    with pytest.raises(ModelError, match="has not: x, unit, shares"):
        lower(graph, samples(4), activations={"head": "int16"})


def test_a_layer_that_moves_elements_cannot_be_asked_for_a_type() -> None:
    b = Builder("moves")
    x = b.add_input("x", (5, 6, 4))
    window = {"window": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    y = b.emit("max_pool", "turn", [x], None, window)
    graph = b.finish(b.emit("activation", "y", [y], None, {"function": "tanh"}))
    with pytest.raises(ModelError, match=r"'turn'.*name the layer before"):
        lower(graph, samples(4), activations={"turn": "int16"})
