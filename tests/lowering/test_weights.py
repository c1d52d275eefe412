"""Which set a layer's weights are found in, and that the set survives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.lowering.weights import quantize_weights
from tests.strategies import WEIGHT_KINDS, random_weights

RNG = np.random.default_rng(3)


def test_ternary_rows_keep_their_scale_out_of_the_weights() -> None:
    scale = np.array([0.1, 2.0, 0.7], np.float32)
    sign = np.array([[1, 0, -1, 1], [0, 0, 0, -1], [0, 0, 0, 0]], np.float32)
    q = quantize_weights(sign * scale[:, None])
    assert q.kind == "ternary"
    assert q.bits == pytest.approx(np.log2(3))
    np.testing.assert_array_equal(q.values, sign)
    np.testing.assert_allclose(q.scale[:2], scale[:2], rtol=1e-6)


def test_present_or_absent_has_no_signs() -> None:
    level = np.array([0.3, -0.2, 1.5])
    present = np.array([[0, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    q = quantize_weights(present * level[:, None])
    assert (q.kind, q.bits) == ("ternary", 1.0)
    np.testing.assert_array_equal(q.values, present)
    np.testing.assert_allclose(q.scale[:2], level[:2])


def test_two_levels_keep_their_ratio() -> None:
    a, b = np.array([[0.3], [-1.0], [0.7]]), np.array([[-0.1], [0.2515], [0.7]])
    w = np.where(RNG.random((3, 40)) < 0.1, a, b)
    w[:2, 0], w[:2, 1] = a[:2, 0], b[:2, 0]
    q = quantize_weights(w)
    assert (q.kind, q.bits) == ("two levels", pytest.approx(np.log2(len(np.unique(q.values)))))
    np.testing.assert_allclose(q.values * q.scale[:, None], w, rtol=4e-3)
    assert set(np.unique(q.values[0])) == {-1, 3}  # an exact ratio takes the least integers
    assert len(np.unique(q.values[1])) == 2
    assert set(np.unique(q.values[2])) == {1}


def test_binary_is_one_bit() -> None:
    q = quantize_weights(np.sign(RNG.normal(size=(4, 30))) * 0.3)
    assert (q.kind, q.bits) == ("ternary", 1.0)


def test_powers_of_two_keep_their_ratios() -> None:
    w = np.sign(RNG.normal(size=(8, 50))) * 2.0 ** -RNG.integers(0, 7, (8, 50)) * 0.9
    q = quantize_weights(w)
    assert q.kind == "codebook"
    assert set(np.abs(np.unique(q.values))) <= {1, 2, 4, 8, 16, 32, 64}
    np.testing.assert_allclose(q.values * q.scale[:, None], w, rtol=1e-6)


def test_uniform_grids_are_exact_for_the_layer_and_by_channel() -> None:
    grid = RNG.integers(-7, 8, (6, 80))
    for scale in (np.full(6, 0.03), RNG.uniform(0.01, 1, 6)):
        w = (grid * scale[:, None]).astype(np.float32)
        q = quantize_weights(w)
        assert q.bits < 4
        np.testing.assert_allclose(q.values * q.scale[:, None], w, rtol=1e-5, atol=1e-7)


def test_a_codebook_takes_one_scale_and_stays_one_codebook() -> None:
    levels = np.append(RNG.normal(0, 0.3, 15), 0)
    w = levels[RNG.integers(0, 16, (10, 40))].astype(np.float32)
    q = quantize_weights(w)
    assert q.kind == "codebook"
    assert len(set(q.scale)) == 1
    assert len(np.unique(q.values)) <= 16
    assert np.abs(q.values * q.scale[:, None] - w).max() <= q.scale[0] / 2 * 1.001


def test_a_codebook_a_channel_keeps_its_number_of_levels() -> None:
    levels = RNG.normal(0, 0.3, (80, 4))
    w = np.take_along_axis(levels, RNG.integers(0, 4, (80, 60)), axis=1)
    q = quantize_weights(w)
    assert (q.kind, q.bits) == ("codebooks", 2.0)
    assert all(len(np.unique(row)) <= 4 for row in q.values)
    assert (np.abs(q.values).max(axis=1) == 127).all()


def test_free_weights_take_a_scale_a_channel() -> None:
    w = RNG.normal(size=(5, 60)) * np.array([[1, 0.01, 10, 3, 0.5]]).T
    w[:, ::2] = 0  # sparse, yet not a codebook
    q = quantize_weights(w)
    assert (q.kind, q.bits) == ("int8", 8.0)
    assert (np.abs(q.values).max(axis=1) == 127).all()
    assert (np.abs(q.values * q.scale[:, None] - w) <= q.scale[:, None] / 2 * 1.001).all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(WEIGHT_KINDS),
    st.integers(1, 40),
    st.integers(1, 12),
    st.integers(0, 2**32 - 1),
)
def test_error_is_at_most_half_a_step_and_zeros_stay(
    kind: str, cols: int, rows: int, seed: int
) -> None:
    w = random_weights(np.random.default_rng(seed), kind, (cols, rows)).T
    q = quantize_weights(w)
    assert q.values.min() >= -127
    assert (q.values[w == 0] == 0).all()
    assert (
        np.abs(q.values * q.scale[:, None] - w) <= np.abs(q.scale)[:, None] / 2 * 1.001 + 1e-9
    ).all()
    if kind == "ternary":
        assert q.kind == "ternary"
