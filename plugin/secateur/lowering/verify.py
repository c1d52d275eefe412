"""What every integer graph keeps, checked.

Tests check between all passes, so that the one that breaks a graph is the one that is named.

Operators of lowering/operators/ add what they promise with `@verifies(QOp)` (registry.py).
"""

from __future__ import annotations

import numpy as np

from secateur.lowering import line
from secateur.lowering import qgraph as ir
from secateur.lowering.registry import verification_of, verifies
from secateur.lowering.wide import products

_INT32 = 2**31 - 1


class InvalidGraphError(ValueError):
    """An integer graph that breaks its contract: a defect of the pass that made it."""


def verify(graph: ir.QGraph) -> None:
    """Raises InvalidGraphError naming the operator or tensor and what is wrong with it.

    Tensors are defined once and before they are read; names are unique; shapes agree with the
    operators between them; constants lie where docs/integer-spec.md has them.
    """
    for name, tensor in graph.tensors.items():
        _require(name == tensor.name, f"tensor '{name}' calls itself '{tensor.name}'")
        _tensor(tensor)
    defined = {*graph.inputs, *graph.constants, *graph.states}
    seen: set[str] = set()
    for op in graph:
        _require(op.name not in seen, f"two operators are called '{op.name}'")
        seen.add(op.name)
        for t in op.inputs:
            _require(t in graph.tensors, f"operator '{op.name}' reads '{t}', which is no tensor")
            _require(t in defined, f"operator '{op.name}' reads '{t}' before it is written")
        _require(op.output in graph.tensors, f"operator '{op.name}' writes no tensor")
        _require(op.output not in defined, f"tensor '{op.output}' is written twice")
        defined.add(op.output)
        if check := verification_of(op):
            try:
                check(graph, op)
            except InvalidGraphError as error:
                raise InvalidGraphError(f"operator '{op.name}' ({op.kind}): {error}") from None
    _loops(graph)
    for t in graph.outputs:
        _require(t in defined, f"output '{t}' is written by no operator")
    for name, share in graph.zero_share.items():
        _require(name in graph.tensors, f"zero_share knows '{name}', which is no tensor")
        _require(share.size == graph.tensors[name].size, f"zero_share of '{name}' has another size")


def _loops(graph: ir.QGraph) -> None:
    """Loops are stretches of operators, none in another; a state is written where it is read no
    more in that turn."""
    names = [op.name for op in graph]
    end = -1
    for loop in graph.loops:
        for n in (loop.first, loop.last):
            _require(n in names, f"loop '{loop.name}' has no operator '{n}'")
        first, last = names.index(loop.first), names.index(loop.last)
        _require(end < first <= last and loop.turns > 0, f"loop '{loop.name}' is no stretch")
        end = last
    inside = graph.by_loop()
    made = {op.output: i for i, op in enumerate(graph)}
    loops = {loop.name for loop in graph.loops}
    for t, state in graph.states.items():
        _require(t in graph.tensors and t not in made, f"state '{t}' is no tensor of its own")
        _require(state.next in made, f"state '{t}' has no next value")
        _require(state.loop in loops or not state.loop, f"state '{t}' is of no loop")
        x, y = graph.tensors[t], graph.tensors[state.next]
        _require((x.size, x.dtype) == (y.size, y.dtype), f"state '{t}' changes its form")
        for op in graph.ops[made[state.next] + 1 :]:
            _require(t not in op.inputs, f"state '{t}' is read behind its next value")
        for op in graph:
            loop_of = inside.get(op.name)
            if t in op.inputs or op.output == state.next:
                mine = loop_of.name if loop_of else ""
                _require(mine == state.loop, f"state '{t}' is used outside its loop")


def _require(holds: bool | np.bool_, otherwise: str) -> None:
    if not holds:
        raise InvalidGraphError(otherwise)


def _tensor(t: ir.QTensor) -> None:
    _require(t.dtype in ir.DTYPES, f"tensor '{t.name}' is of {t.dtype}")
    _require(bool(t.shape) and min(t.shape) > 0, f"tensor '{t.name}' has the shape {t.shape}")
    _require(bool(np.isfinite(t.scale)) and t.scale > 0, f"tensor '{t.name}': scale {t.scale}")
    _require(not t.wide or t.zero_point == 0, f"tensor '{t.name}': zero point {t.zero_point}")
    if t.dtype == "uint8":
        _require(0 <= t.zero_point <= 255, f"tensor '{t.name}': zero point {t.zero_point}")
        codes = t.codes if t.planes else (0,)
        _require(codes[0] >= 0 and codes[-1] <= 255, f"tensor '{t.name}': levels {codes}")
    _require(not t.packed or bool(t.planes), f"tensor '{t.name}' is packed and has no planes")


