"""Every integer operator: near the float graph, and the same bytes in C on host and cores."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from secateur import cores
from secateur.codegen.ends import Ends, ends, joined, split
from secateur.codegen.plan import Plan
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph
from secateur.frontend.ops import OPS
from secateur.frontend.ops.activation import FUNCTIONS
from secateur.lowering import reference as ref
from secateur.lowering.quantize import lower
from secateur.targets import tools

from . import run_c
from .operator_graphs import DOMAINS, Make, graphs_of_operators, within
from .qgraphs import Chain, codes

RNG = np.random.default_rng(7)


def one(op: str, **attrs: Any) -> Make:
    """A graph of one operator on (5, 6, 4)."""
    return lambda b, x: b.emit(op, "y", [x], None, attrs)


def weighted(op: str, kernel: tuple[int, ...], **attrs: Any) -> Make:
    params = {"kernel": RNG.normal(0, 0.5, kernel).astype(np.float32)}
    if "pads" not in attrs and op != "dense":
        attrs["pads"] = (0, 0, 0, 0)
    if op != "dense":
        attrs.setdefault("strides", (1, 1))
    return lambda b, x: b.emit(op, "y", [x], None, attrs, params)


def norm(op: str, size: tuple[int, ...], **attrs: Any) -> Make:
    params = {
        "scale": RNG.normal(1, 0.3, size).astype(np.float32),
        "shift": RNG.normal(0, 0.3, size).astype(np.float32),
    }
    params = {} if op == "l2_norm" else params
    return lambda b, x: b.emit(op, "y", [x], None, attrs, params)


def constant(op: str, shape: tuple[int, ...], first: bool = False) -> Make:
    """Arithmetic with a constant of a shape."""
    value = RNG.uniform(0.5, 2, shape).astype(np.float32)

    def make(b: Builder, x: str) -> str:
        c = b.emit("constant", "c", [], value.shape, {}, {"value": value})
        return b.emit(op, "y", [c, x] if first else [x, c])

    return make


def squeeze_and_excite(b: Builder, x: str) -> str:
    h, w, c = b.shape(x)
    rng = np.random.default_rng(c)
    attrs = {"window": (h, w), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    s = b.emit("avg_pool", "squeeze", [x], None, attrs)
    kernel = rng.normal(0, 1, (c, c)).astype(np.float32)
    s = b.emit("dense", "excite", [s], None, {}, {"kernel": kernel})
    s = b.emit("activation", "gate", [s], None, {"function": "sigmoid"})
    return b.emit("mul", "y", [x, s])


def attention(b: Builder, x: str) -> str:
    h, w, c = b.shape(x)
    q = b.emit("transpose", "q", [x], None, {"perm": (1, 0, 2)})
    q = b.emit("reshape", "qs", [q], None, {"shape": (2, h * w // 2, c)})
    k = b.emit("reshape", "ks", [x], None, {"shape": (2, h * w // 2, c)})
    s = b.emit("matmul", "scores", [q, k], None, {"transpose_b": True})
    s = b.emit("softmax", "weights", [s], None, {"axis": -1})
    return b.emit("matmul", "y", [s, k], None, {})


def join_on(axis: int) -> Make:
    def make(b: Builder, x: str) -> str:
        other = b.emit("activation", "other", [x], None, {"function": "tanh"})
        both = b.emit("concat", "both", [x, other, x], None, {"axis": axis})
        h, w, c = b.shape(both)
        attrs = {"begin": (0, 1, 1), "size": (h, w - 1, c - 1), "strides": (1, 1, 1)}
        return b.emit("slice", "y", [both], None, attrs)

    return make


def rows_of_a_table(b: Builder, x: str) -> str:
    """Embedding of an arg_max."""
    h, w, c = b.shape(x)
    at = b.emit("arg_max", "at", [x], None, {"axis": 2})
    table = np.random.default_rng(c).normal(0, 1, (c, 3)).astype(np.float32)
    at = b.emit("reshape", "ids", [at], None, {"shape": (h * w,)})
    return b.emit("embedding", "y", [at], None, {}, {"table": table})


def dense_on(*shape: int) -> Make:
    """Dense on the last axis of a tensor of that shape."""

    def make(b: Builder, x: str) -> str:
        return weighted("dense", (shape[-1], 3))(
            b, b.emit("reshape", "r", [x], None, {"shape": shape})
        )

    return make


CASES: dict[str, Make] = {
    **{f"activation {f}": within(f, *DOMAINS[f]) if f in DOMAINS else one("activation", function=f)
       for f in FUNCTIONS},
    "embedding": rows_of_a_table,
    "prelu": lambda b, x: b.emit(
        "prelu", "y", [x], None, {}, {"alpha": np.array([0.1, 0.9, 0.4, 0], np.float32)}),
    "fake_quant": one("fake_quant", scale=0.03, zero_point=5, low=-128, high=127),
    "softmax last": one("softmax", axis=-1),
    "softmax rows": one("softmax", axis=1),
    "log_softmax": one("log_softmax", axis=-1),
    "transpose": one("transpose", perm=(2, 0, 1)),
    "slice": one("slice", begin=(4, 1, 0), size=(3, 2, 4), strides=(-2, 3, 1)),
    "tile": one("tile", repeats=(1, 2, 3)),
    "gather": one("gather", axis=2, indices=(3, 0, 0)),
    "pad constant": one("pad", pads=((1, 2), (0, 1), (2, 0)), value=1.5),
    "pad reflect": one("pad", pads=((1, 2), (0, 1), (0, 0)), mode="reflect"),
    "depth_to_space": one("depth_to_space", block=2),
    "resize nearest": one("resize", size=(10, 12), grid="asymmetric"),
    "resize bilinear": one("resize", size=(9, 13), mode="bilinear"),
    "mean": one("reduce", function="mean", axes=(0, 2)),
    "sum": one("reduce", function="sum", axes=(1,)),
    "max": one("reduce", function="max", axes=(0, 1)),
    "min": one("reduce", function="min", axes=(2,)),
    "top_k": one("top_k", axis=1, k=3),
    "layer_norm": norm("layer_norm", (4,), axes=(2,), epsilon=1e-3),
    "layer_norm all": norm("layer_norm", (5, 6, 4), axes=(0, 1, 2), epsilon=1e-3),
    "rms_norm": norm("rms_norm", (4,), axes=(2,), epsilon=1e-6),
    "group_norm": norm("group_norm", (4,), groups=2, epsilon=1e-3),
    "l2_norm": norm("l2_norm", (), axes=(2,)),
    "dense on images": weighted("dense", (4, 7)),
    "dense on rows": dense_on(4, 30),
    "dense on four axes": dense_on(4, 5, 3, 2),
    "dilated": weighted("conv2d", (2, 3, 4, 5), dilations=(3, 2)),
    "grouped": weighted("conv2d", (3, 3, 2, 6), groups=2, pads=(1, 1, 1, 1)),
    "depth multiplier": weighted("depthwise_conv2d", (3, 3, 4, 2), pads=(1, 1, 1, 1)),
    "grouped one by one": weighted("conv2d", (3, 3, 1, 8), groups=4),
    "transposed": weighted("conv2d_transpose", (3, 3, 5, 4), strides=(2, 2)),
    "transposed same": weighted(
        "conv2d_transpose", (4, 4, 3, 4), strides=(2, 2), pads=(1, 1, 1, 1)),
    "transposed gaps": weighted("conv2d_transpose", (2, 2, 3, 4), strides=(3, 2)),
    "transposed plain": weighted("conv2d_transpose", (3, 2, 3, 4), pads=(1, 0, 1, 1)),
    "transposed groups": weighted("conv2d_transpose", (3, 3, 2, 4), strides=(2, 1), groups=2),
    **{f"{op} scalar": constant(op, (1,)) for op in ("add", "sub", "mul", "maximum", "div")},
    "scalar first": constant("sub", (1,), first=True),
    **{f"{op} rows": constant(op, (6, 1)) for op in ("add", "sub", "mul", "minimum", "div")},
    "mul columns": constant("mul", (5, 1, 1)),
    "squeeze and excite": squeeze_and_excite,
    "attention": attention,
    **{f"concat {axis}": join_on(axis) for axis in range(3)},
}  # fmt: skip


def made(name: str) -> Graph:
    b = Builder(name)
    return b.finish(CASES[name](b, b.add_input("x", (5, 6, 4))))


def samples(n: int = 32) -> np.ndarray:
    """The same for every test, whichever ran before it."""
    return np.random.default_rng(7).normal(0, 1, (n, 5, 6, 4)).astype(np.float32)


#: Codes that rounding may cost: several operators behind each other, or steep ones.
LOOSE = {"attention": 12.0, "squeeze and excite": 4.0, "softmax last": 10.0, "softmax rows": 10.0,
         "log_softmax": 4.0, "activation cosh": 4.0, "l2_norm": 14.0, "layer_norm": 14.0,
         "rms_norm": 14.0}  # fmt: skip
STEPS = {"floor", "ceil", "round", "signum", "hard_shrink", "threshold_relu", "fake_quant",
         "embedding"}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_near_the_float_graph(name: str) -> None:
    graph, x = made(name), samples()
    q = lower(graph, x)
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, x)))
    want = execute.run(graph, x).reshape(got.shape)
    error = np.abs(got - want) / q.tensors[q.output].scale
    if name.removeprefix("activation ") in STEPS:  # a step is passed at another code
        assert np.quantile(error, 0.9) <= 1.5
    else:
        assert error.max() <= LOOSE.get(name, 3.0)


def test_the_same_bytes_in_c(tmp_path: Path) -> None:
    plans, inputs, expected = [], [], []
    for i, name in enumerate(CASES):
        q = lower(made(name), samples())
        plans.append(run_c.plan(q, f"g{i}"))
        inputs.append(codes(q, 5, i))
        expected.append(ref.run(q, inputs[-1]).reshape(5, -1))
    for i, name in enumerate(CASES):
        assert plans[i].library.name == f"g{i}", name
    got = run_c.on_host(plans, inputs, tmp_path)
    for name, a, b in zip(CASES, got, expected, strict=True):
        assert np.array_equal(a, b), name


@pytest.mark.emulator
@pytest.mark.parametrize("core", run_c.CORES)
def test_the_same_bytes_on_cores(core: str, tmp_path: Path) -> None:
    plans, inputs, expected = [], [], []
    for i, name in enumerate(CASES):
        q = lower(made(name), samples())
        plans.append(run_c.plan(q, f"g{i}"))
        inputs.append(codes(q, 3, i))
        expected.append(ref.run(q, inputs[-1]).reshape(3, -1))
    got = run_c.on_core(core, plans, inputs, tmp_path)
    for name, a, b in zip(CASES, got, expected, strict=True):
        assert np.array_equal(a, b), name


@pytest.mark.emulator
def test_the_same_bytes_on_helium(tmp_path: Path) -> None:
    """Cortex-M55, which unicorn does not know: QEMU."""
    if why := tools.missing("qemu-system-arm") or tools.missing("arm-none-eabi-gcc"):
        pytest.skip(why)
    plans, inputs, expected, _ = planned([made(name) for name in CASES])
    got = run_c.on_qemu(plans, inputs, tmp_path)
    for name, a, b in zip(CASES, got, expected, strict=True):
        assert np.array_equal(a, b), name


Planned = tuple[list[Plan], list[np.ndarray], list[np.ndarray], list[Ends]]


def planned(graphs: list[Graph]) -> Planned:
    """Plans, inputs in bytes, the reference's outputs in bytes, and what lies where in them."""
    plans, inputs, expected, laid = [], [], [], []
    for i, graph in enumerate(graphs):
        rng = np.random.default_rng(i)
        x = [rng.normal(0, 1, (8, *graph.node(t).shape)).astype(np.float32) for t in graph.inputs]
        q = lower(graph, x)
        ins, outs = ends(q, q.inputs, "input"), ends(q, q.outputs, "output")
        given = [
            rng.integers(-128, 128, (3, *e.shape)).astype(np.int8).reshape(3, *e.shape)
            for e in ins.ends
        ]
        for g in given:
            g[0], g[1] = -128, 127
        want = ref.run(q, given if len(given) > 1 else given[0])
        plans.append(run_c.plan(q, f"r{i}"))
        inputs.append(joined(ins, given))
        expected.append(joined(outs, want if isinstance(want, list) else [want]))
        laid.append(outs)
    return plans, inputs, expected, laid


