"""Low-bit activations are integer thresholds on the accumulator: nothing is rounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.frontend import execute
from secateur.frontend.layers import Builder
from secateur.lowering import levels, qgraph
from secateur.lowering import reference as ref
from secateur.lowering.fold_levels import SIGN
from secateur.lowering.qgraph import QConv, QRescale, Thresholds
from secateur.lowering.quantize import lower
from tests.strategies import random_inputs

EVEN = (np.arange(4) * 0.5, np.array([0.25, 0.75, 1.25]), np.array([0.5, 1.0]))

UNEVEN = (np.array([0, 0.41, 1.03, 1.44]), np.array([0.2, 0.7, 1.2]), np.array([0.41, 1.03]))


def _apply(acc: np.ndarray, r: Thresholds) -> np.ndarray:
    return ref.requantize(acc.reshape(1, 1, -1), r).ravel()


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-3, 3).filter(lambda v: v == 0 or abs(v) > 1e-6),
    st.floats(-40000, 40000),
    st.sampled_from([200, 32767, 900_000]),
    st.sampled_from([0, 77]),
    st.booleans(),
)
def test_thresholds_are_where_the_real_value_passes(
    factor: float, bias: float, reach: int, zero: int, sign: bool
) -> None:
    spec = SIGN if sign else EVEN
    one = np.ones(1)
    t = levels.tensor("t", (1,), spec)
    edge = (spec[1] - bias) / (factor or 1.0) + zero
    acc = np.concatenate([np.arange(int(e) - 9, int(e) + 10) for e in np.clip(edge, -1e9, 1e9)])
    acc = np.unique(np.clip(acc, -reach, reach))
    r = levels.thresholds(
        spec, t.planes, factor * one, bias * one, zero * one, -reach * one, reach * one
    )
    real = factor * (acc - zero) + bias
    # too near to say where numbers are float32 and the distance is their difference
    doubt = 1e-5 * np.maximum(1, np.abs(real))[:, None] + 2e-7 * np.abs(spec[1] - bias)
    on_it = np.abs(real[:, None] - spec[1]) < doubt
    sure = ~on_it.any(axis=1)
    want = np.searchsorted(spec[1], real, side="right")
    got = (_apply(acc, r).astype(float) - t.zero_point) * t.scale
    np.testing.assert_allclose(got[sure], spec[0][want][sure], atol=1e-9)


def test_an_accumulator_on_the_threshold_passes_it_from_either_side() -> None:
    for m in (0.1, -0.1):
        # 0.1 * acc - 0.3 and -0.1 * acc - 0.3 are 0 at acc = +-3
        args = (np.array([m]), np.array([-0.3]), np.zeros(1), np.array([-9]), np.array([9]))
        r = levels.thresholds(SIGN, (2,), *args)
        at = 3 if m > 0 else -3
        assert _apply(np.array([at - 1, at, at + 1]), r).tolist() == (
            [0, 2, 2] if m > 0 else [2, 2, 0]
        )


@pytest.mark.parametrize(
    ("basis", "planes"),
    [
        ([2.0], (2,)),
        ([0.7], (1,)),
        ([0.5, 1.0], (1, 2)),
        ([0.1, 0.2, 0.4, 0.8], (1, 2, 4, 8)),
        ([1.0, 1.5], (2, 3)),
        ([0.41, 1.03], (73, 182)),
    ],
)
def test_a_basis_in_whole_numbers(basis: list[float], planes: tuple[int, ...]) -> None:
    found, scale = levels.whole_planes(np.array(basis, np.float32))
    assert found == planes
    np.testing.assert_allclose(scale * np.array(found), basis, rtol=0.01)
    assert qgraph.level_codes(found)[-1] == sum(planes) <= 255


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
    assert [type(op) for op in q] == [QRescale, QConv]
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, data)))
    np.testing.assert_array_equal(got, execute.run(graph, data))


@pytest.mark.parametrize("spec", [SIGN, EVEN, UNEVEN])
def test_a_wide_accumulator_is_exact(spec: levels.Levels) -> None:
    """Integer inputs, so that float execution and integers see the same sums."""
    rng = np.random.default_rng(1)
    b = Builder("g")
    x = b.add_input("x", (400,))
    params = {"kernel": rng.integers(-127, 128, (400, 5)).astype(np.float32) / 512}
    params["kernel"][0] = 127 / 512  # so that each channel's largest weight is 127 steps
    y = b.emit("dense", "d", [x], (5,), {}, params)
    graph = b.finish(b.emit("quant_activation", "s", [y], (5,), {"levels": spec}))
    data = rng.integers(0, 256, (200, 400)).astype(np.float32) / 256
    data[0, 0], data[1, 0] = 0, 255 / 256
    q = lower(graph, data)
    assert len(q.ops) == 1
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, data)))
    want = execute.run(graph, data)
    assert np.unique(want).size == len(spec[0])
    np.testing.assert_allclose(got, want, atol=0.01)
