"""Ternary convolutions that add few bits in bytes: the reference's bytes in every place."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.kernels.depthwise_ternary import Bytes
from secateur.codegen.plan import candidates, make_plan
from secateur.codegen.requant import multiplied
from secateur.lowering import levels, reference
from secateur.lowering.qgraph import QConv, QGraph, Thresholds
from secateur.lowering.requant import requantize

from .qgraphs import Chain, Pads, bounds, codes
from .run_c import same_on_qemu, same_on_vectors
from .test_depthwise import SHAPES
from .test_limits import PLACES, run

FORCE = "ternary/conv_ternary_bytes"
NONE: Pads = (0, 0, 0, 0)
SAME: Pads = (1, 1, 1, 1)


def even(bits: int) -> levels.Levels:
    """Values 0, 1, 2, ..., thresholds half way."""
    values = np.arange(2.0**bits)
    return values, values[1:] - 0.5, 2.0 ** np.arange(bits)


UNEVEN = (np.array([0.0, 5, 7, 12]), np.array([2.0, 6, 9]), np.array([5.0, 7.0]))


def leveled(c: Chain, spec: levels.Levels, gain: float = 3.0) -> Chain:
    """The last convolution's output has the levels of `spec`; `gain`: of its typical sums."""
    op = c.graph.ops[-1]
    assert isinstance(op, QConv)
    x = c.graph.tensors[op.inputs[0]]
    low, high = (b * x.top // 255 for b in bounds(op.weight))
    w = op.weight.reshape(len(op.weight), -1).astype(float)
    m = gain * spec[0][-1] / (x.top * np.sqrt((w**2).sum(axis=1)) + 1)
    m *= c.rng.uniform(0.6, 1.5, len(m)) * c.rng.choice([1, 1, 1, -1], len(m))
    bias = spec[0][-1] * c.rng.uniform(-0.2, 0.7, len(m)) - m * (low + high) / 2
    y = levels.tensor(op.output, c.top.shape, spec)
    op.requant = levels.thresholds(spec, y.planes, m, bias, np.zeros(len(m)), low, high)
    c.graph.tensors[op.output] = c.top = y
    return c


def spread(c: Chain) -> Chain:
    """The last convolution's output has all codes, some sums past either end."""
    op = c.graph.ops[-1]
    assert isinstance(op, QConv)
    low, high = (b * c.graph.tensors[op.inputs[0]].top // 255 for b in bounds(op.weight))
    m = 400 / (high - low + 1) * c.rng.choice([1, 1, -1], len(low))
    op.requant, _ = requantize(m, 128 - m * (low + high) / 2, 0 * low, low, high, None)
    return c


def thin(c: Chain, co: int, k: tuple[int, int], share: float) -> np.ndarray:
    """Ternary weights: rows without any, of one sign only, full and of share `share`."""
    shape = (co, c.top.shape[0], *k)
    w = c.rng.choice([-1, 1], shape) * (c.rng.random(shape) < share)
    w[0], w[1], w[2] = 0, np.abs(w[1]), -np.abs(w[2])
    w[3, :100], w[4, :100] = 1, -1
    return w.astype(np.int8)


#: image, output channels, kernel, stride, pads, share of weights, bits of the input (0: uneven
#: levels): rows in one part, in several and in both; gathered windows and others; three phases
LAYERS: tuple[
    tuple[tuple[int, int, int], int, tuple[int, int], tuple[int, int], Pads, float, int], ...
] = (
    ((12, 5, 25), 9, (1, 1), (1, 1), NONE, 0.3, 4),
    ((70, 4, 9), 8, (1, 1), (1, 1), NONE, 0.25, 4),
    ((300, 2, 10), 6, (1, 1), (1, 1), NONE, 0.2, 4),
    ((10, 9, 17), 7, (3, 3), (1, 1), SAME, 0.2, 4),
    ((3, 9, 24), 40, (3, 3), (2, 1), SAME, 0.5, 4),
    ((6, 12, 50), 6, (2, 4), (3, 3), (1, 2, 0, 1), 0.4, 4),
    ((40, 3, 16), 30, (1, 1), (1, 1), NONE, 0.1, 0),
    ((16, 6, 6), 25, (1, 1), (1, 1), NONE, 0.1, 2),
)


def layers(last: int) -> list[QGraph]:
    """Each shape behind a layer that writes few bits; the layer writes `last` bits."""
    out = []
    for i, (shape, co, k, stride, pads, share, bits) in enumerate(LAYERS):
        c = Chain("b", (5, *shape[1:]), seed=i, zero=(0, 77)[i % 2])
        leveled(c.conv(shape[0], (1, 1), "ternary"), even(bits) if bits else UNEVEN)
        c.conv(co, k, "", stride, pads, weight=thin(c, co, k, share), zero=9)
        out.append((spread(c) if last == 8 else leveled(c, even(last))).graph)
    return out


@pytest.mark.parametrize("optimize", ["latency", "flash"])
@pytest.mark.parametrize("last", [4, 8])
@pytest.mark.parametrize("place", PLACES)
def test_bytes_are_added(place: str, last: int, optimize: str, tmp_path: Path) -> None:
    graphs = layers(last)
    for g in graphs:
        assert make_plan(g, {"conv1": FORCE}).layers["conv1"].kernel == "conv_ternary_bytes"
    inputs = [codes(g, 4) for g in graphs]
    for g, x in zip(graphs, inputs, strict=True):
        assert np.unique(reference.run(g, x)).size > 3
    run(graphs, inputs, place, tmp_path, {"conv1": FORCE}, optimize)


def depthwise_layers() -> list[QGraph]:
    """Shapes of `test_depthwise` behind a layer of four bits, or of two for many taps: taps of one
    sign, of both, as many as a byte holds, none."""
    out = []
    for i, (image, k, stride, pads) in enumerate(SHAPES):
        c = Chain("d", (5, *image), seed=i, zero=(0, 77)[i % 2])
        leveled(c.conv(9, (1, 1), "ternary"), even(4 if k[0] * k[1] <= 9 else 2))
        w = (c.rng.integers(-1, 2, (9, 1, *k)) * (c.rng.random((9, 1, *k)) < 0.7)).astype(np.int8)
        w[0], w[1], w[2] = 0, 1, -1
        w[3], w[3, 0, 0, 0], w[4], w[4, 0, -1, -1] = 1, -1, -1, 1
        c.conv(9, k, "", stride, pads, depthwise=True, weight=w)
        out.append(leveled(c, even(4)).graph if i % 2 else spread(c).graph)
    return out


@pytest.mark.parametrize("optimize", ["latency", "flash"])
@pytest.mark.parametrize("place", PLACES)
def test_depthwise_taps_are_added_in_bytes(place: str, optimize: str, tmp_path: Path) -> None:
    graphs, force = depthwise_layers(), {"conv1": "ternary/depthwise_ternary"}
    for g in graphs:
        assert "_bytes(const uint8_t *plane" in make_plan(g, force).library.files["src/d.c"]
    run(graphs, [codes(g, 4) for g in graphs], place, tmp_path, force, optimize)


@pytest.mark.emulator
def test_depthwise_taps_are_added_in_bytes_on_a_cortex_m55(tmp_path: Path) -> None:
    """Sixteen columns at a time."""
    force = {"conv1": "ternary/depthwise_ternary"}
    texts = same_on_qemu(depthwise_layers(), force, tmp_path)
    assert all("sc_byte_codes(" in text for text in texts)


def test_depthwise_sums_that_leave_a_byte_take_lanes() -> None:
    """Eighteen taps of fifteen; nine of each sign."""
    for taps, fits in ((np.ones((1, 17)), True), (np.ones((1, 18)), False)):
        assert bool(Bytes.of(taps.astype(np.int8), 15)) == fits
    both = np.array([[1] * 8 + [-1] * 9])
    assert Bytes.of(both, 15) == Bytes(135)
    assert Bytes.of(np.array([[1] * 9 + [-1] * 9]), 15) is None
    # the most that any channel takes off is in every channel with both signs
    assert Bytes.of(np.array([[1, *[-1] * 8], [*[1] * 8, -1]]), 15) == Bytes(120)


@pytest.mark.emulator
@pytest.mark.parametrize("which", [0, 1, 3])
def test_bytes_are_added_on_a_cortex_m55(which: int, tmp_path: Path) -> None:
    graph = layers(4)[which]
    plan = make_plan(graph, {"conv1": FORCE}, "latency")
    same_on_vectors(plan, graph, codes(graph, 4), tmp_path)


@pytest.mark.parametrize("place", PLACES)
def test_a_byte_holds_seventeen_columns_of_fifteen(place: str, tmp_path: Path) -> None:
    """All inputs at 15 or 0: 255 from the begin of a lane to its end, both ways."""
    graphs, inputs = [], []
    for columns in (17, 18, 34, 35):
        c = Chain("ends", (2, 4, 8), zero=0)
        first = np.zeros((2 * columns, 2, 1, 1), np.int8)
        first[:columns, 0], first[columns:, 1] = 1, 1
        # 15 wherever an input is above 14, else that
        leveled(c.conv(2 * columns, (1, 1), "", weight=first), even(4))
        op = c.graph.ops[-1]
        assert isinstance(op, QConv)
        t = np.tile(np.arange(1, 16, dtype=np.int32), (2 * columns, 1))
        op.requant = levels.thresholds(
            even(4), (1, 2, 4, 8), np.ones(2 * columns), np.zeros(2 * columns),
            np.zeros(2 * columns), np.zeros(2 * columns, int), np.full(2 * columns, 255),
        )  # fmt: skip
        assert np.array_equal(op.requant.values, t)
        w = np.zeros((6, 2 * columns, 1, 1), np.int8)
        w[0, :columns], w[1, :columns], w[2, columns:], w[3, columns:] = 1, -1, 1, -1
        w[4, ::2], w[5, 1::2] = 1, -1
        w[4, 1], w[5, 0] = -1, 1
        spread(c.conv(6, (1, 1), "", weight=w))
        x = codes(c.graph, 4)
        x[2, ..., 0], x[2, ..., 1], x[3, ..., 0], x[3, ..., 1] = 127, -128, -128, 127
        graphs.append(c.graph)
        inputs.append(x)
    run(graphs, inputs, place, tmp_path, {"conv1": FORCE})


def test_what_does_not_fit_bytes_is_refused() -> None:
    """Codes of eight bits, a residual, tiles of fewer pixels than sixteen."""
    for bits, image, residual in ((8, (4, 9), None), (4, (1, 7), None), (4, (4, 9), "x")):
        c = Chain("r", (8, *image), zero=0)
        c.conv(8, (1, 1), "ternary")
        if bits < 8:
            leveled(c, even(bits))
        c.conv(8, (1, 1), "ternary", residual=residual)
        found = {o.kernel.name for o in candidates(c.graph.ops[1], c.graph)}
        assert "conv_ternary_bytes" not in found
        assert "conv_ternary" in found


def test_few_bits_are_chosen_by_their_price() -> None:
    """A layer of four bits is made in bytes when time counts, of eight bits as ever."""
    c = Chain("choice", (8, 5, 25), zero=0)
    leveled(c.conv(64, (1, 1), "int8"), even(4))
    c.conv(64, (1, 1), "", weight=thin(c, 64, (1, 1), 0.2))
    c.conv(64, (1, 1), "", weight=thin(c, 64, (1, 1), 0.2))
    kernels = make_plan(c.graph, None, "latency").layers
    assert kernels["conv1"].kernel == "conv_ternary_bytes"
    assert kernels["conv2"].kernel == "conv_ternary_mirror"


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m55"])
def test_codes_of_a_line_come_straight_from_the_tile(core: str) -> None:
    """Thresholds that lie on a line are a product, an offset and a shift for wide codes, too."""
    graph = next(g for g in layers(4) if _on_lines(g))
    forced = dict.fromkeys((op.name for op in graph), "ternary/conv_ternary")
    plan = make_plan(graph, forced, "latency", core=core)
    names = {f.name for its in plan.library.functions for f in its}
    assert any(n.startswith("ternary_tile") for n in names), names
    assert not any(n.startswith("ternary_row") for n in names), names


def _on_lines(graph: QGraph) -> bool:
    """Whether thresholds of all layers do."""
    rs = [op.requant for op in graph.ops if isinstance(op, QConv)]
    return any(isinstance(r, Thresholds) for r in rs) and all(multiplied(r) for r in rs)


def test_a_line_gives_the_thresholds_codes() -> None:
    """Every accumulator of a range, slopes from flat to several codes a step."""
    rng = np.random.default_rng(3)
    found = 0
    for bits in (2, 4):
        for slope in (0.01, 0.2, 1.0, 3.0):
            n = 20
            low, high = -rng.integers(10, 400, n), rng.integers(10, 400, n)
            m = slope * rng.uniform(0.5, 2, n) * rng.choice([-1, 1], n)
            m[0] = 0
            bias = rng.uniform(-3, 12, n)
            spec = even(bits)
            r = levels.thresholds(spec, (1, 2, 4, 8)[:bits], m, bias, np.zeros(n), low, high)
            if r.line is None:
                continue
            found += 1
            for i in range(n):
                acc = np.arange(low[i], high[i] + 1)[None, None]
                alone = replace(
                    r, values=r.values[i : i + 1], flip=r.flip[i : i + 1], line=None
                )  # fmt: skip
                line = (acc * int(r.line.multiplier[i]) + int(r.line.offset[i])) >> r.line.shift
                np.testing.assert_array_equal(
                    np.clip(line, 0, 2**bits - 1), reference.requantize(acc, alone)
                )
    assert found >= 6