def test_a_tensor_given_out_twice_has_two_members() -> None:
    """As where an operator between two outputs changes nothing."""
    b = Builder("twice")
    x = b.add_input("x", (5, 6, 4))
    y, z = (b.activation(f, x, f) for f in ("tanh", "mish"))
    graph = b.finish([y, z, z], ["p", "q", "q"])
    same_bytes([graph], run_c.on_host)


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(graphs_of_operators(), min_size=3, max_size=5))
def test_random_graphs_have_the_same_bytes(graphs: list[Graph]) -> None:
    same_bytes(graphs, run_c.on_host)


@pytest.mark.emulator
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(graphs_of_operators(), min_size=4, max_size=6))
@pytest.mark.parametrize("core", [*run_c.CORES, "cortex-m55"])
def test_random_graphs_have_the_same_bytes_on_cores(core: str, graphs: list[Graph]) -> None:
    if core == "cortex-m55" and (why := tools.missing("qemu-system-arm")):
        pytest.skip(why)
    if why := tools.missing(cores.get(core).compiler):
        pytest.skip(why)
    same_bytes(graphs, run_c.on_qemu if core == "cortex-m55" else partial(run_c.on_core, core))


def test_all_operators_are_drawn() -> None:
    """Nothing is executed of `opaque`, and what only streams make keeps a state. (Functions of one
    element are one operator with another table, each of them a case above.)"""
    from benchmarks import random_graphs

    result = json.loads(random_graphs.RESULTS.read_text(encoding="utf-8"))
    assert set(OPS) - set(result["operators"]) == {"opaque", "last_rows", "mean_of_last"}
    assert result["same"] == result["ran"]


