"""The operator registry, graphs of several inputs and outputs, and what verify() catches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import DataError, ModelError
from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph, Node, macs, verify
from secateur.frontend.ops import OPS
from secateur.frontend.ops.activation import FUNCTIONS, erf
from secateur.lowering.quantize import lower
from secateur.lowering.registry import obstacles

RNG = np.random.default_rng(0)


def _run(b: Builder, out: str, x: np.ndarray) -> np.ndarray:
    g = b.finish(out)
    verify(g)
    return execute.run(g, x)


def test_every_operator_is_documented_and_declared_once() -> None:
    for op in OPS.values():
        assert op.doc, op.name
        assert op.dtype in ("float32", "int32", "same", "attr")
    assert not {"input", "conv2d", "dense", "add"} - set(OPS)


def test_several_inputs_and_outputs_by_name_and_in_order() -> None:
    b = Builder("two")
    image, vector = b.add_input("image", (2, 3, 4)), b.add_input("vector", (4,))
    y = b.arithmetic("mul", "scale", image, vector)
    g = b.finish([y, b.reduce("sum", "total", y, [0, 1, 2], keep=False)])
    verify(g)
    x = [RNG.normal(size=(5, 2, 3, 4)).astype("f4"), RNG.normal(size=(5, 4)).astype("f4")]
    want = x[0] * x[1][:, None, None]
    for given in (x, dict(zip(("vector", "image"), x[::-1], strict=True))):
        first, second = execute.run_outputs(g, given, batch=2)
        np.testing.assert_allclose(first, want, rtol=1e-6)
        np.testing.assert_allclose(second[:, 0], want.sum(axis=(1, 2, 3)), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="2 inputs"):
        _ = g.input
    with pytest.raises(DataError, match=r"2 inputs.*'image'.*'vector'"):
        execute.run_outputs(g, x[0])
    with pytest.raises(DataError, match="lack 'vector'"):
        execute.run_outputs(g, {"image": x[0]})
    with pytest.raises(DataError, match="number of samples"):
        execute.run_outputs(g, [x[0], x[1][:3]])


def test_equal_parameters_are_one_array() -> None:
    b = Builder("shared")
    x = b.add_input("x", (4,))
    kernel = RNG.normal(size=(4, 4)).astype("f4")
    y = b.emit("dense", "a", [x], None, {}, {"kernel": kernel})
    y = b.emit("dense", "b", [y], None, {}, {"kernel": kernel.copy()})
    first, second = b.finish(y).nodes[1:]
    assert first.params["kernel"] is second.params["kernel"]


def test_constants_are_folded_and_short_forms_taken() -> None:
    b = Builder("constants")
    x = b.add_input("x", (2, 3, 4))
    row = np.arange(1, 5, dtype=np.float32)
    y = b.arithmetic("mul", "half", x, np.float32(0.5).reshape(()))
    y = b.arithmetic("add", "channels", y, row)
    y = b.arithmetic("sub", "turned", np.float32(1).reshape(()), y)
    y = b.arithmetic("maximum", "floor", y, np.float32(-3).reshape(()))
    table = RNG.normal(size=(2, 3, 4)).astype("f4")
    moved = b.arithmetic("add", "moved", b.constant("table", table), b.constant("one", row))
    y = b.arithmetic("add", "positions", y, moved)
    g = b.finish(y)
    verify(g)
    assert [n.op for n in g] == ["input", "batch_norm", "batch_norm", "batch_norm", "activation",
                                 "constant", "add"]  # fmt: skip
    v = RNG.normal(size=(3, 2, 3, 4)).astype("f4")
    want = np.maximum(1 - (v * 0.5 + row), -3) + table + row
    np.testing.assert_allclose(execute.run(g, v), want, rtol=1e-5, atol=1e-6)


def test_sequences_are_carried_as_images_of_height_one() -> None:
    b = Builder("sequence")
    x = b.add_input("x", (5, 3))
    assert (b.shape(x), b.nominal(x), b.axis(x, 0), b.axis(x, -1)) == ((1, 5, 3), (5, 3), 1, 2)
    t = b.transpose("t", x, (1, 0))
    assert (b.shape(t), b.nominal(t)) == ((1, 3, 5), (3, 5))
    s = b.softmax("s", t, 0)
    m = b.reduce("max", "m", s, [1], keep=False)
    assert b.nominal(m) == (3,)
    v = RNG.normal(size=(2, 5, 3)).astype("f4")
    e = np.exp(v.swapaxes(1, 2))
    np.testing.assert_allclose(
        _run(b, m, v), (e / e.sum(axis=1, keepdims=True)).max(axis=2), rtol=1e-5
    )


def test_gathered_rows_and_class_indices_are_integers() -> None:
    b = Builder("ids")
    ids = b.add_input("ids", (3,), dtype="int32")
    table = RNG.normal(size=(10, 4)).astype("f4")
    e = b.emit("embedding", "e", [ids], None, {}, {"table": table})
    out = b.without(b.emit("arg_max", "best", [e], None, {"axis": 2}), 2)
    g = b.finish(out)
    verify(g)
    assert g.dtype(g.input) == g.dtype(g.output) == "int32"
    assert g.node(e).shape == (1, 3, 4)
    got = execute.run(g, np.array([[1, 2, 9], [0, 0, 5]]))
    assert got.dtype == np.int32
    want = table[[[1, 2, 9], [0, 0, 5]]].argmax(-1)
    np.testing.assert_array_equal(got.reshape(2, 3), want)
    with pytest.raises(DataError, match="no whole number"):
        execute.run(g, np.array([[1, 2, 0.5]]))


def test_a_grouped_dilated_convolution_is_that_of_its_groups() -> None:
    x = RNG.normal(size=(2, 9, 8, 4)).astype("f4")
    kernel = RNG.normal(size=(3, 2, 2, 6)).astype("f4")
    attrs = {"strides": (2, 1), "pads": (1, 0, 2, 1), "dilations": (2, 3), "groups": 2}
    b = Builder("groups")
    y = b.emit("conv2d", "c", [b.add_input("x", (9, 8, 4))], None, attrs, {"kernel": kernel})
    got = _run(b, y, x)
    plain = {**attrs, "groups": 1}
    halves = []
    for g in (0, 1):
        b = Builder("half")
        part = {"kernel": kernel[..., 3 * g : 3 * g + 3]}
        y = b.emit("conv2d", "c", [b.add_input("x", (9, 8, 2))], None, plain, part)
        halves.append(_run(b, y, x[..., 2 * g : 2 * g + 2]))
    np.testing.assert_allclose(got, np.concatenate(halves, -1), rtol=1e-5, atol=1e-6)
    assert macs(b.finish(y))[y] == int(np.prod(got.shape[1:3])) * part["kernel"].size


def test_the_error_function() -> None:
    import math

    x = np.linspace(-7, 7, 10001)
    np.testing.assert_allclose(erf(x), [math.erf(v) for v in x], atol=6e-8)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_keep_float32_and_their_bounds(name: str) -> None:
    b = Builder("f")
    out = b.activation("f", b.add_input("x", (1000,)), name)
    y = _run(b, out, np.linspace(0.01, 0.99, 1000, dtype="f4")[None])
    f = FUNCTIONS[name]
    assert y.dtype == np.float32
    assert np.isfinite(y).all() or name == "arccosh"
    assert f.low is None or y.min() >= f.low
    assert f.high is None or y.max() <= f.high


def _node(op: str, inputs: tuple[str, ...], shape: tuple[int, ...], **rest: Any) -> Node:
    return Node(op, "y", inputs, "y", shape, rest.get("attrs", {}), rest.get("params", {}))


X = Node("input", "x", (), "x", (2, 2, 1))


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (_node("relu", ("z",), (2, 2, 1)), "nothing before it makes"),
        (_node("relu", ("x",), (2, 1, 2)), "says shape"),
        (_node("relu", ("x",), (2, 2, 1), attrs={"colour": 1}), "colour"),
        (_node("concat", ("x",), (2, 2, 1)), "lacks the attribute 'axis'"),
        (_node("dense", ("x",), (2, 2, 1)), "lacks the parameter 'kernel'"),
        (_node("add", ("x",), (2, 2, 1)), "1 operands"),
        (_node("reshape", ("x",), (2, 2), attrs={"shape": (2, 2)}), "rank 2"),
        (_node("activation", ("x",), (2, 2, 1), attrs={"function": "magic"}), "magic"),
    ],
)
def test_verify_names_what_is_wrong(node: Node, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verify(Graph("g", [X, node], ("x",), ("y",)))


def test_what_has_no_integer_form_is_listed_whole() -> None:
    b = Builder("float")
    x = b.add_input("x", (4, 4, 2))
    attrs = {"window": (2, 2), "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (2, 2)}
    y = b.emit("max_pool", "wide", [x], None, attrs)
    y = b.emit("reduce", "product", [y], None, {"function": "prod", "axes": (0,)})
    y = b.emit("cast", "odd", [y], None, {"dtype": "int32", "shown": "int(x)"})
    g = b.finish([y])
    sentences = [o.sentence for o in obstacles(g)]
    assert len(sentences) == 3
    for s, part in zip(sentences, ("wide", "product", "'int(x)' (odd)"), strict=True):
        assert part in s
        assert ";" in s
    with pytest.raises(ModelError, match=r"wide.*2 more"):
        lower(g, np.zeros((1, 4, 4, 2), np.float32))
