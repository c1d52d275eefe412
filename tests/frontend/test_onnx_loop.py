"""ONNX Loop: GRU and SimpleRNN as Keras' export writes them, and loops that are no such thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import verify
from secateur.frontend.load import load
from secateur.frontend.onnxmodel import from_onnx

onnx = pytest.importorskip("onnx")
T, C, H = 7, 5, 4

#: The body of a cell: nodes (operator, inputs, outputs, attributes) from "frame" and "h" to "new".
Lines = list[tuple[str, list[str], list[str], dict[str, Any]]]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def gru(after: bool) -> tuple[Lines, dict[str, np.ndarray]]:
    """In Keras' order z, r, h; the matrices go through the loop, as an exporter writes it."""
    w = {
        "kernel": rng(1).normal(0, 0.5, (C, 3 * H)), "recurrent": rng(2).normal(0, 0.5, (H, 3 * H)),
        "bias": rng(3).normal(0, 0.3, (2, 3 * H)), "one": np.ones(()),
    }  # fmt: skip
    both = [f"{k}{g}" for k in "ab" for g in "zrh"]
    lines: Lines = [
        ("Split", ["bias"], ["first", "second"], {"axis": 0}),
        ("MatMul", ["frame", "kernel"], ["a_"], {}),
        ("Add", ["a_", "first"], ["a"], {}),
        ("Split", ["a"], both[:3], {"axis": -1}),
    ]
    if after:
        lines += [
            ("MatMul", ["h", "recurrent"], ["b_"], {}), ("Add", ["second", "b_"], ["b"], {}),
            ("Split", ["b"], both[3:], {"axis": -1}),
        ]  # fmt: skip
    else:
        lines += [
            ("Split", ["recurrent"], ["rz", "rr", "rh"], {"axis": 1}),
            ("Split", ["second"], ["sz", "sr", "sh"], {"axis": 1}),
            ("MatMul", ["h", "rz"], ["bz_"], {}), ("Add", ["bz_", "sz"], ["bz"], {}),
            ("MatMul", ["h", "rr"], ["br_"], {}), ("Add", ["br_", "sr"], ["br"], {}),
        ]  # fmt: skip
    lines += [
        ("Add", ["az", "bz"], ["pz"], {}), ("Sigmoid", ["pz"], ["z"], {}),
        ("Add", ["ar", "br"], ["pr"], {}), ("Sigmoid", ["pr"], ["r"], {}),
    ]  # fmt: skip
    if after:
        lines += [("Mul", ["r", "bh"], ["part"], {})]
    else:
        lines += [
            ("Mul", ["r", "h"], ["rh_"], {}), ("MatMul", ["rh_", "rh"], ["part_"], {}),
            ("Add", ["part_", "sh"], ["part"], {}),
        ]  # fmt: skip
    lines += [
        ("Add", ["ah", "part"], ["ph"], {}), ("Tanh", ["ph"], ["candidate"], {}),
        ("Sub", ["one", "z"], ["rest"], {}), ("Mul", ["rest", "candidate"], ["c"], {}),
        ("Mul", ["z", "h"], ["kept"], {}), ("Add", ["kept", "c"], ["new"], {}),
    ]  # fmt: skip
    return lines, w


def rnn(function: str = "Tanh") -> tuple[Lines, dict[str, np.ndarray]]:
    w = {
        "kernel": rng(1).normal(0, 0.5, (C, H)), "recurrent": rng(2).normal(0, 0.4, (H, H)),
        "bias": rng(3).normal(0, 0.3, H),
    }  # fmt: skip
    lines: Lines = [
        ("MatMul", ["frame", "kernel"], ["a_"], {}), ("Add", ["a_", "bias"], ["a"], {}),
        ("MatMul", ["h", "recurrent"], ["b"], {}), ("Add", ["a", "b"], ["s"], {}),
        (function, ["s"], ["new"], {}),
    ]  # fmt: skip
    return lines, w


