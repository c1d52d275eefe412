"""ONNX reductions."""

from __future__ import annotations

from secateur.frontend.build import Operand

from .reader import Call, OnnxReader, reads

#: Operator: function before, reduction, function behind.
_REDUCTIONS = {
    "ReduceMean": (None, "mean", None), "ReduceSum": (None, "sum", None),
    "ReduceMax": (None, "max", None), "ReduceMin": (None, "min", None),
    "ReduceProd": (None, "prod", None), "ReduceL1": ("abs", "sum", None),
    "ReduceL2": ("square", "sum", "sqrt"), "ReduceSumSquare": ("square", "sum", None),
    "ReduceLogSum": (None, "sum", "log"), "ReduceLogSumExp": (None, "", None),
}  # fmt: skip


@reads(*_REDUCTIONS)
def _reduce(r: OnnxReader, n: Call) -> Operand:
    before, function, behind = _REDUCTIONS[n.op]
    keep = bool(n.attr("keepdims", 1))
    t, rank = r.tensor(n), len(r.shape(n.inputs[0]))
    axes = r.integers(n, 1, "axes")
    if n.attr("noop_with_empty_axes", 0) and not axes:
        places = []
    else:
        places = [r.axis(n, n.inputs[0], a) for a in axes or range(rank)]
    if before:
        t = r.b.activation(f"{n.name}_{before}", t, before)
    if n.op == "ReduceLogSumExp":
        return _log_sum_exp(r, n, t, places, keep)
    if places:
        t = r.b.reduce(function, n.name, t, places, keep)
    return r.b.activation(f"{n.name}_{behind}", t, behind) if behind else t


def _log_sum_exp(r: OnnxReader, n: Call, t: str, places: list[int], keep: bool) -> str:
    """log(sum(exp(x))) axis by axis as max(x) - max(log_softmax(x)), all of x's own size: the
    exponentials themselves reach over more than any 8-bit scale."""
    for a in places:
        axis = {"axis": r.b.axis(t, a) - len(r.b.shape(t))}
        less = r.b.emit("log_softmax", f"{n.name}_less", [t], None, axis)
        tops = (r.b.reduce("max", f"{n.name}_max", x, [a], True) for x in (t, less))
        t = r.b.arithmetic("sub", n.name, *tops)
    for a in sorted(places, reverse=True) if not keep else ():
        t = r.b.without(t, a)
    return t


@reads("ArgMax", "ArgMin")
def _arg(r: OnnxReader, n: Call) -> Operand:
    t = r.tensor(n)
    axis = r.axis(n, n.inputs[0], int(n.attr("axis", 0)))
    attrs = {
        "axis": r.b.axis(t, axis),
        "smallest": n.op == "ArgMin",
        "last": bool(n.attr("select_last_index", 0)),
    }
    nominal = tuple(1 if i == axis else d for i, d in enumerate(r.b.nominal(t)))
    y = r.b.emit("arg_max", n.name, [t], None, attrs, nominal=nominal)
    return y if n.attr("keepdims", 1) else r.b.without(y, axis)


@reads("TopK")
def _top(r: OnnxReader, n: Call) -> list[Operand]:
    t = r.tensor(n)
    axis = r.axis(n, n.inputs[0], int(n.attr("axis", -1)))
    k = int(r.constant(n, 1).ravel()[0]) if n.has(1) else int(n.attr("k"))
    attrs = {"axis": r.b.axis(t, axis), "k": k, "smallest": not n.attr("largest", 1)}
    nominal = tuple(k if i == axis else d for i, d in enumerate(r.b.nominal(t)))
    return [
        r.b.emit(op, f"{n.name}_{op}", [t], None, attrs, nominal=nominal)
        for op in ("top_k", "top_k_indices")
    ]
