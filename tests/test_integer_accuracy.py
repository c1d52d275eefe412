"""Integers beside LiteRT's int8 with the same calibration data: benchmarks/integer_accuracy.py."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("keras")
pytest.importorskip("ai_edge_litert")
pytest.importorskip("tf2onnx")
from benchmarks import integer_accuracy as bench

pytestmark = pytest.mark.train


@pytest.mark.slow
@pytest.mark.parametrize("name", ["unet", "squeeze_and_excite", "keyword_transformer", "fusion"])
def test_integers_cost_what_they_cost_litert(name: str) -> None:
    row = bench.measure(name)
    assert row["ratio"] <= bench.LIMIT
    assert max(row["keras"], row["tflite"]) <= 1e-5


def test_the_committed_results_keep_the_limit() -> None:
    rows = json.loads(bench.RESULTS.read_text(encoding="utf-8"))
    assert [r["network"] for r in rows] == bench.networks()
    assert [r["network"] for r in rows if r["ratio"] > bench.LIMIT] == []


def test_the_committed_floats_agree_as_far_as_float32_does() -> None:
    """1e-5 of the output, or as float32 itself is off from float64: four networks in one."""
    for r in json.loads(bench.RESULTS.read_text(encoding="utf-8")):
        exact = [v for v in r.get("exact", {}).values() if v is not None]
        for other in ("keras", "tflite", "onnx"):
            if r.get(other) is not None:
                assert r[other] <= max(1e-5, 2 * max(exact, default=0.0)), (r["network"], other)
