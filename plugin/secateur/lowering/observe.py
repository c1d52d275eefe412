"""What calibration data look like as codes: how often the inputs of a layer are 0."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from . import reference
from .qgraph import QDense, QGraph

#: Inputs that are run through the integer graph; shares need no more.
SAMPLES = 64
_BATCH = 8


def observe_zeros(graph: QGraph, calibration: np.ndarray | Mapping[str, np.ndarray]) -> QGraph:
    """`graph` with its `zero_share` from real inputs float [N, ...], for what a QDense reads."""
    wanted = {op.inputs[0] for op in graph if isinstance(op, QDense)}
    if not wanted:
        return graph
    given = calibration if isinstance(calibration, Mapping) else {graph.input: calibration}
    n = len(next(iter(given.values())))
    picks = np.linspace(0, n - 1, min(SAMPLES, n)).astype(int)
    many = reference.quantize_input(graph, {t: v[picks] for t, v in given.items()})
    x = [many] if len(graph.inputs) == 1 else many
    zeros: dict[str, np.ndarray] = {
        name: np.zeros(graph.tensors[name].size, np.int64) for name in wanted
    }
    for i in range(0, len(picks), _BATCH):
        part = {t: v[i : i + _BATCH] for t, v in zip(graph.inputs, x, strict=True)}
        values = reference.run_all(graph, part)
        for name in wanted:
            zeros[name] += (values[name] == 0).reshape(-1, zeros[name].size).sum(axis=0)
    return replace(graph, zero_share={name: count / len(picks) for name, count in zeros.items()})
