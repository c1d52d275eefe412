"""The integer specification, executable: exact NumPy execution of an integer graph.

Sums are computed by matrix products in float32 or float64 where their bounds are exactly
representable (2^24, 2^53), which is integer arithmetic at the speed of a BLAS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from secateur.errors import DataError
from secateur.lowering.qgraph import (
    QAdd,
    QConv,
    QDense,
    QGraph,
    QOp,
    QPack,
    QPad,
    QPool,
    QPutTime,
    QRescale,
    QSoftmax,
    QSums,
    QTakeTime,
    Requant,
    ShortRequant,
    Thresholds,
    TimeLoop,
    WideRequant,
)
from secateur.lowering.registry import executes, execution_of
from secateur.lowering.softmax import shares

Array = np.ndarray


Ends = Array | Sequence[Array] | Mapping[str, Array]


def quantize_input(qgraph: QGraph, x: Ends) -> Any:
    """Real inputs to the interface's types, same layout: one array, or a list for several inputs.

    x: float [N, H, W, C] (or [N, L, C], [N, n]); of several inputs a list in the model's order, or
    a mapping by name. Inputs of integers (ids) are taken as they are.
    """
    out = [_quantize(qgraph, t, v) for t, v in zip(qgraph.inputs, _ends(qgraph, x), strict=True)]
    return out[0] if len(qgraph.inputs) == 1 else out


def _quantize(qgraph: QGraph, tensor: str, values: Array) -> Array:
    t = qgraph.tensors[tensor]
    x = _shaped(qgraph, tensor, np.asarray(values))
    kind = qgraph.interface_dtype(tensor)
    bad = ~np.isfinite(x)
    if bad.any():
        raise DataError(
            f"inputs for model '{qgraph.name}' hold NaN or infinity (first in sample "
            f"{int(np.argwhere(bad)[0, 0])}); remove or repair those samples"
        )
    if t.dtype == "int32":
        if not np.array_equal(x, np.rint(x)):
            raise DataError(f"input '{tensor}' of model '{qgraph.name}' takes whole numbers")
        return x.astype(np.int32)
    real = x.astype(np.float64) / qgraph.factors.get(tensor, 1.0)
    u = np.floor(real / t.scale + 0.5) + t.zero_point
    return (np.clip(u, t.bottom, t.top) - (128 if kind == "int8" else 0)).astype(kind)


def dequantize_output(qgraph: QGraph, q: Ends) -> Any:
    """Outputs of `run` as real values, float32 (indices: int32); a list for several outputs."""
    many = [q] if len(qgraph.outputs) == 1 else list(q)
    out = [_real(qgraph, t, np.asarray(v)) for t, v in zip(qgraph.outputs, many, strict=True)]
    return out[0] if len(qgraph.outputs) == 1 else out


def _real(qgraph: QGraph, tensor: str, q: Array) -> Array:
    t, kind = qgraph.tensors[tensor], qgraph.interface_dtype(tensor)
    if kind == "float32" or t.dtype == "int32":
        return q  # real numbers, indices
    code = q.astype(np.float32) + (128 if kind == "int8" else 0)
    return ((code - t.zero_point) * np.float32(t.scale)).astype(np.float32)


def run(qgraph: QGraph, q: Ends, batch: int = 64) -> Any:
    """Inputs in the interface's types to outputs in theirs, [N, n], spatial ones as [N, H, W, C].

    One array in, or a list (mapping) of several; one array out, or a list.
    """
    given = _interface(qgraph, q)
    parts: list[list[Array]] = []
    for i in range(0, len(given[0]), batch):
        values = _execute(qgraph, [v[i : i + batch] for v in given], keep=False)
        parts.append([output_codes(qgraph, values[t], t) for t in qgraph.outputs])
    out = [np.concatenate(p) for p in zip(*parts, strict=True)]
    return out[0] if len(qgraph.outputs) == 1 else out


def run_all(qgraph: QGraph, q: Ends) -> dict[str, Array]:
    """Every tensor as codes: uint8 [N, C, H, W] or [N, n], by name."""
    return _execute(qgraph, _interface(qgraph, q), keep=True)


def output_codes(qgraph: QGraph, u: Array, tensor: str | None = None) -> Array:
    """Codes of an output tensor (planar) in the interface's type and (H, W, C) order."""
    tensor = tensor or qgraph.output
    t, kind = qgraph.tensors[tensor], qgraph.interface_dtype(tensor)
    if len(t.shape) == 3:
        u = u.transpose(0, 3, 2, 1) if qgraph.transposed else u.transpose(0, 2, 3, 1)
        if u.shape[1:3] == (1, 1):
            u = u.reshape(len(u), -1)
    elif len(t.shape) > 1:
        u = np.moveaxis(u, 1, -1)
    if kind == "float32" and t.dtype != "float32":
        return (
            (u.astype(np.int32) - t.zero_point).astype(np.float32) * np.float32(t.scale)
        ).astype(np.float32)
    if kind == "int8":
        return (u.astype(np.int16) - 128).astype(np.int8)
    return u.astype(kind)


