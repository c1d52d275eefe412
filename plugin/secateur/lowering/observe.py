"""What calibration data look like as codes: how often the inputs of a layer are 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from . import reference
from .qgraph import QDense, QGraph

#: Inputs that are run through the integer graph; shares need no more.
SAMPLES = 64
_BATCH = 8


def observe_zeros(graph: QGraph, calibration: np.ndarray) -> QGraph:
    """`graph` with its `zero_share` from real inputs float [N, ...], for what a QDense reads."""
    wanted = {op.inputs[0] for op in graph if isinstance(op, QDense)}
    if not wanted:
        return graph
    picks = np.linspace(0, len(calibration) - 1, min(SAMPLES, len(calibration))).astype(int)
    x = reference.quantize_input(graph, calibration[picks])
    zeros: dict[str, np.ndarray] = {
        name: np.zeros(graph.tensors[name].size, np.int64) for name in wanted
    }
    for i in range(0, len(x), _BATCH):
        values = reference.run_all(graph, x[i : i + _BATCH])
        for name in wanted:
            zeros[name] += (values[name] == 0).reshape(-1, zeros[name].size).sum(axis=0)
    return replace(graph, zero_share={name: count / len(x) for name, count in zeros.items()})
