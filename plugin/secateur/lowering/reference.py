"""The integer specification, executable: exact NumPy execution of an integer graph.

Sums are computed by matrix products in float32 or float64 where their bounds are exactly
representable (2^24, 2^53), which is integer arithmetic at the speed of a BLAS.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.errors import DataError
from secateur.lowering.qgraph import (
    QAdd,
    QConv,
    QDense,
    QGraph,
    QPack,
    QPad,
    QPool,
    QRescale,
    QSoftmax,
    Requant,
    Thresholds,
)
from secateur.lowering.registry import executes, execution_of

Array = np.ndarray


def quantize_input(qgraph: QGraph, x: Array) -> Array:
    """Real inputs [N, H, W, C] (or [N, L, C], [N, n]) to the interface's int8, same layout."""
    t = qgraph.tensors[qgraph.input]
    x = _shaped(qgraph, np.asarray(x))
    bad = ~np.isfinite(x)
    if bad.any():
        raise DataError(
            f"inputs for model '{qgraph.name}' hold NaN or infinity (first in sample "
            f"{int(np.argwhere(bad)[0, 0])}); remove or repair those samples"
        )
    u = np.floor(x.astype(np.float64) / t.scale + 0.5) + t.zero_point
    return (np.clip(u, 0, 255) - 128).astype(np.int8)


def dequantize_output(qgraph: QGraph, q: Array) -> Array:
    """int8 outputs of `run` to real values, float32."""
    t = qgraph.tensors[qgraph.output]
    return ((q.astype(np.float32) + 128 - t.zero_point) * np.float32(t.scale)).astype(np.float32)


def run(qgraph: QGraph, q: Array, batch: int = 64) -> Array:
    """int8 [N, H, W, C] (or [N, n]) to int8 [N, n], spatial outputs as [N, H, W, C]."""
    q = _interface(qgraph, q)
    parts = []
    for i in range(0, len(q), batch):
        values = _execute(qgraph, q[i : i + batch], keep=False)
        parts.append(output_codes(qgraph, values[qgraph.output]))
    return np.concatenate(parts)


def run_all(qgraph: QGraph, q: Array) -> dict[str, Array]:
    """Every tensor as codes: uint8 [N, C, H, W] or [N, n], by name."""
    return _execute(qgraph, _interface(qgraph, q), keep=True)


def output_codes(qgraph: QGraph, u: Array) -> Array:
    """Codes of the output tensor (planar) as the interface's int8 in (H, W, C) order."""
    if len(qgraph.tensors[qgraph.output].shape) == 3:
        u = u.transpose(0, 3, 2, 1) if qgraph.transposed else u.transpose(0, 2, 3, 1)
        if u.shape[1:3] == (1, 1):
            u = u.reshape(len(u), -1)
    return (u.astype(np.int16) - 128).astype(np.int8)


def _shaped(qgraph: QGraph, x: Array) -> Array:
    shape = qgraph.interface_shape(qgraph.input)
    size = int(np.prod(shape))
    given = tuple(d for d in x.shape[1:] if d != 1)
    if x.ndim == 0 or len(x) == 0:
        raise DataError(f"inputs for model '{qgraph.name}' are empty; give samples of {shape}")
    if given not in (tuple(d for d in shape if d != 1), (size,)):
        raise DataError(
            f"inputs for model '{qgraph.name}' have shape {x.shape[1:]} a sample, but the model "
            f"takes {shape}; give an array [N, {', '.join(map(str, shape))}]"
        )
    return x.reshape(len(x), *shape)


def _interface(qgraph: QGraph, q: Array) -> Array:
    q = np.asarray(q)
    if q.dtype != np.int8:
        raise DataError(
            f"integer inputs for model '{qgraph.name}' have type {q.dtype}; pass them through "
            "quantize_input first"
        )
    return _shaped(qgraph, q)