def _ends(qgraph: QGraph, x: Ends) -> list[Array]:
    """What was given for each input, in the model's order."""
    names = qgraph.inputs
    if isinstance(x, Mapping):
        missing, extra = sorted(set(names) - set(x)), sorted(set(x) - set(names))
        if missing or extra:
            wrong = f"lack {missing[0]!r}" if missing else f"hold {extra[0]!r}"
            raise DataError(
                f"inputs for model '{qgraph.name}' {wrong}; it takes {', '.join(names)}"
            )
        values = [np.asarray(x[n]) for n in names]
    elif len(names) == 1:
        values = [np.asarray(x)]
    else:
        if not isinstance(x, list | tuple) or len(x) != len(names):
            raise DataError(
                f"model '{qgraph.name}' takes {len(names)} inputs ({', '.join(names)}); give a "
                "list of that many arrays, or a mapping by name"
            )
        values = [np.asarray(v) for v in x]
    if len({len(v) if v.ndim else 0 for v in values}) > 1:
        raise DataError(f"inputs for model '{qgraph.name}' have different numbers of samples")
    return values


def _shaped(qgraph: QGraph, tensor: str, x: Array) -> Array:
    shape = qgraph.interface_shape(tensor)
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


def _interface(qgraph: QGraph, q: Ends) -> list[Array]:
    out = []
    for tensor, v in zip(qgraph.inputs, _ends(qgraph, q), strict=True):
        kind = qgraph.interface_dtype(tensor)
        if v.dtype != kind:
            raise DataError(
                f"integer inputs for model '{qgraph.name}' have type {v.dtype} where it takes "
                f"{kind}; pass them through quantize_input first"
            )
        out.append(_shaped(qgraph, tensor, v))
    return out


def input_codes(qgraph: QGraph, tensor: str, q: Array) -> Array:
    """An input in the interface's type as codes, planar [N, C, H, W] or [N, n]."""
    t, kind = qgraph.tensors[tensor], qgraph.interface_dtype(tensor)
    u = (q.astype(np.int16) + 128).astype(np.uint8) if kind == "int8" else q.astype(t.dtype)
    if u.ndim == 4:
        u = u.transpose((0, 3, 2, 1) if qgraph.transposed else (0, 3, 1, 2))
    elif u.ndim != 2:
        u = np.moveaxis(u, -1, 1)
    return np.ascontiguousarray(u)


