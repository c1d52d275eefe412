"""Integers beside LiteRT's int8 with the same calibration data: benchmarks/integer_accuracy.py."""

from __future__ import annotations

import json

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


def test_the_committed_results_keep_the_limit() -> None:
    rows = json.loads(bench.RESULTS.read_text(encoding="utf-8"))
    assert [r["network"] for r in rows] == bench.networks()
    assert [r["network"] for r in rows if r["ratio"] > bench.LIMIT] == []


def test_the_committed_floats_agree_as_far_as_float32_does() -> None:
    """1e-5 of the output, or what both are off from float64; we are of the others' kind."""
    for r in json.loads(bench.RESULTS.read_text(encoding="utf-8")):
        exact = {k: v for k, v in r.get("exact", {}).items() if v is not None}
        own = exact.pop("executor", 0.0)
        for other, name in (("keras", "keras"), ("tflite", "litert"), ("onnx", "onnx")):
            if exact and r[other] is not None:
                assert r[other] <= max(1e-5, own + exact[name]), (r["network"], other)
        assert own <= max(1e-5, 2 * max(exact.values(), default=0.0)), r["network"]
