"""UNIDIRECTIONAL_SEQUENCE_LSTM: the fused LSTM of TensorFlow Lite, float, int8 and 16x8.

Its inputs: the sequence, four input kernels, four recurrent ones (i, f, c, o), peepholes, four
biases, projection, the two states, four layer normalisations. Weights and biases are taken by
their real values; what lies between (the scales of gates, of the hidden and of the cell state) is
calibrated anew, so an int8 file's codes within the layer are not the file's.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .reader import TfliteOp, TfliteReader, reads

_TANH = 4  #: in the schema's ActivationFunctionType
_KERNELS, _RECURRENT, _BIASES = range(1, 5), range(5, 9), range(12, 16)
_STATES = (18, 19)
_LEFT_OUT = {
    "peepholes": range(9, 12), "a projection": range(16, 18),
    "layer normalisation": range(20, 24),
}  # fmt: skip


@reads("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _lstm(r: TfliteReader, op: TfliteOp) -> str:
    given = {i for i, j in enumerate(op.inputs) if j >= 0}
    for what, places in _LEFT_OUT.items():
        if given & set(places):
            raise r.refuse(op, f"has {what}")
    if 1 not in given:
        raise r.refuse(op, "has input and forget gate in one")
    if op.option(3, "<b"):
        raise r.refuse(op, "has time in front of the batch (time_major)")
    if op.option(0, "<b") != _TANH:
        raise r.refuse(op, f"has the activation number {op.option(0, '<b')} instead of tanh")
    if op.real(2):
        raise r.refuse(op, "clips a projection (proj_clip)")
    if any(np.any(r.constant(op, i)) for i in _STATES if r.constant(op, i) is not None):
        raise r.refuse(op, "begins with states other than zeros")
    x = r.tensor(op)
    shape = r.b.shape(x)
    if r.rank(op) != 3 or shape[0] != 1:
        raise r.refuse(op, f"reads a tensor of shape {shape}")
    kernel, recurrent = (
        np.concatenate([r.needed(op, i).astype(np.float32) for i in places]).T
        for places in (_KERNELS, _RECURRENT)
    )
    params = {"kernel": kernel, "recurrent": recurrent}
    if given & set(_BIASES):
        bias = [r.needed(op, i).astype(np.float32).ravel() for i in _BIASES]
        params["bias"] = np.concatenate(bias)
    attrs: dict[str, Any] = {"cell": "lstm"}
    if op.real(1):
        attrs["cell_clip"] = op.real(1)
    y = r.b.emit("recurrent", op.name, [x], None, attrs, params)
    r.b.name_shape(y, r.b.shape(y)[1:])
    return y