def _execute(qgraph: QGraph, q: Array, keep: bool) -> dict[str, Array]:
    u = (q.astype(np.int16) + 128).astype(np.uint8)
    if u.ndim == 4:
        u = np.ascontiguousarray(u.transpose((0, 3, 2, 1) if qgraph.transposed else (0, 3, 1, 2)))
    values = {qgraph.input: u}
    last = {t: i for i, op in enumerate(qgraph.ops) for t in op.inputs}
    for i, op in enumerate(qgraph.ops):
        y = execution_of(op)(qgraph, op, [values[t] for t in op.inputs])
        values[op.output] = y.reshape(len(q), *qgraph.tensors[op.output].shape)
        if not keep:
            for t in set(op.inputs):
                if last[t] == i and t != qgraph.output:
                    del values[t]
    return values


def requantize(
    acc: Array, requant: Requant | Thresholds, channel_axis: int = 1, extra: Array | int = 0
) -> Array:
    """u = clamp((((acc * M) >> S) + extra + C) >> f); `acc` int, channels along `channel_axis`.

    With thresholds, the code of as many of them as acc passes.
    """
    shape = [1] * acc.ndim
    shape[channel_axis] = -1
    if isinstance(requant, Thresholds):
        turned = acc.astype(np.int64) ^ requant.flip.astype(np.int64).reshape(shape)
        passed = np.zeros(acc.shape, np.uint8)
        for column in requant.values.T:
            passed += turned >= column.reshape(shape)
        return np.array(requant.codes, np.uint8)[passed]
    m = requant.multiplier.astype(np.int64).reshape(shape)
    c = requant.offset.astype(np.int64).reshape(shape)
    t = ((acc.astype(np.int64) * m) >> requant.pre_shift) + extra + c
    return np.clip(t >> requant.shift, 0, 255).astype(np.uint8)


def _matmul(a: Array, w: Array) -> Array:
    """Exact a [n, k] (codes) @ w.T [k, rows] as int64."""
    bound = 255 * int(np.abs(w.astype(np.int64)).sum(axis=1).max(initial=0))
    kind = np.float32 if bound < 2**24 else np.float64
    return (a.astype(kind) @ w.T.astype(kind)).astype(np.int64)


def _pad(u: Array, pads: tuple[int, int, int, int], code: int) -> Array:
    t, left, b, r = pads
    if not any(pads):
        return u
    return np.pad(u, ((0, 0), (0, 0), (t, b), (left, r)), constant_values=code)


def _windows(u: Array, window: tuple[int, int], stride: tuple[int, int]) -> Array:
    """[N, C, oh, ow, kh, kw] view of padded codes [N, C, H, W]."""
    axes: Any = (2, 3)  # NumPy 1's stubs take one axis only
    v = np.lib.stride_tricks.sliding_window_view(u, window, axis=axes)
    return v[:, :, :: stride[0], :: stride[1]]


def accumulate(qgraph: QGraph, op: QConv | QDense, u: Array) -> Array:
    """The accumulators of a weighted operator, int64 [N, co, oh, ow] or [N, out]."""
    if isinstance(op, QDense):
        return _matmul(u.reshape(len(u), -1), op.weight)
    x = _pad(u, op.pads, qgraph.tensors[op.inputs[0]].zero_point)
    co, cig, kh, kw = op.weight.shape
    cog = co // op.groups
    if cig == 1 and cog == 1 and op.groups > 1:
        return _depthwise(op, x)
    parts = []
    for g in range(op.groups):
        v = _windows(x[:, g * cig : (g + 1) * cig], (kh, kw), op.stride)
        n, _, oh, ow = v.shape[:4]
        cols = v.transpose(0, 2, 3, 1, 4, 5).reshape(n * oh * ow, cig * kh * kw)
        y = _matmul(cols, op.weight[g * cog : (g + 1) * cog].reshape(cog, -1))
        parts.append(y.reshape(n, oh, ow, cog).transpose(0, 3, 1, 2))
    return np.concatenate(parts, axis=1)


