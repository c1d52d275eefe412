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


def test_the_committed_floats_agree_to_1e_5() -> None:
    """Executor, Keras, LiteRT and onnxruntime with each other, and with float64."""
    for r in json.loads(bench.RESULTS.read_text(encoding="utf-8")):
        found = [r[other] for other in ("keras", "tflite", "onnx")]
        assert max([*found, *r.get("exact", {}).values()]) <= 1e-5, r["network"]