class Stepper:
    """A network of a step, executed step by step for `n` streams side by side.

    step(q) takes a frame in the interface's type [n, ...] and gives the outputs, or None in steps
    in which there are none.
    """

    def __init__(self, qgraph: QGraph, n: int = 1) -> None:
        if qgraph.step_due is None:
            raise ValueError(f"'{qgraph.name}' is no network of a step")
        self.qgraph, self.n = qgraph, n
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self._count = 0
        lasting = [t for t, s in self.qgraph.states.items() if not s.loop]
        self._states = {t: start(self.qgraph, t, self.n) for t in lasting}

    def step(self, frame: Array) -> Any:
        """One element of time."""
        q, n = self.qgraph, self.n
        values = dict(self._states)
        given = zip(q.inputs, _interface(q, frame), strict=True)
        values |= {t: input_codes(q, t, v) for t, v in given}
        for name, constant in q.constants.items():
            shape = q.tensors[name].shape
            values[name] = np.broadcast_to(constant.reshape(1, *shape), (n, *shape))
        for loop, ops in sections(q):
            due = [(i, op) for i, op in ops if q.due[op.name].at(self._count)]
            if loop is not None and due:
                _turns(q, loop, ops, values, n)
            elif loop is None:
                for _, op in due:
                    _one(q, op, values, n)
        for t, s in q.states.items():
            if not s.loop and s.next in values:
                self._states[t] = values[s.next].reshape(n, *q.tensors[t].shape)
        assert q.step_due is not None
        due_now = q.step_due.at(self._count)
        self._count += 1
        if not due_now:
            return None
        out = [output_codes(q, values[t], t) for t in q.outputs]
        return out[0] if len(out) == 1 else out


def whole_windows(qgraph: QGraph) -> None:
    """Raises DataError for a network of a step, which `Stepper` runs."""
    if qgraph.step_due is not None:
        raise DataError(
            f"'{qgraph.name}' was converted for streaming and has no whole windows; feed it frame "
            "by frame: CompiledModel.stream()"
        )


def _execute(qgraph: QGraph, given: list[Array], keep: bool) -> dict[str, Array]:
    whole_windows(qgraph)
    n = len(given[0])
    values = {t: input_codes(qgraph, t, q) for t, q in zip(qgraph.inputs, given, strict=True)}
    for name, constant in qgraph.constants.items():
        shape = qgraph.tensors[name].shape
        values[name] = np.broadcast_to(constant.reshape(1, *shape), (n, *shape))
    last = {t: i for i, op in enumerate(qgraph.ops) for t in op.inputs}
    for loop, ops in sections(qgraph):
        if loop is not None:
            _turns(qgraph, loop, ops, values, n)
            continue
        for i, op in ops:
            _one(qgraph, op, values, n)
            if not keep:
                for t in set(op.inputs):
                    if last[t] == i and t not in qgraph.outputs:
                        del values[t]
    return values


def _one(qgraph: QGraph, op: QOp, values: dict[str, Array], n: int) -> None:
    y = execution_of(op)(qgraph, op, [values[t] for t in op.inputs])
    t = qgraph.tensors[op.output]
    values[op.output] = y.reshape(n, *t.shape).astype(t.dtype, copy=False)


def sections(qgraph: QGraph) -> list[tuple[TimeLoop | None, list[tuple[int, QOp]]]]:
    """Operators with their places, cut where a loop begins and ends."""
    out: list[tuple[TimeLoop | None, list[tuple[int, QOp]]]] = []
    inside = qgraph.by_loop()
    for i, op in enumerate(qgraph.ops):
        loop = inside.get(op.name)
        if not out or out[-1][0] is not loop:
            out.append((loop, []))
        out[-1][1].append((i, op))
    return out


def start(qgraph: QGraph, tensor: str, n: int) -> Array:
    """A state before the first turn or step, [n, *shape]."""
    t = qgraph.tensors[tensor]
    return np.full((n, *t.shape), qgraph.states[tensor].initial, t.dtype)


