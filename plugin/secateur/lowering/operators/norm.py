"""Normalization by statistics of the input itself: layer, RMS, group and L2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering
from secateur.lowering.qgraph import QGraph, QOp
from secateur.lowering.registry import executes, lowers
from secateur.lowering.strided import Loop, Loops, merged, over, strides, walk

MOST = 16384  #: elements of one normalisation, so that every sum fits 64 bits


@dataclass
class QNorm(QOp):
    """Each turn of `outer` normalises the n elements of `inner`; docs/integer-spec.md, "Norms".

    centred: d = n u - sum(u), V = n sum(u^2) - sum(u)^2 + epsilon, else d = n (u - z),
    V = n sum((u - z)^2) + epsilon (uint64). R = isqrt(V << 16), at least 1; t = (d * (2^48 / R))
    >> 28, the normalised element in units of 2^-12; u' = clamp((t * gain[k] + offset[k]) >> shift).
    outer: steps in x, and in gain; inner: the same. An output lies where its input lies.
    """

    centred: bool
    epsilon: int
    gain: np.ndarray  #: int32 [k]
    offset: np.ndarray  #: int32 [k]
    shift: int
    outer: Loops
    inner: Loops
    kind: ClassVar[str] = "norm"


def isqrt(v: np.ndarray) -> np.ndarray:
    """Floor of the square root of uint64 values below 2^62."""
    r = np.floor(np.sqrt(v.astype(np.float64))).astype(np.uint64)
    r = np.where(r * r > v, r - np.uint64(1), r)
    one = np.uint64(1)
    return np.where((r + one) * (r + one) <= v, r + one, r)


@executes(QNorm)
def _norm_codes(qgraph: QGraph, op: QNorm, inputs: list[np.ndarray]) -> np.ndarray:
    z = qgraph.tensors[op.inputs[0]].zero_point
    x = inputs[0].reshape(len(inputs[0]), -1)
    at = walk(op.outer, 0)[:, None] + walk(op.inner, 0)
    which = walk(op.outer, 1)[:, None] + walk(op.inner, 1)
    u = x[:, at].astype(np.int64)
    n = at.shape[1]
    if op.centred:
        total = u.sum(axis=2, keepdims=True)
        d = n * u - total
        v = n * (u * u).sum(axis=2, keepdims=True) - total * total
    else:
        d = n * (u - z)
        v = n * ((u - z) ** 2).sum(axis=2, keepdims=True)
    root = np.maximum(isqrt((v + op.epsilon).astype(np.uint64) << np.uint64(16)), np.uint64(1))
    inverse = (np.uint64(1 << 48) // root).astype(np.int64)
    t = (d * inverse) >> 28
    y = np.clip((t * op.gain[which].astype(np.int64) + op.offset[which]) >> op.shift, 0, 255)
    out = np.zeros_like(x)
    out[:, at] = y
    return out


@lowers("layer_norm", "rms_norm", "group_norm", "l2_norm")
def _norm(lo: Lowering, node: Node) -> None:
    x, shape = lo.settle(node.inputs[0]), lo.shape(node.inputs[0])
    steps = strides(shape)
    channels = shape[-1]
    if node.op == "group_norm":
        groups = int(node.attrs["groups"])
        each = channels // groups
        gains = strides((1,) * (len(shape) - 1) + (channels,))
        positions = tuple(range(len(shape) - 1))
        inner = merged([
            Loop(each, (steps[-1], gains[-1])),
            *(Loop(shape[a], (steps[a], 0)) for a in positions),
        ])  # fmt: skip
        outer = merged([Loop(groups, (each * steps[-1], each * gains[-1]))])
        n, size = each * int(np.prod(shape[:-1])), channels
    else:
        axes = sorted(a % len(shape) for a in node.attrs["axes"])
        own = tuple(shape[a] if a in axes else 1 for a in range(len(shape)))
        single = node.op == "l2_norm"
        gain_steps = tuple(0 if single or a not in axes else s for a, s in enumerate(strides(own)))
        outer = over([a for a in range(len(shape)) if a not in axes], shape, [steps, gain_steps])
        inner = over(axes, shape, [steps, gain_steps])
        n = int(np.prod(own))
        size = 1 if single else n
    if n > MOST:
        raise ModelError(
            f"{node.title} normalises {n} elements at once; at most {MOST} fit its sums"
        )
    gain = _stored(node, "scale", np.ones(size))
    shift_ = _stored(node, "shift", np.zeros(size))
    epsilon = float(node.attr("epsilon"))
    if node.op == "l2_norm":
        # x / sqrt(sum) = x / (sqrt(n) sqrt(mean)); epsilon bounds the sum from below: adding it
        # differs by less than a factor sqrt(2), where the sum is as small as that
        gain = gain / np.sqrt(n)
        epsilon = epsilon / n
    y = lo.new(node)
    real = gain / y.scale / 4096
    reach = 4096 * np.sqrt(n) * np.abs(real) + np.abs(shift_ / y.scale + y.zero_point) + 2
    f = lo.shift_for(node, float(reach.max()), room=2.0**31 - 2**16)
    m = np.rint(real * 2.0**f)
    offset = np.rint((shift_ / y.scale + y.zero_point + 0.5) * 2.0**f)
    centred = node.op in ("layer_norm", "group_norm")
    lo.emit(
        QNorm(
            node.name, (x.name,), y.name, centred, round(epsilon * (n / x.scale) ** 2),
            m.astype(np.int32), offset.astype(np.int32), f, outer, inner,
        )
    )  # fmt: skip


def _stored(node: Node, name: str, default: np.ndarray) -> np.ndarray:
    """A parameter over the normalised axes, in the order in which they are stored."""
    if name not in node.params:
        return default
    p = node.params[name].astype(np.float64)
    return np.moveaxis(p, -1, 0).reshape(-1)
