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
    "ReduceLogSum": (None, "sum", "log"), "ReduceLogSumExp": ("exponential", "sum", "log"),
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
    if places:
        t = r.b.reduce(function, n.name, t, places, keep)
    return r.b.activation(f"{n.name}_{behind}", t, behind) if behind else t


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
