"""Stored sizes against the entropy, and encoders' own estimates."""

from __future__ import annotations

import time

import numpy as np
import pytest
from matrices import laplacian

from secateur.coding import all_encodings, best, get
from secateur.coding.entropy import entropy_bits, layer_entropy
from secateur.coding.huffman import CodeTable
from secateur.coding.range_coder import (
    HALF,
    SHIFTS,
    RangeDecoder,
    _probabilities,
    coded_bytes,
    encode_bins,
)

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


@pytest.mark.parametrize(("title", "weight"), LAYERS[:4])
def test_sketches_are_as_long_as_what_they_stand_for(title: str, weight: np.ndarray) -> None:
    for encoding in (e for e in all_encodings() if e.applies(weight)):
        sketch, real = encoding.sketch(weight), encoding.encode(weight)
        assert abs(sketch.stored_bytes - real.stored_bytes) <= 2, encoding.name
        assert sketch.meta == real.meta
        assert sketch.exact == real
        assert real.exact is real


def test_a_range_coder_expects_what_its_decoder_will() -> None:
    """Context by context and four bins at a time: as bin by bin."""
    rng = np.random.default_rng(4)
    contexts = rng.choice([-1, 0, 1, 2, 7], 5000, p=[0.1, 0.6, 0.2, 0.09, 0.01])
    bins = (rng.random(5000) < 0.1 + 0.8 * (contexts == 1)).astype(np.uint8)
    probability, seen = [HALF] * 8, [0] * 8
    want = []
    for c, one in zip(contexts.tolist(), bins.tolist(), strict=True):
        want.append((HALF if c < 0 else probability[c]) >> 4)
        if c >= 0:
            shift = SHIFTS[min(seen[c], len(SHIFTS) - 1)]
            p = probability[c]
            probability[c] += -(p >> shift) if one else (65536 - p) >> shift
            seen[c] += 1
    np.testing.assert_array_equal(_probabilities(contexts, bins), want)
    data = encode_bins(contexts, bins)
    decoder = RangeDecoder(data, 8)
    got = [decoder.raw(1) if c < 0 else decoder.bin(c) for c in contexts.tolist()]
    assert got == bins.tolist()
    assert abs(coded_bytes(contexts, bins) - len(data)) <= 2


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


@pytest.mark.parametrize("encoding", ["huffman_joint", "huffman_sparse", "huffman_dense"])
def test_codes_that_are_not_looked_up_at_once_are_counted(encoding: str) -> None:
    many = laplacian(200, 300, 0.1, 60, 4)
    assert 0 < get(encoding).encode(many).meta["long"] < many.size
    # a stream of one symbol has no bits to look anything up by
    only = CodeTable.of(np.zeros(5, np.int64), 3)
    assert only.long(np.zeros(5, np.int64)) == 5
    lengths = np.array([9, 9, *range(8, 0, -1)])
    assert CodeTable(lengths).long(np.arange(10)) == 2
