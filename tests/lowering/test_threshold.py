"""Signs are integer thresholds: exact where the accumulator has 16 bits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.frontend import execute
from secateur.frontend.layers import Builder
from secateur.lowering import reference as ref
from secateur.lowering.qgraph import QConv, QRescale, Requant
from secateur.lowering.quantize import lower
from secateur.lowering.threshold import sharpen, threshold, to_sign
from tests.strategies import random_inputs


def _apply(acc: np.ndarray, r: Requant) -> np.ndarray:
    return ref.requantize(acc.reshape(1, 1, -1), r).ravel()


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-3, 3).filter(lambda v: v == 0 or abs(v) > 1e-6),
    st.floats(-40000, 40000),
    st.sampled_from([200, 32767, 900_000]),
)
def test_threshold_is_where_the_real_value_changes_sign(
    factor: float, beta: float, reach: int
) -> None:
    edge = int(np.clip(-beta, -reach, reach))
    acc = np.unique(np.clip(np.arange(edge - 20, edge + 21), -reach, reach))
    one = np.ones(1)
    r = threshold(factor * one, beta * one, -reach * one, reach * one)
    u = _apply(acc, r)
    if r.pre_shift:
        u = _apply(u, sharpen(128))
    assert set(u) <= {0, 255}
    want = factor * (acc + beta) >= 0 if factor else np.full(len(acc), beta >= 0)
    late = 0 if r.pre_shift == 0 else 3
    assert (u == 255)[~want].sum() == 0
    assert (u == 0)[want].sum() <= late
    assert _apply(u, to_sign()).tolist() == [2 if v else 0 for v in u]


def test_a_binary_layer_is_exact_and_padding_is_zero() -> None:
    rng = np.random.default_rng(0)
    b = Builder("g")
    x = b.add_input("x", (6, 5, 4))
    y = b.emit("sign", "s", [x], (6, 5, 4))
    kernel = np.sign(rng.normal(size=(3, 3, 4, 8))).astype(np.float32)
    attrs = {"strides": (1, 1), "pads": (1, 1, 1, 1)}
    y = b.emit("conv2d", "c", [y], (6, 5, 8), attrs, {"kernel": kernel})
    params = {k: rng.normal(size=8).astype(np.float32) for k in ("scale", "shift")}
    y = b.emit("batch_norm", "n", [y], (6, 5, 8), {}, params)
    graph = b.finish(b.emit("sign", "t", [y], (6, 5, 8)))
    data = random_inputs(graph, 64)
    data[np.abs(data) < 0.1] = 0.2  # so that rounding the input moves no sign
    q = lower(graph, data)
    assert [type(op).__name__ for op in q] == ["QRescale", "QRescale", "QConv", "QRescale"]
    conv = q.op("c")
    assert isinstance(conv, QConv)
    assert conv.requant.pre_shift == 0
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, data)))
    np.testing.assert_array_equal(got, execute.run(graph, data))


def test_a_wide_accumulator_is_sharpened() -> None:
    rng = np.random.default_rng(1)
    b = Builder("g")
    x = b.add_input("x", (400,))
    params = {"kernel": rng.normal(size=(400, 5)).astype(np.float32)}
    y = b.emit("dense", "d", [x], (5,), {}, params)
    graph = b.finish(b.emit("sign", "s", [y], (5,)))
    data = random_inputs(graph, 200)
    q = lower(graph, data)
    assert [type(op) for op in q.ops[1:]] == [QRescale, QRescale]
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, data)))
    assert np.mean(got == execute.run(graph, data)) > 0.99
    assert set(np.unique(got)) == {-1, 1}


@pytest.mark.parametrize("zero", [0, 1, 100, 255])
def test_sharpen_by_hand(zero: int) -> None:
    codes = np.arange(256)
    assert _apply(codes, sharpen(zero)).tolist() == [255 if u >= zero else 0 for u in codes]