def same_bytes(graphs: list[Graph], on: Callable[..., list[np.ndarray]]) -> None:
    """The reference's outputs come from `on`, a function of plans, inputs and a folder."""
    plans, inputs, expected, laid = planned(graphs)
    with tempfile.TemporaryDirectory() as folder:
        got = on(plans, inputs, Path(folder))
    for outs, a, b in zip(laid, got, expected, strict=True):  # padding between is nobody's
        for x, y in zip(split(outs, a), split(outs, b), strict=True):
            assert np.array_equal(x, y)


@pytest.mark.parametrize("kind", ["ternary", "sparse", "two", "powers"])
def test_a_window_written_over_its_input_keeps_the_rows_it_still_needs(
    kind: str, tmp_path: Path
) -> None:
    c = Chain("over", (8, 24, 16), 3).conv(8, (3, 3), kind, pads=(1, 1, 1, 1))
    c.dense(4, "int8")
    plan = run_c.plan(c.graph, f"over_{kind}")
    at = plan.memory.tensors
    assert at["x"] == at[c.graph.ops[0].output], "the convolution overwrites its input"
    x = codes(c.graph, 6)
    (got,) = run_c.on_host([plan], [x], tmp_path)
    assert np.array_equal(got, ref.run(c.graph, x).reshape(6, -1))


