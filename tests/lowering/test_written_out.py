"""Normalizations and functions that sources write out become the one operator they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import secateur as sc
from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import Graph, Node, verify
from secateur.frontend.load import load
from secateur.lowering.find_functions import find_functions
from secateur.lowering.find_norms import find_norms
from secateur.lowering.find_softmax import find_softmax
from secateur.lowering.simplify import simplify

keras = pytest.importorskip("keras")
pytestmark = pytest.mark.train
L, K = keras.layers, keras.ops
RNG = np.random.default_rng(0)
X = RNG.normal(0, 1, (24, 6, 8)).astype(np.float32)
GAMMA, BETA = (RNG.normal(1, 0.5, 8).astype(np.float32) for _ in range(2))


def mean(u: Any, axis: Any = -1) -> Any:
    return K.mean(u, axis, keepdims=True)


def folded(u: Any, factor: Any) -> Any:
    return u * factor + (K.negative(mean(u)) * factor + BETA)


def total(u: Any) -> Any:
    return K.sum(K.square(u), -1, keepdims=True)


def between(f: Callable[[Any], Any]) -> Any:
    """`f` between two Dense layers."""
    keras.utils.set_random_seed(0)
    x = keras.Input((6, 8))
    return keras.Model(x, L.Dense(4)(f(L.Dense(8, kernel_initializer="random_normal")(x))))


def ops(graph: Graph) -> list[str]:
    return [str(n.attrs.get("function", n.op)) for n in graph.nodes[2:-1]]


def found(model: Any) -> Graph:
    """The graph behind the float passes, which says what it said before them."""
    graph = load(model)
    simple = simplify(graph)
    verify(simple)
    want = execute.run(graph, X)
    np.testing.assert_allclose(execute.run(simple, X), want, atol=1e-5 * np.abs(want).max())
    return simple


NORMS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "quotient": (
        lambda u: (u - mean(u)) / K.sqrt(K.var(u, -1, keepdims=True) + 1e-5),
        "layer_norm",
    ),
    "negative": (
        lambda u: (mean(u) - u) / K.sqrt(mean(K.square(mean(u) - u)) + 1e-5),
        "layer_norm",
    ),
    "scaled": (
        lambda u: (u - mean(u)) * GAMMA * K.rsqrt(mean((u - mean(u)) ** 2) + 1e-5) + BETA,
        "layer_norm",
    ),
    "mean of squares": (
        lambda u: (u - mean(u)) * K.rsqrt(mean(u * u) - K.square(mean(u)) + 1e-3) * 3.0 + 1.0,
        "layer_norm",
    ),
    "as TensorFlow folds it": (
        lambda u: folded(u, K.rsqrt(K.var(u, -1, keepdims=True) + 1e-3) * GAMMA),
        "layer_norm",
    ),
    "unbiased": (
        lambda u: (u - mean(u)) / K.sqrt(K.sum((u - mean(u)) ** 2, -1, keepdims=True) / 7 + 1e-5),
        "layer_norm",
    ),
    "two axes": (
        lambda u: (u - mean(u, (1, 2))) / K.sqrt(K.var(u, (1, 2), keepdims=True) + 1e-3),
        "layer_norm",
    ),
    "rms": (lambda u: u * K.rsqrt(mean(K.square(u)) + 1e-6) * GAMMA, "rms_norm"),
    "rms of a sum": (lambda u: u / K.sqrt(total(u) + 1e-6), "rms_norm"),
    "l2, the root floored": (lambda u: u / K.maximum(K.sqrt(total(u)), 1e-4), "l2_norm"),
    "l2, the sum floored": (lambda u: u / K.sqrt(K.maximum(total(u), 1e-4)), "l2_norm"),
}


@pytest.mark.parametrize("name", NORMS)
def test_a_normalization_written_out_is_one_operator(name: str) -> None:
    f, op = NORMS[name]
    assert ops(found(between(f))) == [op]


@pytest.mark.parametrize(
    "f",
    [
        lambda u: (u - mean(u)) / (K.sqrt(K.var(u, -1, keepdims=True)) + 1e-5),  # outside the root
        lambda u: (u - 0.5 * mean(u)) / K.sqrt(K.var(u, -1, keepdims=True) + 1e-5),
        lambda u: (u - mean(u)) / K.sqrt(K.var(u, 1, keepdims=True) + 1e-5),  # of other elements
        lambda u: (u - mean(u)) / K.sqrt(mean(u * K.square(u)) ** 2 + 1e-5),
        lambda u: u / K.sqrt(K.square(mean(u))),  # of a spread of nothing
        lambda u: (  # a sum of one number a row is that number
            (u - K.sum(mean(u), -1, keepdims=True) / 8) / K.sqrt(K.var(u, -1, keepdims=True) + 1e-5)
        ),
    ],
)
def test_what_only_resembles_a_normalization_is_left_as_it_is(f: Callable[[Any], Any]) -> None:
    assert not {"layer_norm", "rms_norm", "l2_norm"} & set(ops(found(between(f))))


def test_what_is_added_below_a_root_is_kept_or_nothing_is_found() -> None:
    """A reciprocal root with an epsilon of its own, behind a floor: no norm has both."""
    shape, row = (1, 6, 8), (1, 6, 1)
    graph = Graph(
        "g",
        [
            Node("input", "u", (), "u", shape),
            Node("activation", "square", ("u",), "q", shape, {"function": "square"}),
            Node("reduce", "sum", ("q",), "m", row, {"function": "sum", "axes": (2,)}),
            Node("activation", "floor", ("m",), "f", row,
                 {"function": "clip", "arguments": {"low": 0.5}}),
            Node("activation", "root", ("f",), "r", row,
                 {"function": "rsqrt", "arguments": {"epsilon": 2.0}}),
            Node("mul", "y", ("u", "r"), "y", shape),
        ],
        ("u",), ("y",),
    )  # fmt: skip
    same(graph, X)


def drawn(seed: int) -> Graph:
    """Pieces of normalizations and functions, joined at random."""
    rng = np.random.default_rng(seed)
    full, row = (1, 6, 8), (1, 6, 1)
    nodes = [Node("input", "u", (), "u", full)]

    def emit(op: str, inputs: tuple[str, ...], shape: Any, attrs: Any = None, **params: Any) -> str:
        nodes.append(
            Node(op, f"n{len(nodes)}", inputs, f"t{len(nodes)}", shape, attrs or {}, params)
        )
        return nodes[-1].output

    def affine(t: str, shape: Any, scale: Any, shift: Any) -> str:
        c = shape[-1]
        return emit("batch_norm", (t,), shape, scale=np.broadcast_to(np.float32(scale), c),
                    shift=np.broadcast_to(np.float32(shift), c))  # fmt: skip

    def apply(t: str, shape: Any, function: str, **arguments: float) -> str:
        return emit("activation", (t,), shape, {"function": function, "arguments": arguments})

    def reduce(t: str) -> str:
        return emit("reduce", (t,), row, {"function": str(rng.choice(["mean", "mean", "sum"])),
                                          "axes": (2,)})  # fmt: skip

    fulls, rows = ["u"], [reduce("u")]
    fulls.append(emit("sub", ("u", rows[0]), full))
    rows.append(reduce(apply(fulls[1], full, "square")))
    rows.append(affine(rows[1], row, rng.choice([1.0, 0.125]), rng.choice([0.0, 1e-3])))
    for _ in range(rng.integers(0, 7)):
        a, r, s = str(rng.choice(fulls)), str(rng.choice(rows)), str(rng.choice(rows))
        match rng.integers(11):
            case 0:
                rows.append(apply(r, row, str(rng.choice(["square", "sqrt", "reciprocal"]))))
            case 1:
                rows.append(apply(r, row, "rsqrt", epsilon=float(rng.choice([0.0, 1e-3]))))
            case 2:
                rows.append(apply(r, row, "clip", low=float(rng.choice([0.0, 0.3]))))
            case 3:
                rows.append(emit(str(rng.choice(["add", "sub", "mul"])), (r, s), row))
            case 4:
                rows.append(reduce(apply(a, full, "square") if rng.random() < 0.7 else a))
            case 5:
                fulls.append(affine(a, full, rng.choice([-1.0, 0.5]), rng.normal(size=8)))
            case 6:
                flat = emit("reshape", (r,), (1, 1, 6), {"shape": (1, 1, 6)})
                flat = affine(flat, (1, 1, 6), 1.0, rng.choice([0.0, 1e-3]))
                rows.append(emit("reshape", (flat,), row, {"shape": row}))
            case 7:
                rows.append(reduce(r))
            case _:
                op = str(rng.choice(["add", "sub", "mul", "div"]))
                fulls.append(
                    emit(op, (a, r if rng.random() < 0.8 else str(rng.choice(fulls))), full)
                )
    root, op = [("sqrt", "div"), ("rsqrt", "mul"), ("sqrt", "mul"), ("rsqrt", "div")][
        rng.choice(4, p=[0.45, 0.45, 0.05, 0.05])
    ]
    spread = rows[-1] if rng.random() < 0.6 else str(rng.choice(rows))
    y = emit(op, (str(rng.choice(fulls)), apply(spread, row, root)), full)
    y = affine(y, full, rng.normal(size=8), rng.normal(size=8)) if rng.random() < 0.5 else y
    return Graph("drawn", nodes, ("u",), (y,))


def same(graph: Graph, x: np.ndarray) -> Graph:
    """The graph behind the passes, which gives what it gave wherever that is finite."""
    verify(graph)
    found = find_functions(find_norms(graph))
    verify(found)
    with np.errstate(all="ignore"):
        x = x.reshape(-1, 1, 6, 8)
        want, got = execute.run(graph, x), execute.run(found, x)
    fine = np.isfinite(want) & (np.abs(want) < 1e6)
    np.testing.assert_allclose(got[fine], want[fine], rtol=2e-3, atol=2e-3)
    return found


def test_pieces_joined_at_random_keep_their_values() -> None:
    norms = 0
    for seed in range(600):
        found = same(drawn(seed), X)
        norms += any(n.op in ("layer_norm", "rms_norm", "l2_norm") for n in found.nodes)
    assert norms >= 30


def test_pieces_that_others_read_stay() -> None:
    def both(u: Any) -> Any:
        centred = u - mean(u)
        return centred / K.sqrt(mean(K.square(centred)) + 1e-5) + centred

    assert sorted(ops(found(between(both)))) == ["add", "layer_norm", "mean", "sub"]


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "silu": lambda u: u * K.sigmoid(u),
    "gelu": lambda u: 0.5 * u * (1 + K.erf(u / math.sqrt(2))),
    "gelu_tanh": lambda u: 0.5 * u * (1 + K.tanh(math.sqrt(2 / math.pi) * (u + 0.044715 * u**3))),
    "hard_silu": lambda u: u * K.relu6(u + 3) / 6,
    "mish": lambda u: u * K.tanh(K.log(1 + K.exp(u))),
    "sigmoid": lambda u: 1 / (1 + K.exp(-u)),
    "softsign": lambda u: u / (1 + K.abs(u)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_written_out_is_one_table(name: str) -> None:
    assert ops(found(between(FUNCTIONS[name]))) == [name]


def test_functions_joined_at_random_keep_their_values() -> None:
    names = ("sigmoid", "tanh", "exponential", "erf", "softplus", "neg", "abs", "square")
    tables = 0
    for seed in range(900):
        rng = np.random.default_rng(seed)
        nodes = [Node("input", "u", (), "u", (1, 6, 8))]
        for i in range(1, rng.integers(3, 9)):
            made = [n.output for n in nodes]
            a = str(rng.choice(made[-2:]))
            inputs: tuple[str, ...] = (a,)
            attrs: dict[str, Any] = {}
            params: dict[str, np.ndarray] = {}
            match rng.integers(4):
                case 0:
                    op, attrs = "activation", {"function": str(rng.choice(names))}
                case 1:
                    op = "batch_norm"
                    scale, shift = float(rng.choice([0.5, 1.0])), float(rng.choice([0.0, 1.0]))
                    params = {
                        k: np.full(8, v, "f4") for k, v in (("scale", scale), ("shift", shift))
                    }
                case _:
                    op, inputs = (
                        str(rng.choice(["mul", "mul", "add", "div"])),
                        (a, str(rng.choice(made))),
                    )
            nodes.append(Node(op, f"n{i}", inputs, f"t{i}", (1, 6, 8), attrs, params))
        found = same(Graph("drawn", nodes, ("u",), (nodes[-1].output,)), X)
        tables += [n.op for n in found.nodes].count("activation") > [n.op for n in nodes].count(
            "activation"
        )
    assert tables >= 3


@pytest.mark.parametrize(
    "f",
    [
        lambda u: u * K.sigmoid(1.1 * u),
        lambda u: u * K.sigmoid(u * GAMMA),  # another function for each channel
        lambda u: u * K.sigmoid(mean(u)),  # as squeeze and excite does
        lambda u: u * K.sigmoid(L.Dense(8)(u)),
    ],
)
def test_what_only_resembles_a_function_is_left_as_it_is(f: Callable[[Any], Any]) -> None:
    assert "mul" in ops(found(between(f)))


def top(u: Any, axis: int = -1) -> Any:
    return K.max(u, axis, keepdims=True)


def quotient(z: Any, axis: int = -1) -> Any:
    e = K.exp(z)
    return e / K.sum(e, axis, keepdims=True)


def product(z: Any) -> Any:
    e = K.exp(z)
    return K.reciprocal(K.sum(e, -1, keepdims=True)) * e


def logarithm(z: Any) -> Any:
    return z - K.log(K.sum(K.exp(z), -1, keepdims=True))


SOFTMAXES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "plain": (quotient, "softmax"),
    "stable": (lambda u: quotient(u - top(u)), "softmax"),
    "rows": (lambda u: quotient(u - top(u, 1), 1), "softmax"),
    "product": (product, "softmax"),
    "logarithm": (logarithm, "log_softmax"),
    "stable logarithm": (lambda u: logarithm(u - top(u)), "log_softmax"),
}


def test_softmaxes_joined_at_random_keep_their_values() -> None:
    kinds = {"softmax": 0, "log_softmax": 0}
    for seed in range(400):
        rng = np.random.default_rng(seed)
        shape, axis, other = (5, 6, 8), int(rng.integers(3)), int(rng.integers(3))
        nodes = [Node("input", "u", (), "u", shape)]

        def emit(op: str, *inputs: str, nodes: list[Node] = nodes, **attrs: Any) -> str:
            shapes = [next(n.shape for n in nodes if n.output == t) for t in inputs]
            made = np.broadcast_shapes(*shapes)
            if op == "reduce":
                made = tuple(1 if i in attrs["axes"] else n for i, n in enumerate(made))
            name = f"t{len(nodes)}"
            nodes.append(Node(op, name, inputs, name, made, attrs))
            return name

        x = "u"
        if rng.random() < 0.5:
            over = axis if rng.random() < 0.7 else other
            shift = emit("reduce", x, function=str(rng.choice(["max", "mean"])), axes=(over,))
            x = emit("sub", x, shift) if rng.random() < 0.8 else emit("sub", shift, x)
        e = emit("activation", x, function=str(rng.choice(["exponential", "exponential", "tanh"])))
        of = e if rng.random() < 0.8 else emit("activation", "u", function="exponential")
        axes = (axis,) if rng.random() < 0.8 else tuple({axis, other})
        kind = str(rng.choice(["sum", "sum", "sum", "mean"]))
        total = emit("reduce", of, function=kind, axes=axes)
        match rng.integers(4):
            case 0:
                y = emit("div", e, total)
            case 1:
                y = emit("mul", *rng.permutation(
                    [e, emit("activation", total, function="reciprocal")]).tolist())  # fmt: skip
            case 2:
                y = emit("sub", x, emit("activation", total, function="log"))
            case _:
                y = emit("div", total, e)
        graph = Graph("drawn", nodes, ("u",), (y,))
        found = find_softmax(graph)
        verify(found)
        data = np.random.default_rng(seed).normal(0, 1, (4, *shape)).astype(np.float32)
        with np.errstate(all="ignore"):
            want, got = execute.run(graph, data), execute.run(found, data)
        fine = np.isfinite(want)
        np.testing.assert_allclose(got[fine], want[fine], rtol=2e-5, atol=2e-5)
        if found.nodes[-1].op in kinds:
            kinds[found.nodes[-1].op] += 1
    assert min(kinds.values()) >= 15, kinds


@pytest.mark.parametrize("name", SOFTMAXES)
def test_a_softmax_written_out_is_one_operator(name: str) -> None:
    f, op = SOFTMAXES[name]
    assert ops(found(between(f))) == [op]


def test_integers_are_as_good_as_those_of_the_layers() -> None:
    def written(u: Any) -> Any:
        return FUNCTIONS["gelu"](NORMS["quotient"][0](u))

    def layers(u: Any) -> Any:
        return L.Activation("gelu")(L.LayerNormalization(epsilon=1e-5)(u))

    errors = []
    for f in (written, layers):
        model = between(f)
        want = np.asarray(model(X))
        got = sc.convert(model, X, name="m").predict(X).reshape(want.shape)
        errors.append(float(np.abs(got - want).mean()))
    assert errors[0] <= 1.05 * errors[1]
    assert errors[1] <= 0.01 * np.abs(want).max()


def test_a_quotient_that_is_no_normalization_is_refused() -> None:
    model = between(lambda u: u / (1 + K.square(mean(u))))
    with pytest.raises(ModelError, match="divides by a tensor that is computed"):
        sc.convert(model, X)
