"""Code tables shared across layers."""

from __future__ import annotations

import numpy as np
from matrices import laplacian

from secateur.coding import get
from secateur.coding.sharing import share_tables, total_bytes


def test_layers_that_look_alike_share() -> None:
    weights = [laplacian(64, 64, 0.2, 2, i) for i in range(6)]
    alone = [get("huffman_ternary").encode(w) for w in weights]
    shared = share_tables(alone)
    assert total_bytes(shared) < total_bytes(alone) == sum(e.stored_bytes for e in alone)
    assert len({e.stream("t").shared for e in shared}) == 1
    assert len({e.stream("t").data for e in shared}) == 1
    for weight, encoded in zip(weights, shared, strict=True):
        assert np.array_equal(get("huffman_ternary").decode(encoded), weight)


def test_a_stranger_stays_out() -> None:
    weights = [laplacian(64, 64, 0.2, 2, i) for i in range(4)] + [laplacian(200, 200, 0.9, 2, 9)]
    alone = [get("huffman_ternary").encode(w) for w in weights]
    shared = share_tables(alone)
    assert [a == b for a, b in zip(alone, shared, strict=True)] == [False] * 4 + [True]
    assert total_bytes(shared) < total_bytes(alone)


def test_nothing_to_share() -> None:
    weights = [laplacian(64, 64, 0.2, 2, 1), np.zeros((4, 4), np.int8)]
    alone = [get("huffman_ternary").encode(weights[0]), get("sparse").encode(weights[1])]
    assert share_tables(alone) == alone
    assert share_tables([]) == []
