"""Fully connected layers and look-up tables."""

from __future__ import annotations

import numpy as np

from ..trace import Constant, Tracer, rule
from .conv import shifted


@rule("Dense")
def dense(t: Tracer) -> None:
    """The kernel is [inputs, outputs], on the last axis."""
    layer = t.op
    inputs, ids = t.read(-1), t.make(layer.units)
    t.weight("kernel", {0: inputs, 1: ids}, int(np.prod([n or 1 for n in t.shapes[0][1:-1]])))
    t.weight("bias", {0: ids})
    t.resize(units=ids)
    t.layer.absorb = lambda value: (value @ np.asarray(layer.kernel.value, np.float64), True)
    t.layer.strength = lambda: np.abs(np.asarray(layer.kernel.value, np.float64))
    shifted(t, ids)


@rule("Embedding")
def embedding(t: Tracer) -> None:
    """A row a token: the columns are channels. Without bias, a removed one is 0."""
    if t.inputs[0] is not None:
        t.freeze(t.inputs[0].ids, f"'{t.op.name}' looks them up")
    ids = t.make(t.op.output_dim)
    t.weight("embeddings", {1: ids})
    t.resize(output_dim=ids)

    def constant(_output: int, _inputs: list[Constant | None]) -> Constant:
        return np.zeros(len(ids)), np.ones(len(ids), bool)

    t.constant = constant
