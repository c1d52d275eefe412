"""Every encoding gives back every matrix it applies to, and accounts for every bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matrices import matrices

from secateur.coding import all_encodings, best, get
from secateur.coding.base import causes
from secateur.errors import StreamError

NAMES = [e.name for e in all_encodings()]


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(weight=matrices())
def test_round_trip(name: str, weight: np.ndarray) -> None:
    encoding = get(name)
    if not encoding.applies(weight):
        with pytest.raises(ValueError, match=r".+"):
            encoding.encode(weight)
        return
    encoded = encoding.encode(weight)
    assert np.array_equal(encoding.decode(encoded), weight)
    assert encoded.encoding == name
    assert (encoded.rows, encoded.cols) == weight.shape
    assert encoded.meta["nnz"] == np.count_nonzero(weight)
    assert encoded.meta["row_nnz"] == np.count_nonzero(weight, axis=1).max()
    kinds = encoded.bits_by_kind()
    assert set(kinds) <= set(causes())
    assert sum(kinds.values()) == 8 * encoded.stored_bytes


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 256), (3, 257)])
@pytest.mark.parametrize("fill", ["zeros", "last", "ones"])
def test_corners(name: str, shape: tuple[int, int], fill: str) -> None:
    weight = np.zeros(shape, np.int8)
    if fill == "last":
        weight[-1, -1] = 1
    elif fill == "ones":
        weight[:] = 1
    encoding = get(name)
    if encoding.applies(weight):
        assert np.array_equal(encoding.decode(encoding.encode(weight)), weight)


def test_wrong_input_is_refused() -> None:
    for bad in (np.zeros((2, 2)), np.zeros(4, np.int8), np.zeros((0, 4), np.int8)):
        with pytest.raises(ValueError, match="int8 matrix"):
            get("dense").encode(bad)
    with pytest.raises(KeyError, match="known: "):
        get("nonsense")


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(weight=matrices(40), seed=st.integers(0, 2**32 - 1))
def test_damage_is_a_stream_error_or_a_matrix(name: str, weight: np.ndarray, seed: int) -> None:
    encoding = get(name)
    if not encoding.applies(weight):
        return
    encoded = encoding.encode(weight)
    rng = np.random.default_rng(seed)
    streams = []
    for s in encoded.streams:
        data = bytearray(s.data)
        if data and rng.random() < 0.3:
            del data[int(rng.integers(len(data))) :]
        elif data and rng.random() < 0.5:
            data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        streams.append(replace(s, data=bytes(data), bits=min(s.bits, 8 * len(data))))
    try:
        out = encoding.decode(replace(encoded, streams=tuple(streams)))
    except StreamError:
        return
    assert out.shape == weight.shape
    assert out.dtype == np.int8


def test_best_is_smallest() -> None:
    rng = np.random.default_rng(1)
    weight = (rng.random((40, 60)) < 0.1).astype(np.int8)
    chosen = best(weight)
    assert chosen.stored_bytes == min(
        e.encode(weight).stored_bytes for e in all_encodings() if e.applies(weight)
    )
    assert best(weight, ["dense", "bitmap"]).encoding == "bitmap"
