"""Operators that move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.frontend.layers import SourceLayer
from secateur.frontend.layers.operators import take

from .reader import TfliteOp, TfliteReader, reads


@reads("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _view(r: TfliteReader, op: TfliteOp) -> str:
    return r.view(op, r.tensor(op), r.target(op))


@reads("TRANSPOSE")
def _transpose(r: TfliteReader, op: TfliteOp) -> str:
    perm = [int(p) for p in r.needed(op, 1)]
    if perm[0] != 0:
        raise r.refuse(op, "moves the batch")
    return r.b.transpose(op.name, r.tensor(op), [p - 1 for p in perm[1:]])


@reads("CONCATENATION")
def _concat(r: TfliteReader, op: TfliteOp) -> str:
    first = next(i for i, j in enumerate(op.inputs) if j in r.values)
    axis = r.axis(op, op.option(0), first)
    tensors = [
        r.b.tensor(f"{op.name}_constant{i}", r.operand(op, i)) for i in range(len(op.inputs))
    ]
    return r.fused(op, r.b.concat(op.name, tensors, axis), op.option(1, "<b"))


@reads("PACK")
def _pack(r: TfliteReader, op: TfliteOp) -> str:
    rank = len(r.tensors[op.output].shape)
    axis = op.option(1)
    axis += rank if axis < 0 else 0
    if axis == 0:
        raise r.refuse(op, "stacks along the batch")
    parts = []
    for i in range(len(op.inputs)):
        t = r.b.tensor(f"{op.name}_constant{i}", r.operand(op, i))
        shape = r.b.nominal(t)
        parts.append(r.b.reshape(f"{op.name}_{i}", t, (*shape[: axis - 1], 1, *shape[axis - 1 :])))
    return r.b.concat(op.name, parts, axis - 1)


def _cuts(r: TfliteReader, op: TfliteOp, t: str, axis: int, sizes: list[int]) -> list[str]:
    nominal = r.b.nominal(t)
    found = []
    for i, width in enumerate(sizes):
        begin = [sum(sizes[:i]) if j == axis else 0 for j in range(len(nominal))]
        size = [width if j == axis else n for j, n in enumerate(nominal)]
        found.append(r.b.cut(f"{op.name}_{i}", t, begin, size))
    return found


@reads("UNPACK")
def _unpack(r: TfliteReader, op: TfliteOp) -> list[str]:
    t = r.tensor(op)
    axis = r.axis(op, op.option(1))
    parts = _cuts(r, op, t, axis, [1] * len(op.outputs))
    return [r.b.without(p, axis) for p in parts]


@reads("SPLIT", "SPLIT_V")
def _split(r: TfliteReader, op: TfliteOp) -> list[str]:
    at = 1 if op.kind == "SPLIT" else 0
    t = r.tensor(op, at)
    axis = r.axis(op, r.needed(op, 0 if at else 2), at)
    n = r.b.nominal(t)[axis]
    if at:
        sizes = [n // len(op.outputs)] * len(op.outputs)
    else:
        sizes = [int(v) for v in np.ravel(r.needed(op, 1))]
        sizes = [n - sum(s for s in sizes if s >= 0) if v < 0 else v for v in sizes]
    return _cuts(r, op, t, axis, sizes)


@reads("SLICE")
def _slice(r: TfliteReader, op: TfliteOp) -> str:
    t, begin, size = r.tensor(op), r.needed(op, 1), r.needed(op, 2)
    if begin[0] != 0:
        raise r.refuse(op, "takes single samples of the batch")
    nominal = r.b.nominal(t)
    start = [int(b) for b in begin[1:]]
    count = [
        n - b if int(s) < 0 else int(s) for n, b, s in zip(nominal, start, size[1:], strict=True)
    ]
    return r.b.cut(op.name, t, start, count)


@reads("STRIDED_SLICE")
def _strided(r: TfliteReader, op: TfliteOp) -> str:
    t = r.tensor(op)
    begin, end, strides = (r.needed(op, i).tolist() for i in (1, 2, 3))
    masks = [op.option(i) for i in range(5)]  # begin, end, ellipsis, new axis, shrink
    keys: list[Any] = []
    for i, (b, e, s) in enumerate(zip(begin, end, strides, strict=True)):
        begin_mask, end_mask, ellipsis, new, shrink = (bool(m >> i & 1) for m in masks)
        if ellipsis:
            keys.append(Ellipsis)
        elif new:
            keys.append(None)
        elif shrink:
            keys.append(int(b))
        else:
            keys.append(slice(None if begin_mask else b, None if end_mask else e, s))
    batch = r.tensors[op.inputs[0]].shape[0]
    if keys and isinstance(keys[0], slice) and range(batch)[keys[0]] == range(batch):
        keys[0] = slice(None)
    return take(r.b, SourceLayer(op.kind, op.name, {}), t, tuple(keys))


@reads("GATHER")
def _gather(r: TfliteReader, op: TfliteOp) -> str:
    if op.option(1):
        raise r.refuse(op, "gathers sample by sample")
    table = r.constant(op, 0)
    if table is not None and op.inputs[1] in r.values:
        if op.option(0) != 0:
            raise r.refuse(op, "looks up another axis than the first")
        flat = table.reshape(len(table), -1).astype(np.float32)
        ids = r.tensor(op, 1)
        y = r.b.emit("embedding", op.name, [ids], None, {}, {"table": flat})
        shape = (*r.b.nominal(ids), *table.shape[1:])
        r.b.name_shape(y, shape)
        return r.b.reshape(f"{op.name}_axes", y, shape)
    t, places = r.tensor(op), r.needed(op, 1)
    axis = r.axis(op, op.option(0))
    nominal = r.b.nominal(t)
    found = tuple(int(i) for i in np.ravel(places))
    shape = (*nominal[:axis], len(found), *nominal[axis + 1 :])
    attrs = {"axis": r.b.axis(t, axis), "indices": found}
    y = r.b.emit("gather", op.name, [t], None, attrs, nominal=shape)
    return r.b.reshape(f"{op.name}_axes", y, (*nominal[:axis], *places.shape, *nominal[axis + 1 :]))


@reads("PAD", "PADV2", "MIRROR_PAD")
def _pad(r: TfliteReader, op: TfliteOp) -> str:
    t, pads = r.tensor(op), r.needed(op, 1)
    if pads[0].any():
        raise r.refuse(op, "pads the batch")
    value = float(np.ravel(r.needed(op, 2))[0]) if op.kind == "PADV2" else 0.0
    mode = "constant"
    if op.kind == "MIRROR_PAD":
        mode = "symmetric" if op.option(0, "<b") else "reflect"
    return r.b.pad(op.name, t, [(int(a), int(b)) for a, b in pads[1:]], mode, value)


@reads("TILE", "BROADCAST_TO")
def _tile(r: TfliteReader, op: TfliteOp) -> str:
    t, target = r.tensor(op), r.target(op)
    nominal = r.b.nominal(t)
    if len(nominal) > len(target) or any(
        m % n for n, m in zip(nominal, target[len(target) - len(nominal) :], strict=True)
    ):
        raise r.refuse(op, f"turns shape {nominal} into {target}")
    lead = (1,) * (len(target) - len(nominal)) + nominal
    y = r.b.reshape(f"{op.name}_axes", t, lead)
    return r.b.tile(op.name, y, [m // n for n, m in zip(lead, target, strict=True)])


@reads("REVERSE_V2")
def _reverse(r: TfliteReader, op: TfliteOp) -> str:
    t = r.tensor(op)
    nominal = r.b.nominal(t)
    turned = {r.axis(op, a) for a in np.ravel(r.needed(op, 1))}
    begin = [n - 1 if i in turned else 0 for i, n in enumerate(nominal)]
    steps = [-1 if i in turned else 1 for i in range(len(nominal))]
    return r.b.cut(op.name, t, begin, nominal, steps)