def _turns(
    qgraph: QGraph, loop: TimeLoop, ops: list[tuple[int, QOp]], values: dict[str, Array], n: int
) -> None:
    """Run a loop: operators of time see their turn in `at`."""
    mine = {t: s for t, s in qgraph.states.items() if s.loop == loop.name}
    values |= {t: start(qgraph, t, n) for t in mine}
    for turn in range(loop.turns):
        for _, op in ops:
            if isinstance(op, QPutTime):
                t = qgraph.tensors[op.output]
                y = values.setdefault(op.output, np.zeros((n, *t.shape), t.dtype))
                y[:, :, 0, op.column(turn, loop.turns)] = values[op.inputs[0]].reshape(n, -1)
            elif isinstance(op, QTakeTime):
                x = values[op.inputs[0]]
                values[op.output] = x[:, :, 0, op.column(turn, loop.turns)]
            else:
                _one(qgraph, op, values, n)
        values |= {t: values[s.next] for t, s in mine.items()}


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
    if isinstance(requant, WideRequant):
        return _wide(acc.astype(np.int64) * m + extra + c, requant)
    t = ((acc.astype(np.int64) * m) >> requant.pre_shift) + extra + c
    if isinstance(requant, ShortRequant):
        return np.clip(t >> requant.shift, -32768, 32767).astype(np.int16)
    return np.clip(t >> requant.shift, 0, 255).astype(np.uint8)


def _wide(v: Array, requant: WideRequant) -> Array:
    """int64: what is left of the sums that `requant` describes."""
    return np.clip(v >> requant.shift, requant.low, requant.high)


def _matmul(a: Array, w: Array) -> Array:
    """Exact a [n, k] (codes) @ w.T [k, rows] as int64."""
    most = 32768 if a.dtype == np.int16 else 255
    bound = most * int(np.abs(w.astype(np.int64)).sum(axis=1).max(initial=0))
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
    kind = np.int64 if x.dtype == np.int16 else np.int32
    x = x.astype(kind)
    acc = np.zeros((len(x), len(op.weight), oh, ow), kind)
    for i in range(kh):
        for j in range(kw):
            w = op.weight[:, 0, i, j].astype(kind)[:, None, None]
            acc += x[:, :, i : i + (oh - 1) * sy + 1 : sy, j : j + (ow - 1) * sx + 1 : sx] * w
    return acc


@executes(QConv)
def _conv(qgraph: QGraph, op: QConv, inputs: list[Array]) -> Array:
    acc = accumulate(qgraph, op, inputs[0])
    extra: Array | int = 0
    if op.residual is not None:
        extra = inputs[1].astype(np.int64) * op.residual
        extra = extra if isinstance(op.requant, WideRequant) else extra >> 16
    return requantize(acc, op.requant, extra=extra)


@executes(QSums)
@executes(QDense)
def _dense(qgraph: QGraph, op: QDense, inputs: list[Array]) -> Array:
    return requantize(accumulate(qgraph, op, inputs[0]), op.requant)


@executes(QPool)
def _pool(qgraph: QGraph, op: QPool, inputs: list[Array]) -> Array:
    u = inputs[0]
    if op.mode == "max":
        # The least code never wins over a pixel.
        least = qgraph.tensors[op.inputs[0]].bottom
        return _windows(_pad(u, op.pads, least), op.window, op.stride).max(axis=(-2, -1))
    assert op.requant is not None
    total = _windows(_pad(u, op.pads, 0), op.window, op.stride).sum(axis=(-2, -1), dtype=np.int64)
    ones = _pad(np.ones((1, 1, *u.shape[2:]), np.uint8), op.pads, 0)
    count = _windows(ones, op.window, op.stride).sum(axis=(-2, -1), dtype=np.int64)
    entry = np.searchsorted(np.array(op.counts), count)
    m = op.requant.multiplier.astype(np.int64)[entry]
    c = op.requant.offset.astype(np.int64)[entry]
    if isinstance(op.requant, WideRequant):
        return _wide(total * m + c, op.requant)
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
    return shares(inputs[0].reshape(len(inputs[0]), -1), op.beta, 1)