def ends(graph: ir.QGraph, op: ir.QOp) -> tuple[ir.QTensor, ir.QTensor]:
    """The first input and the output."""
    return graph.tensors[op.inputs[0]], graph.tensors[op.output]


def requant(
    r: ir.Requant | ir.Thresholds, entries: int, y: ir.QTensor, low: np.ndarray, high: np.ndarray
) -> None:
    """Constants for `entries` accumulators between low and high (int64 [entries]), writing y."""
    if isinstance(r, ir.Thresholds):
        _require(r.planes == y.planes, f"thresholds for planes {r.planes}, output has {y.planes}")
        steps = 2 ** len(r.planes) - 1
        _require(r.values.shape == (entries, steps), f"thresholds of shape {r.values.shape}")
        _require((np.diff(r.values.astype(np.int64), axis=1) >= 0).all(), "thresholds descend")
        _require(np.isin(r.flip, (0, -1)).all() and r.flip.size == entries, "flips not 0 or -1")
        if r.line is not None:
            requant(r.line, entries, y, low, high)
            _require(line.holds(r, low, high), "a line that is not its thresholds'")
        return
    _require(r.multiplier.shape == (entries,), f"multipliers of shape {r.multiplier.shape}")
    _require(r.offset.shape == (entries,), f"offsets of shape {r.offset.shape}")
    if isinstance(r, ir.WideRequant):
        _wide(r, y, low, high)
        return
    _require(r.multiplier.dtype == np.int16 and r.offset.dtype == np.int32, "constants' types")
    _require(r.pre_shift in (0, 16), f"pre_shift {r.pre_shift}")
    _require(0 <= r.shift <= 30, f"shift {r.shift}")
    if r.pre_shift == 0:
        fits = low.min() >= -32768 and high.max() <= 32767
        _require(fits, f"accumulators {low.min()}..{high.max()} with pre_shift 0")
    m = r.multiplier.astype(np.int64)
    most = np.abs(np.stack([(low * m) >> r.pre_shift, (high * m) >> r.pre_shift])).max(axis=0)
    _require((most + np.abs(r.offset.astype(np.int64))).max() <= _INT32, "sums beyond 32 bits")


def _wide(r: ir.WideRequant, y: ir.QTensor, low: np.ndarray, high: np.ndarray) -> None:
    _require(r.multiplier.dtype == np.int32 and r.offset.dtype == np.int64, "constants' types")
    _require(0 <= r.shift <= 62 and r.pre_shift == 0, f"shift {r.shift}")
    _require(y.bottom <= r.low <= r.high <= y.top, f"codes {r.low}..{r.high} of {y.dtype}")
    stored = r.offset >> r.unit_bits
    _require((stored << r.unit_bits == r.offset).all(), "offsets are no multiples of their unit")
    _require(np.abs(stored).max() <= _INT32, "offsets beyond 32 bits")
    reach = np.maximum(np.abs(low), np.abs(high)).astype(object)
    most = max(reach * np.abs(r.multiplier.astype(object)) + np.abs(r.offset.astype(object)))
    _require(most < 2**62, "sums beyond 62 bits")


