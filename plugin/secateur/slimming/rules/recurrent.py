"""Recurrent layers read channels; their state is left whole."""

from __future__ import annotations

import numpy as np

from ..trace import Tracer, rule


@rule("LSTM", "GRU", "SimpleRNN")
def recurrent(t: Tracer) -> None:
    """The input kernel is [inputs, gates x units]."""
    cell = t.op.cell
    if len(t.inputs) > 1 or t.inputs[0] is None or t.inputs[0].axis != len(t.shapes[0]) - 1:
        t.whole(f"'{t.op.name}' works across another axis than the channels'")
        return
    inputs = t.read(-1)
    t.weight("kernel", {0: inputs}, t.shapes[0][1] or 1, of=cell)
    t.weight("recurrent_kernel", {}, t.shapes[0][1] or 1, of=cell)
    t.weight("bias", {}, of=cell)
    for k, shape in enumerate(t.out_shapes):
        ids = t.make(shape[-1] or 1, output=k)
        t.freeze(ids, f"the state of '{t.op.name}' is not cut")
    t.layer.absorb = lambda value: (value @ np.asarray(cell.kernel.value, np.float64), True)

    def strength() -> np.ndarray:
        kernel = np.abs(np.asarray(cell.kernel.value, np.float64))
        return kernel.reshape(len(kernel), -1, cell.units).sum(1)

    t.layer.strength = strength
