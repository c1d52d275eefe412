"""Bit planes: packed tensors and the kernels on them give the reference's bytes."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from secateur import cores
from secateur.codegen import packing
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder, window_shape
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph, QPack
from secateur.lowering.quantize import lower
from secateur.targets import tools
from tests.strategies import random_inputs, random_weights

from . import run_c

SLOW = settings(
    max_examples=5, deadline=None, phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
LEVELS = {
    "sign": ([-1.0, 1.0], [2.0]),
    "even1": ([0.0, 0.7], [0.7]),
    "even2": ([0.0, 0.5, 1.0, 1.5], [0.5, 1.0]),
    "even4": ([0.2 * i for i in range(16)], [0.2, 0.4, 0.8, 1.6]),
    "learned": ([0.0, 0.41, 1.03, 1.44], [0.41, 1.03]),
}


class Maker:
    """A float graph of low-bit activations and layers with few weight planes."""

    def __init__(self, seed: int, shape: tuple[int, ...]) -> None:
        self.rng = np.random.default_rng(seed)
        self.b = Builder("low")
        self.top = self.b.add_input("x", shape)
        self.count = 0

    def _name(self, op: str) -> str:
        self.count += 1
        return f"{op}{self.count}"

    def act(self, kind: str) -> Maker:
        """A low-bit activation."""
        values, basis = (np.array(v) for v in LEVELS[kind])
        thresholds = np.zeros(1) if kind == "sign" else (values[1:] + values[:-1]) / 2
        levels = {"levels": (values, thresholds, basis)}
        shape = self.b.shape(self.top)
        self.top = self.b.emit("quant_activation", self._name("act"), [self.top], shape, levels)
        return self

    def norm(self) -> Maker:
        """Batch norm that brings sums to about -1 .. 2, some channels turned round."""
        c = self.b.shape(self.top)[-1]
        size = self.rng.uniform(0.05, 0.4, c) * self.rng.choice([1, 1, 1, -1], c)
        params = {"scale": size, "shift": self.rng.normal(0.5, 0.5, c)}
        shape = self.b.shape(self.top)
        self.top = self.b.emit("batch_norm", self._name("norm"), [self.top], shape, {}, params)
        return self

    def conv(
        self,
        co: int,
        k: tuple[int, int],
        kind: str,
        strides: tuple[int, int] = (1, 1),
        pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    ) -> Maker:
        """A convolution."""
        h, w, ci = self.b.shape(self.top)
        params = {"kernel": random_weights(self.rng, kind, (*k, ci, co))}
        shape = (*window_shape((h, w), k, strides, pads), co)
        attrs = {"strides": strides, "pads": pads}
        name = self._name("conv")
        self.top = self.b.emit("conv2d", name, [self.top], shape, attrs, params)
        return self

    def dense(self, n: int, kind: str) -> Maker:
        """A fully connected layer."""
        shape = self.b.shape(self.top)
        if len(shape) == 3:
            flat = (int(np.prod(shape)),)
            self.top = self.b.emit("flatten", self._name("flat"), [self.top], flat)
        size = self.b.shape(self.top)[0]
        params = {"kernel": random_weights(self.rng, kind, (size, n))}
        self.top = self.b.emit("dense", self._name("dense"), [self.top], (n,), {}, params)
        return self

    def max_pool(self) -> Maker:
        """2x2, stride 2."""
        h, w, c = self.b.shape(self.top)
        attrs = {"window": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)}
        name = self._name("pool")
        self.top = self.b.emit("max_pool", name, [self.top], (h // 2, w // 2, c), attrs)
        return self

    def finish(self) -> Graph:
        """The graph."""
        return self.b.finish(self.top)


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small layers run on bit planes too."""
    monkeypatch.setattr(packing, "_pays", lambda *_: True)


def check(graphs: list[Graph], where: str, n: int = 3) -> list[QGraph]:
    """Packed and as bytes, each gives the reference's bytes."""
    plans, inputs, wanted, made = [], [], [], []
    for i, graph in enumerate(graphs):
        x = random_inputs(graph, 8, i)
        q = lower(graph, x)
        codes = reference.quantize_input(q, x[:n])
        expected = reference.run(q, codes).reshape(n, -1)
        packed = packing.pack(q)
        np.testing.assert_array_equal(reference.run(packed, codes).reshape(n, -1), expected)
        plans.append(run_c.plan(packed, f"m{i}"))
        made.append(packed)
        inputs.append(codes)
        wanted.append(expected)
    with tempfile.TemporaryDirectory() as tmp:
        if where == "host":
            got = run_c.on_host(plans, inputs, Path(tmp))
        else:
            if why := tools.missing(cores.get(where).compiler):
                pytest.skip(why)
            got = run_c.on_core(where, plans, inputs, Path(tmp))
    for p, y, want in zip(plans, got, wanted, strict=True):
        names = [(x.kernel, x.encoding) for x in p.layers.values()]
        np.testing.assert_array_equal(y, want, err_msg=f"{p.library.name}: {names}")
    return made


