"""Transposes cancel, and nothing changes what a graph computes."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph, verify
from secateur.frontend.tidy import tidy

ATTRS = {"strides": (1, 1), "pads": (1, 1, 1, 1)}


def _kernel(rng: np.random.Generator, ci: int, co: int) -> dict[str, np.ndarray]:
    return {"kernel": rng.normal(size=(3, 3, ci, co)).astype("f4") / 3}


def _channels_first(b: Builder, rng: np.random.Generator, t: str, co: int) -> str:
    y = b.transpose("in", t, (1, 2, 0))
    y = b.emit("conv2d", "conv", [y], None, ATTRS, _kernel(rng, b.shape(y)[2], co))
    return b.transpose("out", y, (2, 0, 1))


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Graphs of NCHW habits: convolutions between transposes, and everything in between."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b = Builder("moving")
    t = b.add_input("x", draw(st.sampled_from([(4, 5, 6), (2, 1, 6), (3, 4, 4), (1, 1, 2)])))
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(
            st.sampled_from(
                ["conv", "conv", "unary", "permute", "norm", "pad", "softmax", "slice", "concat",
                 "constant", "gate", "residual", "squeeze", "prelu", "reduce", "matmul", "late"]
            )
        )  # fmt: skip
        shape = b.shape(t)
        if kind == "conv":
            t = _channels_first(b, rng, t, draw(st.sampled_from([shape[0], 4])))
        elif kind == "unary":
            t = b.activation("f", t, draw(st.sampled_from(["tanh", "sigmoid"])))
        elif kind == "permute":
            t = b.transpose("p", t, draw(st.permutations(range(3))))
        elif kind == "norm":
            c = shape[-1]
            t = b.affine("n", t, rng.normal(size=c), rng.normal(size=c))
        elif kind == "pad":
            pads = [(draw(st.integers(0, 2)), draw(st.integers(0, 2))) for _ in range(3)]
            t = b.pad("pad", t, pads)
        elif kind == "softmax":
            t = b.softmax("s", t, draw(st.integers(0, 2)))
        elif kind == "slice":
            t = b.cut("cut", t, (0, 0, 0), [max(n - 1, 1) for n in shape], (1, 1, 1))
        elif kind == "concat":
            t = b.concat("c", [t, b.activation("a", t, "tanh")], draw(st.integers(0, 2)))
        elif kind == "constant":
            where = [draw(st.booleans()) for _ in range(3)]
            value = rng.normal(size=[n if k else 1 for n, k in zip(shape, where, strict=True)])
            t = b.arithmetic(draw(st.sampled_from(["add", "mul", "sub"])), "v", t, value)
        elif kind == "gate":
            g = b.reduce("mean", "g", t, [1, 2], keep=True)
            t = b.arithmetic("mul", "m", t, b.activation("sg", g, "sigmoid"))
        elif kind == "residual":
            t = b.arithmetic("add", "r", _channels_first(b, rng, t, shape[0]), t)
        elif kind == "squeeze":
            y = b.reshape("u", t, (1, *shape))
            t = b.reshape("q", b.activation("w", y, "tanh"), shape)
        elif kind == "prelu":
            params = {"alpha": rng.normal(size=(shape[0], 1, 1)).astype("f4")}
            t = b.emit("prelu", "prelu", [t], None, {}, params)
        elif kind == "reduce":
            t = b.reduce("max", "x", t, [draw(st.integers(0, 2))], keep=True)
        elif kind == "matmul":
            other = b.transpose("k", b.activation("e", t, "tanh"), (0, 2, 1))
            t = b.emit("matmul", "mm", [t, other])
        elif kind == "late":
            t = b.transpose("back", b.activation("l", b.transpose("h", t, (2, 0, 1)), "abs"),
                            (1, 2, 0))  # fmt: skip
    outputs = [t]
    if draw(st.booleans()):
        n = int(np.prod(b.shape(t)))
        flat = b.activation("z", b.reshape("flat", t, (n,)), "tanh")
        kernel = rng.normal(size=(n, 3)).astype("f4")
        outputs.append(b.emit("dense", "fc", [flat], None, {}, {"kernel": kernel}))
    return Graph(b.name, b.nodes, tuple(b.inputs), tuple(outputs))


@settings(max_examples=150, deadline=None)
@given(graphs())
def test_tidying_changes_nothing_that_is_computed(graph: Graph) -> None:
    verify(graph)
    x = np.random.default_rng(0).normal(size=(2, *graph.node(graph.inputs[0]).shape))
    done = tidy(graph)
    verify(done)
    for a, b in zip(execute.run_outputs(graph, x), execute.run_outputs(done, x), strict=True):
        scale = max(1.0, float(np.abs(a).max()))
        np.testing.assert_allclose(b / scale, a / scale, atol=2e-5)


def test_channels_first_lives_at_the_ends_alone() -> None:
    rng = np.random.default_rng(0)
    b = Builder("nchw")
    x = b.add_input("x", (3, 8, 8))
    y = b.activation("a", _channels_first(b, rng, x, 4), "tanh")
    z = _channels_first(b, rng, y, 4)
    y = b.arithmetic("add", "residual", y, z)
    gate = b.reduce("mean", "pool", y, [1, 2], keep=True)
    gate = b.transpose("g1", gate, (1, 2, 0))
    gate = b.emit("conv2d", "gate", [gate], None, {"strides": (1, 1), "pads": (0, 0, 0, 0)},
                  {"kernel": np.ones((1, 1, 4, 4), "f4")})  # fmt: skip
    y = b.arithmetic("mul", "scale", y, b.transpose("g2", gate, (2, 0, 1)))
    y = b.arithmetic("add", "bias", y, np.arange(4.0).reshape(4, 1, 1))
    y = b.concat("both", [y, z], 0)
    n = b.reshape("flat", y, (8 * 8 * 8,))
    kernel = rng.normal(size=(512, 2)).astype("f4")
    g = b.finish(b.emit("dense", "fc", [n], None, {}, {"kernel": kernel}))
    verify(g)
    ops = [n.op for n in g]
    assert ops.count("transpose") == 1
    assert ops[:2] == ["input", "transpose"]
    assert "batch_norm" in ops  # the constant of one value a channel
    assert "constant" not in ops