def model(
    lines: Lines, weights: dict[str, np.ndarray], *, turns: int = T, outputs: tuple[str, ...] = (),
    initial: float = 0.0, stop: int = 10**6,
) -> Any:  # fmt: skip
    """x [T, 1, C] through a loop whose weights are carried: its last state, and all of them."""
    h, nh = onnx.helper, onnx.numpy_helper
    kinds = onnx.TensorProto

    def value(name: str, kind: int = kinds.FLOAT, shape: Any = None) -> Any:
        return h.make_tensor_value_info(name, kind, shape)

    node = h.make_node
    body = [
        node("Gather", ["x", "count"], ["frame"], axis=0),
        *(node(op, i, o, **attrs) for op, i, o, attrs in lines),
        node("Add", ["count", "step"], ["count_out"]),
        node("Less", ["count_out", "stop"], ["go"]),
        node("Identity", ["new"], ["state"]),
    ]
    inside = [nh.from_array(np.array(1), "step"), nh.from_array(np.array(stop), "stop")]
    carried = list(weights)
    graph = h.make_graph(
        body, "body",
        [value("turn", kinds.INT64, []), value("cond", kinds.BOOL, []),
         value("count", kinds.INT64, []), value("h"), *map(value, carried)],
        [value("go", kinds.BOOL, []), value("count_out", kinds.INT64, []), value("state"),
         *map(value, carried), value("new")],
        inside,
    )  # fmt: skip
    start = {
        "m": np.array(turns), "true": np.array(True), "zero": np.array(0),
        "h0": np.full((1, H), initial, np.float32),
        **{f"{k}_": v.astype(np.float32) for k, v in weights.items()},
    }  # fmt: skip
    made = ["count_end", "last", *(f"{k}_end" for k in carried), "all"]
    loop = node("Loop", ["m", "true", "zero", "h0", *(f"{k}_" for k in carried)], made, "cell",
                body=graph)  # fmt: skip
    asked = outputs or ("last", "all")
    ends = {
        "last": value("last", kinds.FLOAT, [1, H]), "all": value("all", kinds.FLOAT, [turns, 1, H]),
        "count_end": value("count_end", kinds.INT64, []),
    }  # fmt: skip
    whole = h.make_graph(
        [loop], "net", [value("x", kinds.FLOAT, [T, 1, C])], [ends[o] for o in asked],
        [nh.from_array(v, k) for k, v in start.items()],
    )  # fmt: skip
    return h.make_model(whole, opset_imports=[h.make_opsetid("", 17)])


def theirs(model: Any, x: np.ndarray) -> list[np.ndarray]:
    return list(onnx.reference.ReferenceEvaluator(model).run(None, {"x": x}))


@pytest.mark.parametrize(
    "made",
    [lambda: gru(True), lambda: gru(False), rnn, lambda: rnn("Relu")],
    ids=["gru", "gru-before", "rnn", "rnn-relu"],
)
def test_it_is_the_recurrent_layer(made: Callable[[], tuple[Lines, dict[str, Any]]]) -> None:

    lines, weights = made()
    x = rng(5).normal(0, 1, (T, 1, C)).astype(np.float32)
    for outputs in (("last", "all"), ("last",), ("all",), ("count_end", "all")):
        net = model(lines, weights, outputs=outputs)
        graph = from_onnx(net, "net", batch=False)
        verify(graph)
        (layer,) = (n for n in graph.nodes if n.op == "recurrent")
        np.testing.assert_array_equal(layer.params["kernel"], weights["kernel"].astype(np.float32))
        found = execute.run_outputs(graph, x[None])
        for mine, want in zip(found, theirs(net, x), strict=True):
            np.testing.assert_allclose(mine.reshape(want.shape), want, atol=1e-6)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"turns": T - 1}, f"runs {T - 1} turns over a tensor"),
        ({"stop": 3}, f"ends after 3 of {T} turns"),
        ({"initial": 0.5}, "more than one state of zeros"),
    ],
)
def test_loops_that_run_otherwise_are_refused(changed: dict[str, Any], what: str) -> None:
    with pytest.raises(ModelError, match=rf"'cell' \(Loop\).*{what}.*convert the \.keras file"):
        from_onnx(model(*gru(True), **changed), "net", batch=False)