def _depthwise(op: QConv, x: Array) -> Array:
    _, _, kh, kw = op.weight.shape
    sy, sx = op.stride
    oh, ow = (x.shape[2] - kh) // sy + 1, (x.shape[3] - kw) // sx + 1
    x = x.astype(np.int32)
    acc = np.zeros((len(x), len(op.weight), oh, ow), np.int32)
    for i in range(kh):
        for j in range(kw):
            w = op.weight[:, 0, i, j].astype(np.int32)[:, None, None]
            acc += x[:, :, i : i + (oh - 1) * sy + 1 : sy, j : j + (ow - 1) * sx + 1 : sx] * w
    return acc


@executes(QConv)
def _conv(qgraph: QGraph, op: QConv, inputs: list[Array]) -> Array:
    acc = accumulate(qgraph, op, inputs[0])
    extra: Array | int = 0
    if op.residual is not None:
        extra = (inputs[1].astype(np.int64) * op.residual) >> 16
    return requantize(acc, op.requant, extra=extra)


@executes(QDense)
def _dense(qgraph: QGraph, op: QDense, inputs: list[Array]) -> Array:
    return requantize(accumulate(qgraph, op, inputs[0]), op.requant)


@executes(QPool)
def _pool(qgraph: QGraph, op: QPool, inputs: list[Array]) -> Array:
    u = inputs[0]
    if op.mode == "max":
        # Code 0 is the least, so as padding it never wins over a pixel.
        return _windows(_pad(u, op.pads, 0), op.window, op.stride).max(axis=(-2, -1))
    assert op.requant is not None
    total = _windows(_pad(u, op.pads, 0), op.window, op.stride).sum(axis=(-2, -1), dtype=np.int64)
    ones = _pad(np.ones((1, 1, *u.shape[2:]), np.uint8), op.pads, 0)
    count = _windows(ones, op.window, op.stride).sum(axis=(-2, -1), dtype=np.int64)
    entry = np.searchsorted(np.array(op.counts), count)
    m = op.requant.multiplier.astype(np.int64)[entry]
    c = op.requant.offset.astype(np.int64)[entry]
    t = ((total * m) >> op.requant.pre_shift) + c
    return np.clip(t >> op.requant.shift, 0, 255).astype(np.uint8)


@executes(QAdd)
def _add(qgraph: QGraph, op: QAdd, inputs: list[Array]) -> Array:
    a, b = (v.reshape(len(v), -1).astype(np.int64) for v in inputs)
    t = ((a * op.multipliers[0]) >> 16) + ((b * op.multipliers[1]) >> 16) + op.offset
    return np.clip(t >> op.shift, 0, 255).astype(np.uint8)


@executes(QRescale)
def _rescale(qgraph: QGraph, op: QRescale, inputs: list[Array]) -> Array:
    u = inputs[0]
    return requantize(u.reshape(len(u), 1, -1), op.requant).reshape(u.shape)


@executes(QPad)
def _pad_op(qgraph: QGraph, op: QPad, inputs: list[Array]) -> Array:
    return _pad(inputs[0], op.pads, qgraph.tensors[op.inputs[0]].zero_point)


@executes(QPack)
def _pack(qgraph: QGraph, op: QPack, inputs: list[Array]) -> Array:
    return inputs[0]  # packed or not, here a tensor holds its codes


@executes(QSoftmax)
def _softmax(qgraph: QGraph, op: QSoftmax, inputs: list[Array]) -> Array:
    u = inputs[0].reshape(len(inputs[0]), -1).astype(np.uint64)
    t = (u.max(axis=1, keepdims=True) - u) * np.uint64(op.beta)
    n, x = t >> np.uint64(16), t & np.uint64(65535)
    sixteen = np.uint64(16)
    p = np.uint64(65536) - ((np.uint64(44012) * x) >> sixteen)
    p = p + ((((x * x) >> sixteen) * np.uint64(11244)) >> sixteen)
    e = np.where(n > sixteen, np.uint64(0), p >> np.minimum(n, np.uint64(63)))
    s = e.sum(axis=1, keepdims=True)
    return np.minimum((e * np.uint64(256) + s // np.uint64(2)) // s, np.uint64(255)).astype(
        np.uint8
    )
