"""Layers on bit planes that the cost model learns from: signs and steps in, one or two planes of
weights, bytes or bits out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from secateur.codegen.packing import pack
from secateur.lowering.qgraph import QConv, QDense, QGraph, QTensor, Requant, Thresholds

#: (input shape, output channels, window; (0, 0) is fully connected)
LAYERS = (
    ((32, 14, 14), 32, (3, 3)),
    ((64, 9, 9), 24, (2, 2)),
    ((96, 12, 12), 64, (1, 1)),
    ((48, 16, 10), 40, (3, 3)),
    ((768,), 40, (0, 0)),
    ((2000,), 16, (0, 0)),
    ((64, 4, 4), 32, (0, 0)),
)
INPUTS = ((2,), (1,), (1, 2), (1, 2, 4, 8))


def _requant(rows: int, span: np.ndarray, planes: tuple[int, ...]) -> Requant | Thresholds:
    """Bytes out (no planes), or thresholds over the middle of what a row's sum may be."""
    if not planes:
        return Requant(np.full(rows, 700, np.int16), np.full(rows, 128 << 16, np.int32), 0, 16)
    steps = np.linspace(-span / 8, span / 8, 2 ** len(planes) + 1, axis=1)[:, 1:-1]
    return Thresholds(steps.astype(np.int32), np.zeros(rows, np.int32), planes)


def lessons() -> Iterator[tuple[QGraph, np.ndarray]]:
    """(graph whose layers all read its input, input int8 [1, size])."""
    for n, (shape, co, k) in enumerate(LAYERS):
        for m, planes in enumerate(INPUTS):
            rng = np.random.default_rng(10 * n + m)
            zero = 1 if planes == (2,) else 0
            x = QTensor("x", shape, 1.0, zero, planes)
            graph = QGraph(f"bits_{n}_{m}", [], {"x": x}, "x", "x")
            fc = k == (0, 0)
            columns = int(np.prod(shape)) if fc else shape[0] * k[0] * k[1]
            for ternary in (False, True):
                for out in ((), (1,), (1, 2)):
                    weight = rng.choice([-1, 1], (co, columns)).astype(np.int8)
                    weight *= rng.random((co, columns)) < (0.5 if ternary else 1.0)
                    span = np.full(co, float(columns * sum(planes)))
                    name = f"l{len(graph.ops)}"
                    y = f"{name}_out"
                    q = _requant(co, span, out)
                    if fc:
                        graph.ops.append(QDense(name, ("x",), y, weight, q))
                        size: tuple[int, ...] = (co,)
                    else:
                        kernel = weight.reshape(co, shape[0], *k)
                        graph.ops.append(QConv(name, ("x",), y, kernel, q))
                        size = (co, shape[1] - k[0] + 1, shape[2] - k[1] + 1)
                    graph.tensors[y] = QTensor(y, size, 1.0, 0, out)
            graph.output = graph.ops[-1].output
            codes = np.array(x.codes) - 128
            yield pack(graph), rng.choice(codes, (1, int(np.prod(shape)))).astype(np.int8)
