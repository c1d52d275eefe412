"""Networks of a step: at every position what the network of a window computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from benchmarks.streaming import (
    _plan,
    _stretch,
    framed,
    prepare,
    spotter,
    stack,
    tcn,
    wake_word,
)
from benchmarks.streaming import expected as expected_frames
from benchmarks.streaming import prepare as prepared
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import secateur as sc
from secateur.errors import DataError, FileError, ModelError
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder
from secateur.lowering import passes, reference
from secateur.lowering.calibrate import calibrate
from secateur.lowering.lowerer import Lowering
from secateur.lowering.operators.stream import SumRing
from secateur.lowering.qgraph import QGraph
from secateur.lowering.simplify import simplify
from secateur.lowering.streaming import lower_stream
from secateur.lowering.views import place_reshapes
from tests.codegen import run_c

from .graphs import layer


def conv(
    b: Builder, rng: np.random.Generator, t: str, name: str, co: int, k: int, stride: int = 1,
    dilation: int = 1, causal: bool = True,
) -> str:  # fmt: skip
    """A convolution along time with ReLU."""
    ci = b.shape(t)[2]
    before = (k - 1) * dilation if causal else 0
    params = {
        "kernel": rng.normal(0, 0.5, (1, k, ci, co)).astype(np.float32),
        "bias": rng.normal(0, 0.3, co).astype(np.float32),
    }
    attrs = {"strides": (1, stride), "pads": (0, before, 0, 0), "dilations": (1, dilation)}
    y = b.emit("conv2d", name, [t], None, attrs, params)
    return b.emit("relu", f"{name}_relu", [y], None, {"max_value": None})


@st.composite
def causal_graphs(draw: st.DrawFn) -> tuple[Graph, np.ndarray]:
    """Stacks of causal convolutions and recurrent layers over 48 elements of time."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b = Builder("net")
    t = b.add_input("x", (48, draw(st.integers(1, 5))))
    for i in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(("conv", "conv", "strided", "dilated", "lstm", "gru", "add")))
        n = draw(st.integers(1, 6))
        if kind in ("lstm", "gru"):
            t = layer(b, rng, t, f"r{i}", kind, n)
        elif kind == "add":
            c = b.shape(t)[2]
            t = b.emit("add", f"a{i}", [conv(b, rng, t, f"c{i}", c, 3), t])
        else:
            k, stride = draw(st.integers(1, 4)), 2 if kind == "strided" else 1
            d = draw(st.integers(2, 3)) if kind == "dilated" else 1
            t = conv(b, rng, t, f"c{i}", n, k, stride, d)
    x = rng.normal(0, 1, (4, 48, b.shape("x")[2])).astype(np.float32)
    return b.finish(t), x


def window(graph: Graph, x: np.ndarray) -> QGraph:
    simple = simplify(graph)
    return Lowering(place_reshapes(simple), calibrate(simple, x, "minmax")).run()


def streamed(q: QGraph, codes: np.ndarray) -> list[np.ndarray | None]:
    s = reference.Stepper(q, len(codes))
    return [s.step(codes[:, :, t : t + 1]) for t in range(codes.shape[2])]


@settings(
    max_examples=12, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
@given(drawn=causal_graphs())
def test_every_position_is_that_of_the_window(drawn: tuple[Graph, np.ndarray]) -> None:
    graph, x = drawn
    whole, q = window(graph, x), lower_stream(graph, x)
    codes = reference.quantize_input(whole, x)
    want = reference.run(whole, codes)
    got = [y for y in streamed(q, codes) if y is not None]
    assert len(got) == want.shape[2]
    for t, y in enumerate(got):
        np.testing.assert_array_equal(y.reshape(len(x), -1), want[:, 0, t])


def recogniser(causal: bool = True, head: str = "pool") -> Graph:
    rng = np.random.default_rng(2)
    b = Builder("net")
    t = b.add_input("x", (20, 4))
    t = conv(b, rng, t, "c0", 6, 4, 2, causal=causal)
    t = conv(b, rng, t, "c1", 6, 3, causal=causal)
    turns, c = b.nominal(t)
    if head == "pool":
        t = b.reduce("mean", "pool", t, [0], False)
    elif head == "flatten":
        t = b.reshape("flat", t, (turns * c,))
    kernel = rng.normal(0, 1, (b.shape(t)[-1], 3)).astype(np.float32)
    return b.finish(b.emit("dense", "out", [t], None, {}, {"kernel": kernel}))


def sound(n: int = 2, turns: int = 60) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 1, (n, turns, 4)).astype(np.float32)


