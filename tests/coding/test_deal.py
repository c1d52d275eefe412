"""SmartDeal's encoding: weights from factors, in any order of columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import factored

from secateur.coding import get
from secateur.coding.base import causes
from secateur.errors import StreamError

DEAL = get("deal")


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 80))
def test_round_trip_and_damage(seed: int, rows: int, cols: int) -> None:
    rng = np.random.default_rng(seed)
    w = factored(rng, rows, cols)
    assert DEAL.applies(w)
    encoded = DEAL.encode(w)
    np.testing.assert_array_equal(DEAL.decode(encoded), w)
    kinds = encoded.bits_by_kind()
    assert set(kinds) <= set(causes())
    assert sum(kinds.values()) == 8 * encoded.stored_bytes
    streams = []
    for s in encoded.streams:
        data = bytearray(s.data)
        if data and rng.random() < 0.5:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        elif data and rng.random() < 0.3:
            del data[int(rng.integers(len(data))) :]
        streams.append(replace(s, data=bytes(data), bits=min(s.bits, 8 * len(data))))
    try:
        out = DEAL.decode(replace(encoded, streams=tuple(streams)))
    except StreamError:
        return
    assert out.shape == w.shape
    assert out.dtype == np.int8


def test_rows_without_coefficients_take_one_bit() -> None:
    rng = np.random.default_rng(2)
    w = factored(rng, 4, 60)
    made = w.factors
    empty = made.coefficients.copy()
    empty[:, ::2] = 0
    sparse = replace(made, coefficients=empty)
    matrix = type(w).of(sparse.weights(), sparse)
    assert DEAL.encode(matrix).meta["sparse"] == 1
    assert len(DEAL.encode(matrix).stream("w").data) < 0.8 * len(DEAL.encode(w).stream("w").data)


def test_a_copy_has_no_factors() -> None:
    """Whoever changes or reorders the weights must not store factors that no longer make them."""
    w = factored(np.random.default_rng(1), 3, 12)
    assert not DEAL.applies(w[:, ::-1].copy())
    assert not DEAL.applies(np.asarray(w))
