"""The integer specification a second time: plain loops over Python integers, bounds asserted.

Slow and literal, so that it shares no idea with the vectorised reference.
"""

from __future__ import annotations

import numpy as np

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


def int32(v: int) -> int:
    assert -(2**31) <= v < 2**31, f"{v} leaves int32"
    return v


def clamp(v: int) -> int:
    return min(max(v, 0), 255)


def code(r: Requant | Thresholds, channel: int, acc: int, extra: int = 0) -> int:
    """The code of an accumulator of a channel."""
    if isinstance(r, Thresholds):
        assert extra == 0
        turned = -acc - 1 if r.flip[channel] else acc
        steps = [int(t) for t in r.values[channel]]
        assert steps == sorted(steps)
        subsets = range(2 ** len(r.planes))
        sums = sorted(sum(q for k, q in enumerate(r.planes) if i >> k & 1) for i in subsets)
        return sums[sum(turned >= int32(t) for t in steps)]
    m, c = int(r.multiplier[channel]), int(r.offset[channel])
    return requant(acc, m, c, r.pre_shift, r.shift, extra)


def requant(acc: int, m: int, c: int, pre: int, f: int, extra: int = 0) -> int:
    if pre == 0:
        assert -32768 <= acc <= 32767
        int32(acc * m)
    return clamp(int32(int32((acc * m) >> pre) + extra + c) >> f)


def run_plain(g: QGraph, codes: np.ndarray) -> dict[str, np.ndarray]:
    """Every tensor for one input of codes [C, H, W] or [n], as nested ints in an object array."""
    values = {g.input: codes.astype(object)}
    for op in g.ops:
        out = g.tensors[op.output]
        x = values[op.inputs[0]]
        if isinstance(op, QConv):
            y = _conv(g, op, x, values[op.inputs[1]] if op.residual is not None else None)
        elif isinstance(op, QDense):
            flat, r = x.ravel(), op.requant
            y = np.empty(len(op.weight), object)
            for o, row in enumerate(op.weight):
                acc = 0
                for w, u in zip(row, flat, strict=True):
                    acc = int32(acc + int(w) * int(u))
                y[o] = code(r, o, acc)
        elif isinstance(op, QPool):
            y = _pool(g, op, x)
        elif isinstance(op, QAdd):
            ma, mb = op.multipliers
            pairs = zip(x.ravel(), values[op.inputs[1]].ravel(), strict=True)
            y = np.array(
                [
                    clamp(
                        int32(((int(a) * ma) >> 16) + ((int(b) * mb) >> 16) + op.offset) >> op.shift
                    )
                    for a, b in pairs
                ],
                object,
            )
        elif isinstance(op, QRescale):
            r = op.requant
            y = np.array([code(r, 0, int(a)) for a in x.ravel()], object)
        elif isinstance(op, QPack):
            y = x
        elif isinstance(op, QPad):
            y = _padded(x, op.pads, g.tensors[op.inputs[0]].zero_point)
        else:
            assert isinstance(op, QSoftmax)
            y = _softmax(op, x)
        values[op.output] = y.reshape(out.shape)
    return values


def _padded(x: np.ndarray, pads: tuple[int, int, int, int], code: int | None) -> np.ndarray:
    t, left, b, r = pads
    c, h, w = x.shape
    y = np.full((c, h + t + b, w + left + r), code, object)
    y[:, t : t + h, left : left + w] = x
    return y


def _conv(g: QGraph, op: QConv, x: np.ndarray, res: np.ndarray | None) -> np.ndarray:
    r = op.requant
    x = _padded(x, op.pads, g.tensors[op.inputs[0]].zero_point)
    co, cig, kh, kw = op.weight.shape
    _, oh, ow = g.tensors[op.output].shape
    y = np.empty((co, oh, ow), object)
    for o in range(co):
        first = o // (co // op.groups) * cig
        for i in range(oh):
            for j in range(ow):
                acc = 0
                for k in range(cig):
                    for a in range(kh):
                        for b in range(kw):
                            u = int(x[first + k, i * op.stride[0] + a, j * op.stride[1] + b])
                            acc = int32(acc + int(op.weight[o, k, a, b]) * u)
                extra = 0 if res is None else (int(res[o, i, j]) * int(op.residual or 0)) >> 16
                y[o, i, j] = code(r, o, acc, int32(extra))
    return y


def _pool(g: QGraph, op: QPool, x: np.ndarray) -> np.ndarray:
    x = _padded(x, op.pads, None)
    c, oh, ow = g.tensors[op.output].shape
    y = np.empty((c, oh, ow), object)
    for k in range(c):
        for i in range(oh):
            for j in range(ow):
                t, left = i * op.stride[0], j * op.stride[1]
                window = x[k, t : t + op.window[0], left : left + op.window[1]].ravel()
                seen = [int(u) for u in window if u is not None]
                if op.mode == "max":
                    y[k, i, j] = max(seen)
                    continue
                r = op.requant
                assert r is not None
                e = op.counts.index(len(seen))
                m, off = int(r.multiplier[e]), int(r.offset[e])
                y[k, i, j] = requant(sum(seen), m, off, r.pre_shift, r.shift)
    return y


def _softmax(op: QSoftmax, x: np.ndarray) -> np.ndarray:
    codes = [int(u) for u in x.ravel()]
    e = []
    for u in codes:
        t = int32((max(codes) - u) * op.beta)
        n, f = t >> 16, t & 65535
        assert 44012 * f < 2**32
        p = 65536 - ((44012 * f) >> 16) + ((((f * f) >> 16) * 11244) >> 16)
        e.append(0 if n > 16 else p >> n)
    s = sum(e)
    assert max(e) * 256 + s // 2 < 2**32
    return np.array([min(255, (v * 256 + s // 2) // s) for v in e], object)
