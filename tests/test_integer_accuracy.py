"""Integers beside LiteRT's int8 with the same calibration data: benchmarks/integer_accuracy.py."""

from __future__ import annotations

import pytest

pytest.importorskip("keras")
pytest.importorskip("ai_edge_litert")
from benchmarks import integer_accuracy as bench

pytestmark = pytest.mark.train


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "squeeze_and_excite", "keyword_transformer", "fusion"])
def test_integers_cost_what_they_cost_litert(name: str) -> None:
    row = bench.measure(name)
    assert row["ratio"] <= bench.LIMIT
    assert max(row["keras"], row["tflite"]) <= 1e-5
