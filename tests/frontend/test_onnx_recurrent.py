"""ONNX LSTM, GRU and RNN against onnxruntime, their weights by value, and refusals by name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.ir import verify
from secateur.frontend.onnxmodel import from_onnx
from secateur.frontend.ops.recurrent import GATES
from secateur.lowering import reference
from secateur.lowering.quantize import lower
from tests.frontend.test_onnx import Net

pytest.importorskip("onnx")
T, C, H = 7, 5, 6


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype("f4")


def cell(
    n: Net, x: str, op: str, direction: str = "forward", bias: bool = True, extra: tuple = (),
    **attrs: Any,
) -> Any:  # fmt: skip
    """Add a node of one kind to `n`; `extra`: the inputs behind the biases, None left out."""
    d, rows = 1 + (direction == "bidirectional"), GATES[op.lower()] * H
    inputs = [x, n.const(normal(d, rows, C)), n.const(normal(d, rows, H))]
    inputs.append(n.const(normal(d, 2 * rows)) if bias else "")
    inputs += ["" if e is None else n.const(e) for e in extra]
    outputs = 3 if op == "LSTM" else 2
    return n.add(op, *inputs, outputs=outputs, hidden_size=H, direction=direction, **attrs)


def theirs(model: Any, x: np.ndarray) -> list[np.ndarray]:
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"x": x}))


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(
    ("op", "attrs"),
    [("LSTM", {}), ("GRU", {}), ("GRU", {"linear_before_reset": 1}), ("RNN", {})],
    ids=["lstm", "gru", "gru-linear", "rnn"],
)
def test_every_output_is_onnxruntimes(op: str, attrs: dict[str, Any], direction: str) -> None:
    x = normal(T, 1, C)
    for bias in (True, False):
        for asked in ((0,), (1,), (0, 1), *(((2,), (0, 1, 2)) if op == "LSTM" else ())):
            n = Net((T, 1, C))
            made = cell(n, "x", op, direction, bias, **attrs)
            model = n.model(*[made[i] for i in asked])
            graph = from_onnx(model, "net")
            verify(graph)
            ours = execute.run_outputs(graph, x[None])
            for a, b in zip(ours, theirs(model, x), strict=True):
                np.testing.assert_allclose(a.reshape(b.shape), b, atol=2e-6)


def test_weights_are_the_files_by_value() -> None:
    n = Net((T, 1, C))
    graph = from_onnx(n.model(cell(n, "x", "LSTM")[0]), "net")
    node = next(m for m in graph.nodes if m.op == "recurrent")
    order = [0, 2, 3, 1]  # i, o, f, c as i, f, c, o
    kernel = normal(1, 4 * H, C)[0].reshape(4, H, C)[order].reshape(4 * H, C)
    bias = normal(1, 8 * H)[0].reshape(2, 4, H)[:, order].reshape(2, 4 * H)
    np.testing.assert_array_equal(node.params["kernel"], kernel.T)
    np.testing.assert_array_equal(node.params["bias"], bias[0])
    np.testing.assert_array_equal(node.params["recurrent_bias"], bias[1])


def exported(batch: int | str) -> Any:
    """What PyTorch writes for `batch_first`: sequences (N, T, C) turned around the node."""
    n = Net((batch, T, C))
    turned = n.add("Transpose", "x", perm=[1, 0, 2])
    zeros = [np.zeros((2, 1, H), "f4")] * 2
    y = cell(n, turned, "LSTM", "bidirectional", True, (np.array([T], "i4"), *zeros))[0]
    y = n.add("Reshape", n.add("Transpose", y, perm=[0, 2, 1, 3]), n.const([0, 0, -1]))
    last = n.add("Gather", n.add("Transpose", y, perm=[1, 0, 2]), n.const(-1), axis=1)
    return n.model(n.add("Gemm", last, n.const(normal(2 * H, 3)), n.const(normal(3))))


@pytest.mark.parametrize("batch", [1, "N"])
def test_a_network_with_the_batch_in_front(batch: int | str) -> None:
    model, x = exported(batch), normal(8, T, C)
    graph = from_onnx(model, "net")
    assert graph.node(graph.input).shape == (1, T, C)
    want = np.concatenate([theirs(model, one[None]) for one in x])[:, 0]
    np.testing.assert_allclose(execute.run(graph, x), want, atol=3e-6)
    q = lower(graph, x, method="minmax")
    made = reference.dequantize_output(q, reference.run(q, reference.quantize_input(q, x)))
    np.testing.assert_allclose(made.reshape(want.shape), want, atol=0.05 * np.abs(want).max())


def test_sequences_first_are_kept_as_the_file_has_them() -> None:
    """Layout 1, which onnxruntime does not run, is layout 0 with its axes in another order."""
    n, m = Net((3, T, C)), Net((T, 1, C))
    model = n.model(*cell(n, "x", "LSTM", layout=1)[:2])
    x = normal(3, T, C)
    y, h = execute.run_outputs(from_onnx(model, "net"), x)
    other = from_onnx(m.model(*cell(m, "x", "LSTM")[:2]), "net")
    want_y, want_h = execute.run_outputs(other, x[:, :, None])
    np.testing.assert_array_equal(y.reshape(3, -1), want_y.reshape(3, -1))
    np.testing.assert_array_equal(h.reshape(3, -1), want_h.reshape(3, -1))


REFUSED: dict[str, tuple[str, dict[str, Any], tuple]] = {
    "clip=3": ("LSTM", {"clip": 3.0}, ()),
    "input_forget=1": ("LSTM", {"input_forget": 1}, ()),
    "activations=Sigmoid, Relu": ("GRU", {"activations": ["Sigmoid", "Relu"]}, ()),
    "sequence_lens": ("GRU", {}, (np.array([T - 1], "i4"),)),
    "initial_h": ("GRU", {}, (None, np.ones((1, 1, H), "f4"))),
    "initial_c": ("LSTM", {}, (None, None, np.ones((1, 1, H), "f4"))),
    "peepholes": ("LSTM", {}, (None, None, None, np.ones((1, 3 * H), "f4"))),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_read_is_refused_by_name(what: str) -> None:
    op, attrs, extra = REFUSED[what]
    n = Net((T, 1, C))
    with pytest.raises(ModelError, match=what):
        from_onnx(n.model(cell(n, "x", op, extra=extra, **attrs)[0]), "net")


@pytest.mark.parametrize(
    ("shape", "what"),
    [((T, 2, C), "2 sequences at once"), (("T", 1, C), "unknown length")],
)
def test_batches_and_open_lengths_are_refused(shape: tuple, what: str) -> None:
    n = Net(shape)
    with pytest.raises(ModelError, match=what):
        from_onnx(n.model(cell(n, "x", "GRU")[0]), "net")
