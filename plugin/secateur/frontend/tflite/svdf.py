"""SVDF of TensorFlow Lite: a filter over features, a memory of its last results, one over time.

P. Nakkiran et al., "Compressing deep neural networks using a rank-constrained topology", 2015. Its
inputs: the frame [1, in], feature weights [filters, in], time weights [filters, memory], a bias
[units], the state; filters = units * rank. An interpreter reads a frame a call and keeps the state
from one call to the next. Here such a file is a network of sequences that begin with a state of
zeros: a fully connected layer, then a convolution along time that sees the past alone, of which
`streaming=True` makes one frame a call. Weights are the file's by value; what the memory holds (16
bits in an int8 file) is calibrated anew and has 8 bits.
"""

from __future__ import annotations

import numpy as np

from secateur.frontend.layers.dense import dense

from .reader import TfliteOp, TfliteReader, reads

_INPUT, _FEATURE, _TIME, _BIAS, _STATE = range(5)
_SIGN_BIT = 5  #: the last in the schema's ActivationFunctionType

#: Operators of a file with SVDF: they see one frame, whatever number its axis has.
_BY_FRAME = frozenset(
    {"SVDF", "FULLY_CONNECTED", "QUANTIZE", "DEQUANTIZE", "RESHAPE", "RELU", "RELU6",
     "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "LOGISTIC", "TANH", "HARD_SWISH", "ELU",
     "SOFTMAX", "LOG_SOFTMAX", "ADD", "SUB", "MUL"}
)  # fmt: skip


def give_time(r: TfliteReader) -> None:
    """Give the tensors [1, C] of a file with SVDF an axis of time: as many frames as one of its
    outputs depends on. Raises ModelError where an operator or a tensor is not of one frame."""
    ops = list(r.listed())
    layers = [op for op in ops if op.kind == "SVDF"]
    if not layers:
        return
    r.frames = max(2, 1 + sum(r.needed(op, _TIME).shape[-1] - 1 for op in layers))
    states = {op.inputs[_STATE] for op in layers if len(op.inputs) > _STATE}
    for op in ops:
        if op.kind not in _BY_FRAME:
            raise r.refuse(op, "stands beside SVDF, which reads frame by frame,")
        for j in {*op.inputs, *op.outputs} - states - {-1}:
            t = r.tensors[j]
            if t.data is None and len(t.shape) == 2:
                if t.shape[0] != 1:
                    raise r.refuse(op, f"reads or makes {t.shape[0]} frames at once beside SVDF,")
                t.shape = (1, r.frames, t.shape[1])
            elif t.data is None and t.shape[:2] != (1, r.frames):
                raise r.refuse(op, f"has a tensor of shape {list(t.shape)} beside SVDF,")


@reads("SVDF")
def _svdf(r: TfliteReader, op: TfliteOp) -> str:
    feature, time = (r.needed(op, i).astype(np.float32) for i in (_FEATURE, _TIME))
    bias, state = r.constant(op, _BIAS), r.constant(op, _STATE)
    rank, activation = op.option(0), op.option(1, "<b")
    x = r.tensor(op)
    if feature.ndim != 2 or time.ndim != 2 or len(feature) != len(time):
        raise r.refuse(op, f"has weights of shapes {feature.shape} and {time.shape}")
    filters, memory = time.shape
    if rank < 1 or filters % rank:
        raise r.refuse(op, f"has rank {rank} for {filters} filters")
    if state is not None and np.any(state):
        raise r.refuse(op, "begins with a state other than zeros")
    if not 0 <= activation <= _SIGN_BIT:
        raise r.refuse(op, f"has the activation number {activation}")
    units = filters // rank
    before = dense(r.b, f"{op.name}_feature", x, feature.T)
    params = {} if bias is None else {"bias": bias.astype(np.float32).ravel()}
    attrs = {"strides": (1, 1), "pads": (0, memory - 1, 0, 0)}
    kernel = time.T.reshape(1, memory, units, rank)
    if rank == 1:
        y = r.b.emit("depthwise_conv2d", op.name, [before], None, attrs,
                     {"kernel": kernel, **params})  # fmt: skip
    else:  # the sum over ranks is that over a group's channels
        y = r.b.emit("conv2d", op.name, [before], None, {**attrs, "groups": units},
                     {"kernel": kernel.transpose(0, 1, 3, 2), **params})  # fmt: skip
    return r.fused(op, y, activation)
