"""Norms: a removed channel stands still at the norm's shift."""

from __future__ import annotations

import numpy as np

from ..trace import Constant, Tracer, rule


def _shift(t: Tracer, ids: np.ndarray) -> None:
    layer = t.op

    def constant(_output: int, _inputs: list[Constant | None]) -> Constant:
        beta = getattr(layer, "beta", None)
        value = np.zeros(len(ids)) if beta is None else np.asarray(beta.value, np.float64)
        return value, np.ones(len(ids), bool)

    t.constant = constant
    t.inplace = True
    t.layer.held, t.layer.norm = ids, True


@rule("BatchNormalization")
def batch(t: Tracer) -> None:
    """Four vectors along one axis."""
    x = t.inputs[0]
    axis = t.op.axis[0] if isinstance(t.op.axis, list | tuple) else t.op.axis
    if x is None or x.axis != axis % len(t.shapes[0]):
        t.whole(f"'{t.op.name}' works across another axis than the channels'")
        return
    ids = t.same()
    assert ids is not None
    for name in ("gamma", "beta", "moving_mean", "moving_variance"):
        t.weight(name, {0: ids})
    _shift(t, ids)


@rule("GroupNormalization")
def group(t: Tracer) -> None:
    """Statistics of neighbouring channels: a group of them stays or goes whole."""
    x = t.inputs[0]
    if x is None or x.axis != t.op.axis % len(t.shapes[0]):
        t.whole(f"'{t.op.name}' works across another axis than the channels'")
        return
    ids = t.same()
    assert ids is not None
    size = len(ids) // t.op.groups if t.op.groups > 0 else 1
    for i in range(1, size):
        t.ids.unite(ids[::size], ids[i::size])
    t.weight("gamma", {0: ids})
    t.weight("beta", {0: ids})
    t.resize(groups=lambda count: count(ids) // size)
    _shift(t, ids)