@pytest.mark.parametrize("kind", ["int8", "sparse"])
def test_a_residual_that_is_read_twice_is_not_overwritten(kind: str, tmp_path: Path) -> None:
    """Tiles at the edge of 9 x 11 positions are computed twice, from the residual each time."""
    c = Chain("edge", (6, 9, 11), 3).conv(12, (1, 1), kind)
    c.conv(6, (3, 3), kind, pads=(1, 1, 1, 1), residual="x").dense(4, "int8")
    plan = run_c.plan(c.graph, f"edge_{kind}")
    x = codes(c.graph, 6)
    (got,) = run_c.on_host([plan], [x], tmp_path)
    assert np.array_equal(got, ref.run(c.graph, x).reshape(6, -1))


def ends_graph() -> Graph:
    """Two inputs, one of them indices, and three outputs, one of them an index."""
    b, rng = Builder("ends"), np.random.default_rng(3)
    x = b.add_input("image in", (4, 5, 3))
    ids = b.add_input("ids", (6,), dtype="int32")
    table = {"table": rng.normal(0, 1, (9, 4)).astype(np.float32)}
    e = b.emit("embedding", "words", [ids], None, {}, table)
    e = b.emit("reduce", "mean", [e], None, {"function": "mean", "axes": (1,)})
    e = b.emit("reshape", "flat", [e], None, {"shape": (4,)})
    kernel = {"kernel": rng.normal(0, 1, (1, 1, 3, 4)).astype(np.float32)}
    attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0)}
    y = b.emit("conv2d", "conv", [x], None, attrs, kernel)
    y = b.emit("mul", "gated", [y, e])
    attrs = {"window": (4, 5), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    z = b.emit("avg_pool", "pool", [y], None, attrs)
    z = b.emit("reshape", "scores", [z], None, {"shape": (4,)})
    best = b.emit("arg_max", "best", [z], None, {"axis": 0})
    return b.finish([y, z, best])


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    graph = ends_graph()
    x = [samples(16)[:, :4, :5, :3], np.random.default_rng(4).integers(-2, 12, (16, 6))]
    q = lower(graph, x)
    q.interface[q.outputs[1]] = "float32"
    given = ref.quantize_input(q, x)
    want = ref.run(q, given)
    assert [w.dtype.name for w in want] == ["int8", "float32", "int32"]
    real = execute.run_outputs(graph, x)
    got = ref.dequantize_output(q, want)
    for a, r, t in zip(got[:2], real[:2], q.outputs[:2], strict=True):
        assert np.abs(a - r.reshape(a.shape)).max() <= 4 * q.tensors[t].scale
    assert np.mean(got[2] == real[2]) > 0.9
    inputs, outputs = ends(q, q.inputs, "input"), ends(q, q.outputs, "output")
    plan = run_c.plan(q, "ends")
    (raw,) = run_c.on_host([plan], [joined(inputs, given)], tmp_path)
    for a, b in zip(split(outputs, raw), want, strict=True):
        assert np.array_equal(a.reshape(b.shape), b)
    header = plan.library.files["src/ends.h"]
    assert "const int32_t *ids; /* 6 */" in header
    assert "const int8_t *image_in; /* 4x5x3 */" in header


def test_bytes_in_and_real_numbers_out(tmp_path: Path) -> None:
    graph = made("resize bilinear")
    graph.node("x").attrs["range"] = (0.0, 255.0)
    x = np.random.default_rng(5).integers(0, 256, (8, 5, 6, 4))
    q = lower(graph, x)
    q.interface = {q.input: "uint8", q.output: "float32"}
    given = ref.quantize_input(q, x)
    assert given.dtype == np.uint8
    assert np.array_equal(given, x)
    plan = run_c.plan(q, "pixels")
    (raw,) = run_c.on_host([plan], [joined(ends(q, q.inputs, "input"), [given])], tmp_path)
    (got,) = split(ends(q, q.outputs, "output"), raw)
    assert np.array_equal(got, ref.run(q, given))


def test_what_leaves_32_bits_is_refused() -> None:
    """Slopes that calibration has not met: no shift keeps their products in int32."""
    b = Builder("steep")
    x = b.add_input("x", (2, 2, 4))
    alpha = {"alpha": np.array([1e9, 0, 0, 1], np.float32)}
    graph = b.finish(b.emit("prelu", "steep", [x], None, {}, alpha))
    with pytest.raises(ModelError, match=r"'steep'.*too different ranges"):
        lower(graph, np.abs(samples(8)[:, :2, :2]))
