"""ONNX operators that move elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.frontend.build import Operand

from .reader import BatchError, Call, OnnxReader, reads


@reads("Reshape")
def _reshape(r: OnnxReader, n: Call) -> Operand:
    t, shape = r.tensor(n), r.shape(n.inputs[0])
    target = [int(d) for d in (n.attr("shape") if not n.has(1) else r.constant(n, 1))]
    if not n.attr("allowzero", 0):
        target = [shape[i] if d == 0 and i < len(shape) else d for i, d in enumerate(target)]
    if -1 in target:
        known = int(np.prod([d for d in target if d != -1]))
        target[target.index(-1)] = int(np.prod(shape)) // max(known, 1)
    return _viewed(r, n, t, target)


def _viewed(r: OnnxReader, n: Call, t: str, target: list[int]) -> str:
    nominal = r.nominal(n, target)
    if int(np.prod(nominal)) != int(np.prod(r.b.nominal(t))):
        raise BatchError(
            f"node '{n.name}' ({n.op}) of model '{r.b.name}' turns {r.shape(n.inputs[0])} into "
            f"{tuple(target)}, which mixes samples; keep axis 0, or read it with batch=False"
        )
    return r.b.reshape(n.name, t, nominal)


@reads("Flatten")
def _flatten(r: OnnxReader, n: Call) -> Operand:
    t, shape = r.tensor(n), r.shape(n.inputs[0])
    axis = int(n.attr("axis", 1))
    axis += len(shape) if axis < 0 else 0
    return _viewed(r, n, t, [int(np.prod(shape[:axis])), int(np.prod(shape[axis:]))])


@reads("Squeeze", "Unsqueeze")
def _squeeze(r: OnnxReader, n: Call) -> Operand:
    t, shape = r.tensor(n), list(r.shape(n.inputs[0]))
    axes = r.integers(n, 1, "axes")
    if n.op == "Squeeze":
        if axes is None:
            axes = [i for i, d in enumerate(shape) if d == 1 and not (r.batch and i == 0)]
        gone = {a % len(shape) for a in axes}
        return _viewed(r, n, t, [d for i, d in enumerate(shape) if i not in gone])
    rank = len(shape) + len(axes or [])
    new = sorted(a % rank for a in axes or [])
    for a in new:
        shape.insert(a, 1)
    return _viewed(r, n, t, shape)


@reads("ReverseSequence")
def _reversed(r: OnnxReader, n: Call) -> Operand:
    """Sequences of the whole length, from the last element to the first."""
    t, whole = r.tensor(n), r.shape(n.inputs[0])
    time, lengths = int(n.attr("time_axis", 0)), r.constant(n, 1)
    n.asked.add("batch_axis")  # every sequence is as long
    axis = r.axis(n, n.inputs[0], time)
    if (lengths != whole[time]).any():
        raise r.refuse(
            n, f"reverses sequence_lens {lengths.ravel().tolist()} of {whole[time]}",
            "feed sequences of one length",
        )  # fmt: skip
    shape = r.b.nominal(t)
    begin = [size - 1 if i == axis else 0 for i, size in enumerate(shape)]
    return r.b.cut(n.name, t, begin, shape, [-1 if i == axis else 1 for i in range(len(shape))])


@reads("Transpose")
def _transpose(r: OnnxReader, n: Call) -> Operand:
    t, rank = r.tensor(n), len(r.shape(n.inputs[0]))
    perm = [int(p) for p in n.attr("perm") or range(rank - 1, -1, -1)]
    if r.batch:
        if perm[0] != 0:
            raise BatchError(
                f"node '{n.name}' (Transpose) of model '{r.b.name}' moves axis 0, the batch; keep "
                "it, or read the model with batch=False"
            )
        perm = [p - 1 for p in perm[1:]]
    return r.b.transpose(n.name, t, perm)


@reads("Concat")
def _concat(r: OnnxReader, n: Call) -> Operand:
    named = next(i for i in n.inputs if isinstance(r.values[i], str))
    rank = len(r.shape(named))
    at = r.axis(n, named, int(n.attr("axis")))
    tensors = []
    for i, name in enumerate(n.inputs):
        value = r.values[name]
        if not isinstance(value, str):
            if value.size == 0:
                continue
            value = r.b.constant(f"{n.name}_constant{i}", r.beside(n, value, rank))
        tensors.append(value)
    return r.b.concat(n.name, tensors, at)


@reads("Slice")
def _slice(r: OnnxReader, n: Call) -> Operand:
    t, shape = r.tensor(n), r.shape(n.inputs[0])
    starts, ends = r.integers(n, 1, "starts") or [], r.integers(n, 2, "ends") or []
    axes = r.integers(n, 3, "axes")
    steps = r.integers(n, 4, "steps") or [1] * len(starts)
    axes = list(range(len(starts))) if axes is None else axes
    begin, size = [0] * len(shape), list(shape)
    strides = [1] * len(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        a = axis % len(shape)
        low = -(1 << 31)
        stop = None if step < 0 and end < -shape[a] and end > low else end
        places = range(shape[a])[slice(start, None if end <= low else stop, step)]
        if not places:
            raise r.refuse(n, f"takes nothing of axis {a}", "take one element or more")
        begin[a], size[a], strides[a] = places.start, len(places), places.step
    if r.batch:
        if (begin[0], size[0], strides[0]) != (0, shape[0], 1):
            r.behind(n, 0)
        begin, size, strides = begin[1:], size[1:], strides[1:]
    return r.b.cut(n.name, t, begin, size, strides)


@reads("Split")
def _split(r: OnnxReader, n: Call) -> list[Operand]:
    t, name = r.tensor(n), n.inputs[0]
    at = r.axis(n, name, int(n.attr("axis", 0)))
    nominal = r.b.nominal(t)
    sizes = r.integers(n, 1, "split")
    if sizes is None:
        count = int(n.attr("num_outputs", len(n.outputs)))
        each = -(-nominal[at] // count)
        sizes = [min(each, nominal[at] - i * each) for i in range(count)]
    found: list[Operand] = []
    for i, width in enumerate(sizes):
        begin = [sum(sizes[:i]) if j == at else 0 for j in range(len(nominal))]
        size = [width if j == at else d for j, d in enumerate(nominal)]
        if width < 1:
            raise r.refuse(n, "splits off nothing", "split into parts of one element or more")
        found.append(r.b.cut(f"{n.name}_{i}", t, begin, size))
    return found


@reads("Pad")
def _pad(r: OnnxReader, n: Call) -> Operand:
    t, rank = r.tensor(n), len(r.shape(n.inputs[0]))
    given = r.integers(n, 1, "pads") or []
    value = r.optional(n, 2) if n.has(2) else n.attr("value", 0.0)
    axes = r.integers(n, 3, "-")
    axes = list(range(rank)) if axes is None else [a % rank for a in axes]
    pads = [(0, 0)] * rank
    for i, a in enumerate(axes):
        pads[a] = (given[i], given[i + len(axes)])
    if r.batch:
        if pads[0] != (0, 0):
            r.behind(n, 0)
        pads = pads[1:]
    return r.b.pad(n.name, t, pads, n.attr("mode", "constant"), float(np.ravel(value or 0.0)[0]))


@reads("Expand")
def _expand(r: OnnxReader, n: Call) -> Operand:
    t, shape = r.tensor(n), r.shape(n.inputs[0])
    try:
        whole = np.broadcast_shapes(shape, tuple(int(d) for d in r.constant(n, 1)))
    except ValueError as e:
        raise r.refuse(n, f"enlarges {shape} impossibly", "export the model again") from e
    nominal = r.nominal(n, whole)
    y = r.b.reshape(
        f"{n.name}_axes", t, (1,) * (len(nominal) - len(r.b.nominal(t))) + r.b.nominal(t)
    )
    return r.b.tile(n.name, y, [m // k for m, k in zip(nominal, r.b.nominal(y), strict=True)])


@reads("Tile")
def _tile(r: OnnxReader, n: Call) -> Operand:
    t = r.tensor(n)
    repeats = [int(v) for v in r.constant(n, 1)]
    if r.batch:
        if repeats[0] != 1:
            r.behind(n, 0)
        repeats = repeats[1:]
    return r.b.tile(n.name, t, repeats)


@reads("Gather")
def _gather(r: OnnxReader, n: Call) -> Operand:
    axis = int(n.attr("axis", 0))
    data, indices = r.values[n.inputs[0]], r.values[n.inputs[1]]
    if not isinstance(data, str) and isinstance(indices, str):
        table = r.weights(n, 0)
        if axis % table.ndim != 0 or table.ndim > 2:
            raise r.refuse(n, f"looks up axis {axis} of a table {table.shape}", "use axis 0")
        flat = table.reshape(len(table), -1)
        nominal = r.b.nominal(indices)
        y = r.b.emit("embedding", n.name, [indices], None, {}, {"table": flat})
        whole = (*nominal, *table.shape[1:])
        r.b.name_shape(y, whole)
        return r.b.reshape(f"{n.name}_axes", y, whole)
    t, places = r.tensor(n), r.constant(n, 1)
    at = r.axis(n, n.inputs[0], axis)
    nominal = r.b.nominal(t)
    k = nominal[at]
    found = tuple(int(i) % k for i in places.ravel())
    flat_shape = (*nominal[:at], len(found), *nominal[at + 1 :])
    if found == tuple(range(found[0], found[0] + len(found))):
        begin = [found[0] if j == at else 0 for j in range(len(nominal))]
        y = r.b.cut(n.name, t, begin, flat_shape)
    else:
        attrs = {"axis": r.b.axis(t, at), "indices": found}
        y = r.b.emit("gather", n.name, [t], None, attrs, nominal=flat_shape)
    return r.b.reshape(f"{n.name}_axes", y, (*nominal[:at], *places.shape, *nominal[at + 1 :]))


@reads("CenterCropPad")
def _center(r: OnnxReader, n: Call) -> Operand:
    t, shape = r.tensor(n), r.shape(n.inputs[0])
    axes = [int(a) % len(shape) for a in n.attr("axes") or range(len(shape))]
    pads = [(0, 0)] * len(shape)
    for a, want in zip(axes, r.constant(n, 1), strict=True):
        more = int(want) - shape[a]
        low = more // 2 if more >= 0 else -(-more // 2)
        pads[a] = (low, more - low)
    if r.batch:
        if pads[0] != (0, 0):
            r.behind(n, 0)
        pads = pads[1:]
    return r.b.pad(n.name, t, pads)


@reads("Where")
def _where(r: OnnxReader, n: Call) -> Operand:
    """A choice known at conversion: each side times its share."""
    condition = r.constant(n, 0).astype(np.float32)
    named = next(i for i in n.inputs[1:] if isinstance(r.values[i], str))
    rank = len(r.shape(named))
    share = r.beside(n, condition, rank)
    parts: list[Any] = []
    for i, factor in ((1, share), (2, 1 - share)):
        value = r.values[n.inputs[i]]
        if isinstance(value, str):
            parts.append(r.b.arithmetic("mul", f"{n.name}_{i}", value, factor))
        else:
            plain = r.beside(n, np.asarray(value, np.float32), rank)
            with np.errstate(invalid="ignore"):
                parts.append(np.where(factor != 0, plain, np.float32(0)))
    parts.sort(key=lambda v: isinstance(v, np.ndarray))
    return r.b.arithmetic("add", n.name, parts[0], parts[1])