@st.composite
def low_bit_graphs(draw: st.DrawFn) -> Graph:
    """An activation, then one to three layers of few planes."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    kinds = st.sampled_from(["binary", "binary", "ternary", "basis"])
    acts = st.sampled_from(list(LEVELS))
    sides = st.sampled_from([1, 2, 3, 5, 6, 8, 11])
    channels = st.sampled_from([1, 3, 8, 32, 33, 64, 70])
    m = Maker(number(0, 2**32 - 1), (draw(sides), draw(st.sampled_from([1, 3, 7, 8, 32, 40])),
                                     draw(channels)))  # fmt: skip
    m.act(draw(acts))
    for _ in range(number(1, 3)):
        h, w, _ = m.b.shape(m.top)
        k = (number(1, min(3, h)), number(1, min(3, w))) if draw(st.booleans()) else (1, 1)
        p = [number(0, x // 2) if draw(st.booleans()) else 0 for x in (*k, *k)]
        strides = (number(1, 2), number(1, 3)) if k != (1, 1) else (1, 1)
        m.conv(draw(channels), k, draw(kinds), strides, (p[0], p[1], p[2], p[3]))
        what = draw(st.sampled_from(["act", "act", "act", "norm", "none"]))
        if what != "none":
            m.norm()
        if what == "act":
            m.act(draw(acts))
    if draw(st.booleans()):
        m.dense(number(1, 40), draw(kinds))
        if draw(st.booleans()):
            m.norm().act(draw(acts)).dense(5, draw(kinds))
    return m.finish()


@SLOW
@given(st.lists(low_bit_graphs(), min_size=4, max_size=4))
def test_random_low_bit_graphs_on_the_host(graphs: list[Graph]) -> None:
    check(graphs, "host")


@pytest.mark.parametrize("core", run_c.CORES)
@settings(SLOW, max_examples=1)
@given(graphs=st.lists(low_bit_graphs(), min_size=4, max_size=4))
def test_random_low_bit_graphs_on_cores(core: str, graphs: list[Graph]) -> None:
    check(graphs, core, 2)


def test_every_kind_of_pair_runs_on_planes() -> None:
    graphs = []
    for act in LEVELS:
        for weights in ("binary", "ternary", "basis"):
            if act == "even4" and weights != "binary":
                continue
            m = Maker(len(graphs), (5, 7, 36)).act(act)
            m.conv(40, (1, 1), weights).norm().act(act)
            pads = (0, 0, 0, 0) if act == "sign" else (1, 1, 1, 1)
            m.conv(9, (3, 3), weights, pads=pads).norm().act(act)
            graphs.append(m.dense(33, weights).norm().act(act).dense(4, weights).finish())
    for q in check(graphs, "host", 4):
        kernels = [x.kernel for x in run_c.plan(q, "m").layers.values()]
        assert kernels == ["rescale", "pack", "conv_binary", "conv_binary", *["dense_binary"] * 2]


def test_what_reads_bytes_gets_bytes() -> None:
    m = Maker(5, (6, 6, 20)).act("sign").conv(24, (1, 1), "binary").norm().act("even2")
    q = check([m.max_pool().conv(8, (3, 3), "free").finish()], "host")[0]
    assert [type(op) is QPack for op in q] == [False, True, False, True, False, False]


@pytest.mark.emulator
@pytest.mark.parametrize("channels", [64, 128])
def test_a_binary_pointwise_layer_needs_a_quarter_instruction_a_mac(channels: int) -> None:
    """Counted, table and thresholds included; tiles of 32 pixels are full."""
    from benchmarks.binary import measure

    if why := tools.missing(cores.get("cortex-m4").compiler):
        pytest.skip(why)
    row = measure((8, 16), 1, channels, channels, "sign", "sign")
    assert row.kernel == "conv_binary"
    assert row.per_mac <= 0.25
    assert 8 * row.weight_bytes == channels * channels