def accumulators(weight: np.ndarray, x: ir.QTensor) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest sum of codes of `x` times each row of int8 [rows, ...]; int64 [rows]."""
    w = weight.reshape(len(weight), -1).astype(np.int64)
    return products(w, x)


def window(
    size: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int],
    pads: tuple[int, int, int, int],
) -> tuple[int, int]:  # fmt: skip
    """Output rows and columns of a window that moves over (rows, columns)."""
    top, left, bottom, right = pads
    rows = (size[0] + top + bottom - kernel[0]) // stride[0] + 1
    return rows, (size[1] + left + right - kernel[1]) // stride[1] + 1


@verifies(ir.QConv)
def _conv(graph: ir.QGraph, op: ir.QConv) -> None:
    x, y = ends(graph, op)
    co, per_group, *kernel = op.weight.shape
    _require(op.weight.dtype == np.int8, f"weights are {op.weight.dtype}")
    _require(len(x.shape) == 3, f"input {x.shape} is no image")
    ci = per_group * op.groups
    _require(ci == x.shape[0], f"{per_group} x {op.groups} channels of {x.shape}")
    _require(co % op.groups == 0, f"{co} filters in {op.groups} groups")
    out = (co, *window(x.shape[1:], (kernel[0], kernel[1]), op.stride, op.pads))
    _require(y.shape == out, f"output {y.shape}, computed {out}")
    _require(len(op.inputs) == (1 if op.residual is None else 2), "residual without its tensor")
    if op.residual is not None:
        added = graph.tensors[op.inputs[1]]
        _require(_same(added.shape, y.shape), f"residual {added.shape} for output {y.shape}")
        _require(0 <= op.residual <= _INT32, f"residual factor {op.residual}")
    requant(op.requant, co, y, *accumulators(op.weight, x))


@verifies(ir.QSums)
@verifies(ir.QDense)
def _dense(graph: ir.QGraph, op: ir.QDense) -> None:
    x, y = ends(graph, op)
    _require(op.weight.dtype == np.int8, f"weights are {op.weight.dtype}")
    _require(op.weight.shape == (y.size, x.size), f"{op.weight.shape} for {x.size} -> {y.size}")
    short = isinstance(op.requant, ir.ShortRequant)
    _require(short == isinstance(op, ir.QSums), "constants of the other width")
    _require(y.dtype == "int16" or not short, f"writes {y.dtype}")
    requant(op.requant, y.size, y, *accumulators(op.weight, x))


@verifies(ir.QTakeTime)
def _take_time(graph: ir.QGraph, op: ir.QTakeTime) -> None:
    _time(graph, op, *ends(graph, op))


@verifies(ir.QPutTime)
def _put_time(graph: ir.QGraph, op: ir.QPutTime) -> None:
    _time(graph, op, *ends(graph, op)[::-1])


def _time(graph: ir.QGraph, op: ir.QOp, whole: ir.QTensor, part: ir.QTensor) -> None:
    loop = graph.loop_of(op.name)
    turns = loop.turns if loop else 0
    _require(whole.size == part.size * turns, f"{whole.shape} in {turns} turns of {part.shape}")
    _like(whole, part)


@verifies(ir.QPool)
def _pool(graph: ir.QGraph, op: ir.QPool) -> None:
    x, y = ends(graph, op)
    _require(op.mode in ("max", "avg"), f"mode {op.mode}")
    out = (x.shape[0], *window(x.shape[1:], op.window, op.stride, op.pads))
    _require(_same(y.shape, out), f"output {y.shape}, computed {out}")
    if op.mode == "avg":
        _require(op.requant is not None and len(op.counts) > 0, "a mean without its constants")
        assert op.requant is not None
        n = np.array(op.counts, np.int64)
        requant(op.requant, len(op.counts), y, x.bottom * n, x.top * n)


@verifies(ir.QPad)
def _pad(graph: ir.QGraph, op: ir.QPad) -> None:
    x, y = ends(graph, op)
    out = (x.shape[0], *window(x.shape[1:], (1, 1), (1, 1), op.pads))
    _require(y.shape == out, f"output {y.shape}, computed {out}")
    _like(x, y)


@verifies(ir.QAdd)
def _add(graph: ir.QGraph, op: ir.QAdd) -> None:
    a, b = (graph.tensors[t] for t in op.inputs)
    y = graph.tensors[op.output]
    _require(_same(a.shape, y.shape) and _same(b.shape, y.shape), "terms of other shapes")
    _require(0 <= op.shift <= 30, f"shift {op.shift}")
    total = sum((255 * m) >> 16 for m in op.multipliers) + abs(op.offset)
    _require(max(*op.multipliers, total) <= _INT32, "sums beyond 32 bits")


@verifies(ir.QRescale)
def _rescale(graph: ir.QGraph, op: ir.QRescale) -> None:
    x, y = ends(graph, op)
    _require(x.size == y.size, f"{x.size} elements become {y.size}")
    requant(op.requant, 1, y, np.array([x.bottom], np.int64), np.array([x.top], np.int64))


@verifies(ir.QPack)
def _pack(graph: ir.QGraph, op: ir.QPack) -> None:
    x, y = ends(graph, op)
    _require(x.shape == y.shape and x.planes == y.planes, "another shape or other planes")
    _require(x.packed != y.packed, "both ends are stored alike")
    _like(x, y)


@verifies(ir.QSoftmax)
def _softmax(graph: ir.QGraph, op: ir.QSoftmax) -> None:
    x, y = ends(graph, op)
    _require(x.size == y.size, f"{x.size} elements become {y.size}")
    _require(0 < op.beta <= _INT32, f"beta {op.beta}")


def _same(a: tuple[int, ...], b: tuple[int, ...]) -> bool:
    """Shapes alike but for axes of one element: one pixel is stored as a vector."""
    return [n for n in a if n > 1] == [n for n in b if n > 1]


def _like(x: ir.QTensor, y: ir.QTensor) -> None:
    same = (x.scale, x.zero_point) == (y.scale, y.zero_point)
    _require(same, f"scale and zero point change: {x.scale}, {x.zero_point}")
