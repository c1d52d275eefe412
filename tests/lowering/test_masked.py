"""Scores under a mask keep their codes."""

from __future__ import annotations

import numpy as np

from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.lowering import reference as ref
from secateur.lowering.quantize import lower


def test_masked_scores_are_told_apart() -> None:
    b = Builder("masked")
    x = b.add_input("x", (1, 6, 6))
    mask = np.where(np.tri(6, dtype=bool), 0, -1e4).astype(np.float32).reshape(1, 6, 6)
    scores = b.activation("scores", x, "mish")
    scores = b.arithmetic("add", "masked", scores, mask)
    graph = b.finish(b.emit("softmax", "weights", [scores], None, {"axis": -1}))
    given = np.random.default_rng(0).normal(0, 2, (64, 1, 6, 6)).astype(np.float32)
    q = lower(graph, given)
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, given)))
    want = execute.run(graph, given).reshape(got.shape)
    assert np.abs(got - want).max() <= 0.05  # 0.7 where the mask takes part in the range
    hidden = np.broadcast_to(mask < 0, got.shape)
    assert (got[hidden] == 0).all()
    assert next(n for n in graph.nodes if n.op == "constant").params["value"].min() == -1e4
