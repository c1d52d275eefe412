"""Stored sizes against the entropy, and encoders' own estimates."""

from __future__ import annotations

import time

import numpy as np
import pytest
from matrices import laplacian

from secateur.coding import all_encodings, best, get
from secateur.coding.entropy import entropy_bits, layer_entropy

LAYERS = [
    ("ternary, 5 %", laplacian(300, 784, 0.05, 2, 1)),
    ("ternary, 20 %", laplacian(256, 256, 0.2, 2, 2)),
    ("ternary, 50 %", laplacian(200, 150, 0.5, 2, 3)),
    ("16 levels, 10 %", laplacian(500, 800, 0.1, 16, 4)),
    ("32 levels, 8 %", laplacian(400, 1000, 0.08, 32, 5)),
]


@pytest.mark.parametrize(("title", "weight"), LAYERS)
def test_near_the_entropy(title: str, weight: np.ndarray) -> None:
    assert np.count_nonzero(weight) >= 10_000
    bound = layer_entropy(weight).joint
    near = min(get(n).encode(weight).stored_bytes for n in ("range_sparse", "context_sparse"))
    huffman = best(weight, ["huffman_sparse", "huffman_joint", "huffman_dense"]).stored_bytes
    assert near <= 1.03 * bound
    assert huffman <= 1.08 * bound
    if title.startswith("ternary"):
        assert get("range_ternary").encode(weight).stored_bytes <= 1.03 * bound
        assert get("huffman_ternary").encode(weight).stored_bytes <= 1.08 * bound


def test_contexts_gain_on_pictures() -> None:
    """Rows that are smooth pictures with dead borders: neighbours tell a lot."""
    rng = np.random.default_rng(3)
    field = rng.normal(size=(120, 28, 28))
    smooth = sum(np.roll(field, (i, j), (1, 2)) for i in range(3) for j in range(3))
    weight = (np.sign(smooth) * (np.abs(smooth) > 5)).astype(np.int8)
    weight[:, :4], weight[:, -4:] = 0, 0
    matrix = weight.reshape(120, 784)
    encoded = get("context_ternary").encode(matrix)
    assert encoded.meta["stride"] in (27, 28, 29)
    assert encoded.stored_bytes < 0.9 * layer_entropy(matrix).joint
    assert encoded.stored_bytes < 0.9 * get("range_ternary").encode(matrix).stored_bytes
    assert best(matrix).encoding.startswith("context")


@pytest.mark.parametrize(("title", "weight"), LAYERS[:4])
def test_estimates_hold(title: str, weight: np.ndarray) -> None:
    for encoding in all_encodings():
        guess = encoding.estimate(weight) if encoding.applies(weight) else None
        if guess is not None:
            assert guess == pytest.approx(encoding.encode(weight).stored_bytes, rel=0.01)


def test_entropy_figures() -> None:
    assert entropy_bits(np.array([])) == 0
    assert entropy_bits(np.array([5, 5, 5])) == 0
    assert entropy_bits(np.array([0, 1, 2, 3])) == 8
    weight = np.array([[0, 1, 0, -1], [0, 1, 0, -1]], np.int8)  # gaps are all 1
    figures = layer_entropy(weight)
    assert (figures.weights, figures.gaps, figures.values) == (1.5, 0.0, 0.5)
    assert figures.joint == figures.separate == figures.least == 0.5


def test_a_million_weights(capsys: pytest.CaptureFixture[str]) -> None:
    """Every encoding takes such a layer; the times are printed, not asserted."""
    lines = []
    for levels in (2, 32):
        weight = laplacian(1000, 1000, 0.1, levels, 9)
        for encoding in all_encodings():
            if encoding.applies(weight):
                start = time.process_time()
                encoded = encoding.encode(weight)
                seconds = time.process_time() - start
                lines.append(f"{encoding.name} {levels} {encoded.stored_bytes} {seconds:.2f} s")
                assert encoded.stored_bytes > 0
    with capsys.disabled():
        print("\nencoding 1,000,000 weights, 10 % non-zero (levels, bytes, CPU time):")
        print("\n".join(lines))
