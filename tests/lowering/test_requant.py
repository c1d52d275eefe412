"""Requantization constants: one rounding, proven bounds, 16-bit storage."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.lowering.requant import (
    DoesNotFitError,
    add_constants,
    requantize,
    storage_shift,
    store16,
)

multipliers = st.floats(1e-6, 0.4)


@settings(max_examples=200, deadline=None)
@given(
    multipliers,
    st.floats(-1, 1),
    st.integers(0, 255),
    st.floats(-300, 300),
    st.integers(1, 2_000_000),
    st.sampled_from([None, 0.01, 0.9, 3.0]),
    st.integers(0, 2**32 - 1),
)
def test_result_is_the_real_value_rounded_to_nearest(
    m: float,
    second: float,
    z_in: int,
    bias: float,
    reach: int,
    residual: float | None,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    ms = np.array([m, m * second])
    sums = rng.integers(-reach // 255 - 1, reach // 255 + 2, 2)
    z_r = int(rng.integers(0, 256))
    pair = None if residual is None else (residual, z_r)
    target = np.array([20.0, 20 + bias])
    lo, hi = np.full(2, -reach), np.full(2, reach)
    r, big = requantize(ms, target, z_in * sums, lo, hi, pair)
    assert r.multiplier.dtype == np.int16
    assert r.offset.dtype == np.int32
    acc = rng.integers(-reach, reach + 1, 200)
    codes = rng.integers(0, 256, 200)
    for c in range(2):
        for a, k in zip(acc.tolist(), codes.tolist(), strict=True):
            product = a * int(r.multiplier[c])
            if r.pre_shift == 0:
                assert -32768 <= a <= 32767
                assert abs(product + int(r.offset[c])) < 2**31
            extra = 0 if big is None else (k * big) >> 16
            total = (product >> r.pre_shift) + extra + int(r.offset[c])
            assert -(2**31) <= total < 2**31
            u = min(max(total >> r.shift, 0), 255)
            real = Fraction(float(target[c])) + Fraction(float(ms[c])) * (a - z_in * int(sums[c]))
            if residual is not None:
                real += Fraction(residual) * (k - z_r)
            # Half a code of rounding, the multiplier's and the offset's own rounding.
            steps = Fraction(1, 2 ** (r.pre_shift + r.shift))
            slack = (reach + abs(z_in * int(sums[c]))) * steps + 3 * Fraction(1, 2**r.shift)
            slack += Fraction(1, 64) + Fraction(1, 2**r.shift)
            nearest = min(max(real, Fraction(0)), Fraction(255))
            assert abs(u - nearest) <= Fraction(1, 2) + slack


def test_narrow_accumulators_use_the_short_multiply() -> None:
    one = np.ones(1)
    r, _ = requantize(0.01 * one, 0 * one, 0 * one, -32768 * one, 32767 * one)
    assert r.pre_shift == 0
    r, _ = requantize(0.01 * one, 0 * one, 0 * one, -32769 * one, 32767 * one)
    assert r.pre_shift == 16


def test_what_cannot_fit_says_by_how_much() -> None:
    one = np.ones(1)
    with pytest.raises(DoesNotFitError) as e:
        requantize(2.0 * one, 0 * one, 0 * one, -40000 * one, 40000 * one)
    assert e.value.growth == pytest.approx(4, rel=1e-3)
    with pytest.raises(DoesNotFitError):
        requantize(1e-6 * one, 0 * one, 0 * one, -(2.0**31) * one - 1, 0 * one)


def test_offsets_are_rounded_to_sixteen_bits_only_if_cheap() -> None:
    c = np.array([100_001, -70_003])
    assert (store16(c, 5) == c).all()  # k would be 2, 1/16 code
    rounded = store16(c, 8)
    assert np.abs(rounded - c).max() <= 2
    assert (rounded % 4 == 0).all()
    big = np.array([2**30])
    assert (store16(big + 1, 10) == big + 1).all()


def test_storage_shift_finds_the_common_power() -> None:
    one = np.ones(1)
    r, _ = requantize(0.001 * one, 100 * one, 0 * one, -9000 * one, 9000 * one)
    k = storage_shift(r)
    assert k is not None
    assert -32768 <= int(r.offset[0]) >> k <= 32767
    assert (int(r.offset[0]) >> k) << k == int(r.offset[0])


@settings(max_examples=100, deadline=None)
@given(
    st.floats(1e-4, 50), st.floats(1e-4, 50), st.integers(0, 255), st.integers(0, 255),
    st.integers(0, 255),
)  # fmt: skip
def test_add_rounds_to_nearest(sa: float, sb: float, za: int, zb: int, zy: int) -> None:
    (ma, mb), c, f = add_constants((sa, sb), (za, zb), zy)
    rng = np.random.default_rng(0)
    for a, b in rng.integers(0, 256, (100, 2)).tolist():
        total = ((a * ma) >> 16) + ((b * mb) >> 16) + c
        assert -(2**31) <= total < 2**31
        u = min(max(total >> f, 0), 255)
        real = min(max(zy + sa * (a - za) + sb * (b - zb), 0), 255)
        assert abs(u - real) <= 0.5 + 4 / 2**f