def test_the_mean_of_an_image_slides() -> None:
    graph = spotter(6, 24, 3, causal=False)
    x = np.random.default_rng(3).normal(0, 1, (3, 80, 10, 1)).astype(np.float32)
    cal = np.concatenate([x[:, i : i + 24] for i in range(0, 50, 5)])
    whole, q = window(graph, cal), lower_stream(graph, cal)
    assert {"sliding_mean", "slide", "append", "keep"} <= {op.kind for op in q}
    codes = np.random.default_rng(4).integers(-128, 128, x.shape).astype(np.int8)
    s, seen = reference.Stepper(q, 3), 0
    for end in range(80):
        y = s.step(codes[:, end : end + 1])
        if y is not None:
            want = reference.run(whole, np.ascontiguousarray(codes[:, end - 23 : end + 1]))
            np.testing.assert_array_equal(y.reshape(3, -1), want)
            seen += 1
    assert seen == (80 - 24) // 2 + 1


@pytest.mark.parametrize(
    "graph", [wake_word(70), tcn(70), stack("gru", 8, 70), stack("lstm", 8, 70)]
)
def test_networks_answer_as_their_windows(graph: Graph) -> None:
    assert len(prepared(graph, 70, True).want) == 70


@pytest.mark.parametrize("core", ["cortex-m0plus", "cortex-m4", "rv32imac"])
def test_a_step_of_the_spotter_takes_three_fifths_of_its_windows_arena(core: str) -> None:
    p = prepare(spotter(), 1, False)
    assert _plan(p.step, core).arena <= 0.6 * _plan(p.window, core).arena


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 257), st.integers(0, 2**32 - 1))
def test_sums_of_rows_are_packed(rows: int, channels: int, elements: int, seed: int) -> None:
    ring = SumRing(rows, channels, elements)
    sums = np.random.default_rng(seed).integers(0, ring.most + 1, (3, channels))
    packed = ring.bytes_of(sums)
    assert packed.shape == (3, ring.row_bytes)
    np.testing.assert_array_equal(ring.row(packed), sums)


@pytest.mark.parametrize("head", ["pool", "flatten"])
def test_a_window_slides(head: str) -> None:
    graph, x = recogniser(False, head), sound()
    cal = np.concatenate([x[:, i : i + 20] for i in range(0, 40, 5)])
    whole, q = window(graph, cal), lower_stream(graph, cal)
    codes = reference.quantize_input(whole, x.reshape(2, 60, 4)[:, :20])
    t = whole.tensors[whole.input]
    codes = np.clip(np.floor(x / t.scale + 0.5) + t.zero_point, 0, 255).astype(np.int16) - 128
    codes = codes.astype(np.int8)[:, None]
    got = streamed(q, codes)
    seen = 0
    for end, y in enumerate(got):
        if y is None:
            continue
        begin = end + 1 - 20 + (20 - 4) % 2
        want = reference.run(whole, np.ascontiguousarray(codes[:, :, begin : begin + 20]))
        np.testing.assert_array_equal(y.reshape(2, -1), want)
        seen += 1
    assert seen == (60 - 20) // 2 + 1


