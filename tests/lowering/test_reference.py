"""The reference against plain loops, against hand-computed cases and against float execution."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.errors import DataError
from secateur.frontend import execute
from secateur.frontend.ir import Graph, Node
from secateur.lowering import reference as ref
from secateur.lowering.qgraph import QConv, QGraph, QSoftmax, QTensor, Requant
from secateur.lowering.quantize import lower
from tests.lowering.plain import run_plain
from tests.strategies import random_graphs, random_inputs


@settings(max_examples=60, deadline=None)
@given(random_graphs(), st.integers(0, 1000))
def test_reference_equals_plain_loops_on_random_graphs(graph: Graph, seed: int) -> None:
    q = lower(graph, random_inputs(graph, 8, seed))
    # Twice the calibrated range, so that clamps and both ends of the codes are met.
    codes = ref.quantize_input(q, 2 * random_inputs(graph, 2, seed + 1))
    got = ref.run_all(q, codes)
    for i in range(2):
        want = run_plain(q, got[q.input][i])
        for name, value in want.items():
            np.testing.assert_array_equal(got[name][i], value.astype(np.int64), err_msg=name)


@settings(max_examples=40, deadline=None)
@given(random_graphs(), st.integers(0, 1000))
def test_every_operator_is_within_quantization_error_of_float(graph: Graph, seed: int) -> None:
    """Feed each float tensor's own codes onward: one operator's error is a code or two."""
    x = random_inputs(graph, 16, seed)
    q = lower(graph, x)
    got = ref.run_all(q, ref.quantize_input(q, x))
    out = q.tensors[q.output]
    y = ref.dequantize_output(q, ref.output_codes(q, got[q.output]))
    want = execute.run(graph, x).reshape(y.shape)
    spread = float(np.abs(want).max())
    # Random deep graphs amplify rounding; the mean stays a small part of the range. Behind a step
    # (a sign, few levels) rounding near it costs its whole height.
    steps = any(n.op in ("sign", "quant_activation") for n in graph)
    assert np.abs(y - want).mean() <= (0.15 if steps else 0.06) * spread + 2 * out.scale


def _one_conv(weight: np.ndarray, requant: Requant, zero: int, **more: object) -> QGraph:
    co, ci = weight.shape[:2]
    tensors = {
        "x": QTensor("x", (ci, 2, 2), 0.5, zero),
        "y": QTensor("y", (co, 2, 2), 0.25, 0),
    }
    op = QConv("conv", ("x",), "y", weight, requant, **more)  # type: ignore[arg-type]
    return QGraph("hand", [op], tensors, "x", "y")


def test_convolution_by_hand() -> None:
    weight = np.array([[[[2]]], [[[-3]]]], np.int8)
    requant = Requant(np.array([3, -5], np.int16), np.array([2, -7], np.int32), 0, 2)
    g = _one_conv(weight, requant, 10)
    q = (np.array([0, 1, 100, 255]) - 128).astype(np.int8).reshape(1, 2, 2, 1)
    # channel 0: (2u * 3 + 2) >> 2; channel 1: (-3u * -5 - 7) >> 2, clamped
    want = [[0, 0], [2, 2], [150, 255], [255, 255]]
    assert (ref.run(g, q).reshape(4, 2).astype(int) + 128).tolist() == want


def test_rounding_is_one_floor_and_ties_go_up() -> None:
    # m = 1/2 exactly: M = 2^14 at f = 15 - and C carries the half.
    requant = Requant(np.array([16384], np.int16), np.array([1 << 14], np.int32), 0, 15)
    g = _one_conv(np.ones((1, 1, 1, 1), np.int8), requant, 0)
    q = (np.array([1, 2, 3, 4]) - 128).astype(np.int8).reshape(1, 2, 2, 1)
    assert (ref.run(g, q).ravel().astype(int) + 128).tolist() == [1, 1, 2, 2]


def test_padding_reads_the_zero_point() -> None:
    requant = Requant(np.array([1], np.int16), np.array([0], np.int32), 0, 0)
    weight = np.ones((1, 1, 3, 3), np.int8)
    g = _one_conv(weight, requant, 7, pads=(1, 1, 1, 1))
    q = np.full((1, 2, 2, 1), 1 - 128, np.int8)
    assert (ref.run(g, q).ravel().astype(int) + 128).tolist() == [4 + 5 * 7] * 4


def test_softmax_is_close_to_float() -> None:
    tensors = {"x": QTensor("x", (12,), 0.1, 128), "y": QTensor("y", (12,), 1 / 256, 0)}
    beta = round(0.1 * np.log2(np.e) * 2**16)
    g = QGraph("soft", [QSoftmax("s", ("x",), "y", beta)], tensors, "x", "y")
    q = np.random.default_rng(0).integers(-128, 128, (500, 12)).astype(np.int8)
    real = 0.1 * q.astype(np.float64)
    want = np.exp(real) / np.exp(real).sum(axis=1, keepdims=True)
    assert np.abs(ref.dequantize_output(g, ref.run(g, q)) - want).max() < 0.006


def test_softmax_of_equal_codes_is_uniform_and_alone_saturates() -> None:
    tensors = {"x": QTensor("x", (4,), 1.0, 0), "y": QTensor("y", (4,), 1 / 256, 0)}
    g = QGraph("soft", [QSoftmax("s", ("x",), "y", 2**16)], tensors, "x", "y")
    q = np.array([[5, 5, 5, 5], [127, -128, -128, -128]], np.int8)
    assert (ref.run(g, q).astype(int) + 128).tolist() == [[64] * 4, [255, 0, 0, 0]]


def _identity_graph(shape: tuple[int, ...]) -> Graph:
    nodes = [
        Node("input", "x", (), "x", shape),
        Node("relu", "r", ("x",), "r", shape, {"max_value": None}),
    ]
    return Graph("tiny", nodes, "x", "r")


def test_spatial_outputs_come_out_in_hwc_order() -> None:
    graph = _identity_graph((3, 4, 2))
    x = np.random.default_rng(0).uniform(-4, 4, (5, 3, 4, 2)).astype(np.float32)
    q = lower(graph, x)
    y = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, x)))
    assert y.shape == x.shape
    assert np.abs(y - np.maximum(x, 0)).max() < 2 * q.tensors["x"].scale


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (np.zeros((0, 3, 4, 2), np.float32), "empty"),
        (np.zeros((2, 4, 3, 2), np.float32), "shape"),
        (np.full((2, 3, 4, 2), np.nan, np.float32), "NaN"),
    ],
)
def test_bad_inputs_are_named(value: np.ndarray, part: str) -> None:
    q = lower(_identity_graph((3, 4, 2)), np.ones((2, 3, 4, 2), np.float32))
    with pytest.raises(DataError, match=part):
        ref.quantize_input(q, value)
    with pytest.raises(DataError, match=r"quantize_input|empty|shape"):
        ref.run(q, value)
