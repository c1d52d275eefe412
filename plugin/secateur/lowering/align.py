"""Bring requantization constants of like layers into like form, so that they can share code.

A generated kernel is specialised to its shifts. Layers of one shape take the smallest `shift`
among them and offsets that are multiples of one power of two; layers whose accumulators fit 16
bits take shift 16 where that leaves the multiplier nine bits or more, because two sums in the
upper halves of registers saturate together on cores with the DSP extension. The change is a
rounding of constants, made before anything executes: the specification stays the same.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

import numpy as np

from .qgraph import QConv, QDense, QGraph, Requant
from .requant import storage_shift

#: Smallest largest multiplier that still scales within 0.1 %.
_MULTIPLIER = 512


def align(graph: QGraph) -> QGraph:
    """`graph` with the constants of its convolutions and dense layers aligned."""
    graph = replace(graph, ops=[replace(op) for op in graph])
    groups: dict[tuple[object, ...], list[QConv | QDense]] = defaultdict(list)
    for op in graph:
        if isinstance(op, (QConv, QDense)) and type(op.requant) is Requant:
            if op.requant.pre_shift == 0 and op.requant.shift > 16:
                _lower_shift(graph, op, 16)
            groups[_key(graph, op)].append(op)
    for ops in groups.values():
        # a layer with an outlying multiplier must not cost its likes their precision
        top = max(_of(op).shift for op in ops)
        _share(graph, [op for op in ops if _of(op).shift >= top - 4])
    return graph


def _of(op: QConv | QDense) -> Requant:
    """The constants of an operator that has no thresholds."""
    assert isinstance(op.requant, Requant)
    return op.requant


def _key(graph: QGraph, op: QConv | QDense) -> tuple[object, ...]:
    shapes = (graph.tensors[op.inputs[0]].shape, graph.tensors[op.output].shape)
    window = (op.stride, op.pads, op.groups, len(op.inputs)) if isinstance(op, QConv) else ()
    ternary = bool(np.all(np.abs(op.weight) <= 1))
    return (op.kind, *shapes, op.weight.shape, *window, ternary, _of(op).pre_shift)


def _share(graph: QGraph, ops: list[QConv | QDense]) -> None:
    if len(ops) < 2:
        return
    shift = min(_of(op).shift for op in ops)
    for op in ops:
        if _of(op).shift > shift:
            _lower_shift(graph, op, shift)
    stores = [storage_shift(_of(op)) for op in ops if _of(op).shift == shift]
    if any(s is None for s in stores) or len(stores) < len(ops):
        return
    k = max(s for s in stores if s is not None)
    if k > max(shift - 5, 0):  # the coarsest that costs at most 1/64 of a code
        return
    for op in ops:
        r = _of(op)
        offset = _round(r.offset.astype(np.int64), k) << k
        op.requant = replace(r, offset=offset.astype(np.int32))


def _round(v: np.ndarray, k: int) -> np.ndarray:
    return (v + (1 << k >> 1)) >> k


def _lower_shift(graph: QGraph, op: QConv | QDense, shift: int) -> None:
    """Rewrite `op`'s constants for a smaller shift, if the multiplier keeps enough bits."""
    r = _of(op)
    d = r.shift - shift
    multiplier = _round(r.multiplier.astype(np.int64), d)
    if np.abs(multiplier).max() < min(_MULTIPLIER, np.abs(r.multiplier.astype(np.int64)).max()):
        return
    zero = graph.tensors[op.inputs[0]].zero_point
    zero_sum = zero * op.weight.reshape(op.weight.shape[0], -1).astype(np.int64).sum(axis=1)
    bias = r.offset.astype(np.int64) + ((r.multiplier.astype(np.int64) * zero_sum) >> r.pre_shift)
    residual = None
    if isinstance(op, QConv) and op.residual is not None:
        z_r = graph.tensors[op.inputs[1]].zero_point
        bias = bias + ((op.residual * z_r) >> 16)
        residual = int(_round(np.array(op.residual), d))
        bias_r = (residual * z_r) >> 16
    else:
        bias_r = 0
    offset = _round(bias, d) - ((multiplier * zero_sum) >> r.pre_shift) - bias_r
    k = storage_shift(r)
    if k is not None:  # keep offsets storable in int16 where they were
        k = max(k - d, 0)
        while k < max(shift - 5, 0) and np.abs(_round(offset, k)).max() > 32767:
            k += 1
        offset = _round(offset, k) << k
    op.requant = Requant(multiplier.astype(np.int16), offset.astype(np.int32), r.pre_shift, shift)
    if residual is not None and isinstance(op, QConv):
        op.residual = residual