@pytest.mark.parametrize("core", ["", *run_c.CORES])
def test_the_same_bytes_in_c(core: str, tmp_path: Path) -> None:
    graphs = [recogniser(), recogniser(False, "flatten"), recogniser(True, "sequence")]
    rng = np.random.default_rng(4)
    b = Builder("net")
    t = conv(b, rng, b.add_input("x", (20, 4)), "c", 5, 3, dilation=2)
    t = layer(b, rng, layer(b, rng, t, "r0", "gru", 5), "r1", "lstm", 4, sequence=False)
    graphs.append(b.finish(t))
    graphs.append(spotter(6, 13, 3))
    plans, codes, expected = [], [], []
    for i, graph in enumerate(graphs):
        shape = graph.node(graph.input).shape
        axis = 2 if shape[0] == 1 else 1
        x = np.random.default_rng(3).normal(0, 1, (4, *shape)).astype(np.float32)
        q = passes.run(passes.INTEGER, lower_stream(graph, x))
        long = [2, *shape]
        long[axis] = 30
        c = np.random.default_rng(5).integers(-128, 128, long).astype(np.int8)
        plans.append(framed(run_c.plan(q, f"net{i}"), q, 30))
        codes.append(c.reshape(2, -1))
        expected.append(expected_frames(q, c, axis).reshape(2, -1))
    if core:
        got = run_c.on_core(core, plans, codes, tmp_path)
    else:
        got = run_c.on_host(plans, codes, tmp_path)
    for one, want in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, want)


def test_same_padding_is_refused_with_the_way_out() -> None:
    rng = np.random.default_rng(2)
    b = Builder("net")
    x = b.add_input("x", (20, 4))
    kernel = rng.normal(0, 1, (1, 3, 4, 3)).astype(np.float32)
    attrs = {"strides": (1, 1), "pads": (0, 1, 0, 1)}
    graph = b.finish(b.emit("conv2d", "c", [x], None, attrs, {"kernel": kernel}))
    with pytest.raises(ModelError, match="causal=True"):
        lower_stream(graph, sound(2, 20))
    with pytest.warns(UserWarning, match="see the past alone"):
        lower_stream(graph, sound(2, 20), make_causal=True)


def test_convert_says_what_a_step_costs_and_refuses_whole_windows() -> None:
    x = sound(4, 20)
    compiled = sc.convert(recogniser(False, "flatten"), x, name="net", streaming=True)
    assert "a whole window would cost" in compiled.notes[-1]
    assert "kept between steps" in compiled.text()
    header = compiled.plan.library.files["src/net.h"]
    assert "#define NET_WARM_UP 19 " in header
    assert "#define NET_PERIOD 2 " in header
    assert "int net_step_in(" in header
    assert "net_run_in(" not in header
    stream = compiled.stream()
    frames = np.zeros((1, 1, 1, 4), np.int8)
    given = [stream.step(frames) is not None for _ in range(22)]
    assert given == [n >= 19 and n % 2 == 1 for n in range(22)]
    with pytest.raises(DataError, match="stream"):
        compiled.predict(x)
    with pytest.raises(DataError, match="harness runs whole windows"):
        sc.deploy(compiled, "host")
    with pytest.raises(DataError, match="streaming=True"):
        sc.convert(recogniser(False, "flatten"), x, name="net", causal=True)