def test_a_loop_that_its_values_end_is_refused() -> None:
    net = model(*rnn())
    body = next(a.g for a in net.graph.node[0].attribute if a.name == "body")
    less = next(n for n in body.node if n.op_type == "Less")
    changed = [
        onnx.helper.make_node("Slice", ["new", "from", "to"], ["one_h"]),
        onnx.helper.make_node("Less", ["one_h", "most"], ["go"]),
    ]
    for name, value in (("from", [0, 0]), ("to", [1, 1]), ("most", 100.0)):
        made = np.array(value, np.float32 if name == "most" else np.int64)
        body.initializer.append(onnx.numpy_helper.from_array(made, name))
    body.node.remove(less)
    body.node.extend(changed)
    with pytest.raises(ModelError, match="goes on as long as its values ask for"):
        from_onnx(net, "net", batch=False)


def test_another_cell_is_refused() -> None:
    """Of the same matrices and functions: only trying it shows the difference."""
    lines, weights = gru(True)
    swapped = [
        (op, ["candidate" if i == "h" and o == ["kept"] else i for i in inputs], o, attrs)
        for op, inputs, o, attrs in lines
    ]
    with pytest.raises(ModelError, match="something else than a GRU or SimpleRNN"):
        from_onnx(model(swapped, weights), "net", batch=False)
    with pytest.raises(ModelError, match="holds the operator Softplus"):
        from_onnx(model(*rnn("Softplus")), "net", batch=False)
    halved = {**weights, "kernel": weights["kernel"][:, : 2 * H], "bias": weights["bias"]}
    cut: Lines = [
        ("MatMul", ["frame", "kernel"], ["a_"], {}), ("Split", ["a_"], ["a", "b"], {"axis": -1}),
        ("MatMul", ["h", "recurrent"], ["c_"], {}), ("Split", ["c_"], list("cde"), {"axis": -1}),
        ("Add", ["a", "c"], ["new"], {}),
    ]  # fmt: skip
    with pytest.raises(ModelError, match="products of 8 sums with 4 units"):
        from_onnx(model(cut, halved), "net", batch=False)


_EXPORT = """
import sys, numpy as np, keras
keras.utils.set_random_seed(0)
L = keras.layers
x = keras.Input((8, 5))
y = L.GRU(6, return_sequences=True)(x)
y = L.GRU(5, reset_after=False, return_sequences=True, go_backwards=True)(y)
model = keras.Model(x, L.Dense(3)(L.SimpleRNN(4)(y)))
for v in model.weights:
    v.assign(np.random.default_rng(v.shape[0]).normal(0, 0.5, v.shape))
data = np.random.default_rng(0).normal(0, 1, (4, 8, 5)).astype("f4")
np.savez(sys.argv[1] + "/data.npz", x=data, y=model(data).numpy())
model.export(sys.argv[1] + "/net.onnx", format="onnx", verbose=False)
"""


@pytest.mark.train
@pytest.mark.slow
def test_what_keras_exports_is_what_keras_computes(tmp_path: Path) -> None:
    import subprocess
    import sys

    pytest.importorskip("keras")
    pytest.importorskip("tf2onnx")
    done = subprocess.run(
        [sys.executable, "-c", _EXPORT, str(tmp_path)], capture_output=True, text=True,
        timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    graph = load(tmp_path / "net.onnx")
    with np.load(tmp_path / "data.npz") as data:
        np.testing.assert_allclose(execute.run(graph, data["x"]), data["y"], atol=2e-6)
    assert sum(n.op == "recurrent" for n in graph.nodes) == 3