def test_the_report_has_states_rings_and_both_costs(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    b = Builder("net")
    t = conv(b, rng, b.add_input("x", (20, 4)), "<b>c", 5, 3, dilation=2)
    t = layer(b, rng, t, "r", "lstm", 6)
    compiled = sc.convert(b.finish(t), sound(4, 20), name="net", streaming=True)
    report = compiled.stream_report
    assert report is not None
    assert report.step.arena == compiled.plan.arena
    assert report.window.instructions > 10 * report.step.instructions
    found = {(k.kind, k.shape, k.dtype, k.bytes) for k in report.kept}
    assert {("state", (6,), "uint8", 6), ("state", (6,), "int16", 12)} <= found
    assert any(kind == "rows" for kind, *_ in found)
    assert report.kept_bytes <= compiled.plan.arena
    data = json.loads(report.save(tmp_path / "stream.json").read_text())
    assert data["kept_bytes"] == sum(k["bytes"] for k in data["kept"])
    assert (data["step"]["arena"], data["warm_up"]) == (compiled.plan.arena, 0)
    page = report.save(tmp_path / "stream.html").read_text()
    assert "<b>c" not in page
    assert "States and rings" in page
    assert f"{report.step.instructions:,.0f}" in page
    assert f"{report.window.instructions:,.0f}" in str(report)
    with pytest.raises(DataError, match=r"\.json or \.html"):
        report.save(tmp_path / "stream.txt")
    report.save(tmp_path / "stream.html")  # its own kind is replaced
    (tmp_path / "other.html").write_text("mine")
    with pytest.raises(FileError):
        report.save(tmp_path / "other.html")


_HOPS = """
#include "{name}.h"
int {name}_run_in(void *arena, const int8_t *in, int8_t *out);
int {name}_run_in(void *arena, const int8_t *in, int8_t *out)
{{
    {name}_reset_in(arena);
    for (int i = 0; i < {n}; i++, in += {frame} * {upper}_HOP_FRAMES, out += {size} + 1) {{
        for (int k = 0; k < {size}; k++) {{
            out[k] = 0;
        }}
        out[{size}] = (int8_t){name}_hop_in(arena, in, out);
    }}
    return 0;
}}
"""


@pytest.mark.parametrize("core", ["", "cortex-m4"])
def test_a_hop_is_its_last_answer(core: str, tmp_path: Path) -> None:
    graphs = [(recogniser(), 4), (recogniser(False, "flatten"), 6), (spotter(6, 13, 3), 2)]
    plans, given_codes, expected = [], [], []
    for i, (graph, hop) in enumerate(graphs):
        shape = graph.node(graph.input).shape
        axis = 2 if shape[0] == 1 else 1
        x = np.random.default_rng(3).normal(0, 1, (4, *shape)).astype(np.float32)
        every = passes.run(passes.INTEGER, lower_stream(graph, x))
        q = passes.run(passes.INTEGER, lower_stream(graph, x, hop=hop))
        assert q.step_due is not None
        assert (q.step_due.period, q.hop) == (hop, hop)
        assert sum(d.period == hop for d in q.due.values()) >= 1
        long = [2, *shape]
        long[axis] = 36
        codes = np.random.default_rng(5).integers(-128, 128, long).astype(np.int8)
        single = expected_frames(every, codes, axis)
        some = expected_frames(q, codes, axis)
        answers = [t for t in range(36) if not some[0, t, -1]]
        np.testing.assert_array_equal(some[:, answers], single[:, answers])
        hops = np.zeros((2, 36 // hop, some.shape[2]), np.int8)
        hops[..., -1] = 1
        for t in answers:
            later = single[:, t + 1 : (t // hop + 1) * hop, -1]
            assert later.all(), "an answer that comes later within the hop"
            hops[:, t // hop] = single[:, t]
        assert answers == [t for t in range(36) if q.step_due.at(t)]
        assert len(answers) > 1
        plan = run_c.plan(q, f"net{i}")
        name, (frame, size) = plan.library.name, (q.tensors[t].size for t in (q.input, q.output))
        plan.library.files[f"src/{name}_hops.c"] = _HOPS.format(
            name=name, upper=name.upper(), n=36 // hop, frame=frame, size=size
        )
        _stretch(plan, q, frame * 36, (size + 1) * 36 // hop)
        plans.append(plan)
        given_codes.append(codes.reshape(2, -1))
        expected.append(hops.reshape(2, -1))
    if core:
        got = run_c.on_core(core, plans, given_codes, tmp_path)
    else:
        got = run_c.on_host(plans, given_codes, tmp_path)
    for one, want in zip(got, expected, strict=True):
        np.testing.assert_array_equal(one, want)


def test_a_hop_without_answers_is_refused_with_the_next() -> None:
    with pytest.raises(ModelError, match=r"no multiple of 2.*take 4"):
        lower_stream(recogniser(), sound(4, 20), hop=3)
    with pytest.raises(DataError, match="streaming=True"):
        sc.convert(recogniser(), sound(4, 20), name="net", hop=2)
    with pytest.raises(DataError, match="no number of frames"):
        sc.convert(recogniser(), sound(4, 20), name="net", streaming=True, hop=0)
    compiled = sc.convert(recogniser(), sound(4, 20), name="net", streaming=True, hop=4)
    assert compiled.stream_report is not None
    assert compiled.stream_report.period == 4
    assert "#define NET_HOP_FRAMES 4" in compiled.plan.library.files["src/net.h"]
