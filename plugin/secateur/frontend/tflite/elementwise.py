"""Functions of one element, arithmetic, changes of storage, reductions."""

from __future__ import annotations

from typing import Any

import numpy as np

from .reader import TfliteOp, TfliteReader, reads

_UNARY = {
    "ABS": "abs", "NEG": "neg", "SQRT": "sqrt", "RSQRT": "rsqrt", "SQUARE": "square",
    "EXP": "exponential", "LOG": "log", "SIN": "sin", "COS": "cos", "FLOOR": "floor",
    "CEIL": "ceil", "ROUND": "round", "SIGN": "signum", "LOGISTIC": "sigmoid", "TANH": "tanh",
    "HARD_SWISH": "hard_silu", "ELU": "elu", "RELU_N1_TO_1": "hard_tanh",
}  # fmt: skip


@reads(*_UNARY)
def _unary(r: TfliteReader, op: TfliteOp) -> str:
    return r.b.activation(op.name, r.tensor(op), _UNARY[op.kind])


@reads("RELU", "RELU6", "RELU_0_TO_1")
def _relu(r: TfliteReader, op: TfliteOp) -> str:
    cap = {"RELU": None, "RELU6": 6.0, "RELU_0_TO_1": 1.0}[op.kind]
    return r.b.emit("relu", op.name, [r.tensor(op)], None, {"max_value": cap})


@reads("LEAKY_RELU")
def _leaky(r: TfliteReader, op: TfliteOp) -> str:
    slope = op.options.real(0) if op.options else 0.0
    return r.b.activation(op.name, r.tensor(op), "leaky_relu", slope=slope)


@reads("GELU")
def _gelu(r: TfliteReader, op: TfliteOp) -> str:
    return r.b.activation(op.name, r.tensor(op), "gelu_tanh" if op.option(0, "<b") else "gelu")


@reads("PRELU")
def _prelu(r: TfliteReader, op: TfliteOp) -> str:
    t, alpha = r.tensor(op), r.operand(op, 1)
    if isinstance(alpha, str):
        raise r.refuse(op, "has computed slopes")
    shape = r.b.shape(t)
    whole = alpha[(None,) * (len(shape) - alpha.ndim)]
    if whole.size == whole.shape[-1] == shape[-1]:
        whole = whole.ravel()
    return r.b.emit("prelu", op.name, [t], None, {}, {"alpha": whole})


@reads("SOFTMAX", "LOG_SOFTMAX")
def _softmax(r: TfliteReader, op: TfliteOp) -> str:
    x = r.tensor(op)
    beta = op.options.real(0, 0.0) if op.kind == "SOFTMAX" and op.options else 1.0
    if op.kind == "SOFTMAX" and beta != 1.0:
        raise r.refuse(op, f"has beta {beta:g}")
    return r.b.softmax(op.name, x, -1, log=op.kind == "LOG_SOFTMAX")


_BINARY = {"ADD": "add", "SUB": "sub", "MUL": "mul", "DIV": "div", "MAXIMUM": "maximum",
           "MINIMUM": "minimum"}  # fmt: skip


@reads(*_BINARY, "ADD_N")
def _binary(r: TfliteReader, op: TfliteOp) -> str:
    first: Any = r.operand(op, 0)
    for i in range(1, len(op.inputs)):
        first = r.b.arithmetic(_BINARY.get(op.kind, "add"), op.name, first, r.operand(op, i))
    fused = op.option(0, "<b") if op.kind in ("ADD", "SUB", "MUL", "DIV") else 0
    return r.fused(op, str(first), fused)


@reads("SQUARED_DIFFERENCE")
def _difference(r: TfliteReader, op: TfliteOp) -> str:
    y = r.b.arithmetic("sub", f"{op.name}_sub", r.operand(op, 0), r.operand(op, 1))
    return r.b.activation(op.name, y, "square")


@reads("POW")
def _pow(r: TfliteReader, op: TfliteOp) -> str:
    exponent = r.needed(op, 1)
    if exponent.size != 1:
        raise r.refuse(op, "has an exponent for each element")
    return r.b.power(op.name, r.tensor(op), float(exponent.ravel()[0]))


@reads("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT")
def _recode(r: TfliteReader, op: TfliteOp) -> str | None:
    """They change how a value is stored, not the value."""
    data = r.constant(op, 0)
    if data is not None:
        r.tensors[op.output].data = data.astype(np.float32)
        return None
    x, step = r.tensor(op), r.tensors[op.output].step
    if step and r.step(x) not in (0.0, step):  # the same value in two scales of 16 bits
        codes = {"scale": step, "low": -32768, "high": 32767, "zero_point": 0}
        return r.b.emit("fake_quant", op.name, [x], None, codes)
    return x


@reads("CAST")
def _cast(r: TfliteReader, op: TfliteOp) -> str:
    x, to = r.tensor(op), r.tensors[op.output].dtype
    if to not in ("f4", "f2", "i4", "i8"):
        raise r.refuse(op, "casts to a type of few values")
    whole = to in ("i4", "i8")
    if not whole and r.tensors[op.inputs[0]].dtype not in ("i4", "i8"):
        return x
    return r.b.emit("cast", op.name, [x], None, {"dtype": "int32" if whole else "float32"})


_REDUCTIONS = {"MEAN": "mean", "SUM": "sum", "REDUCE_MAX": "max", "REDUCE_MIN": "min",
               "REDUCE_PROD": "prod"}  # fmt: skip


@reads(*_REDUCTIONS)
def _reduce(r: TfliteReader, op: TfliteOp) -> str:
    axes = [r.axis(op, a) for a in np.ravel(r.needed(op, 1))]
    keep = bool(op.option(0, "<b"))
    return r.b.reduce(_REDUCTIONS[op.kind], op.name, r.tensor(op), axes, keep)


@reads("ARG_MAX", "ARG_MIN")
def _arg(r: TfliteReader, op: TfliteOp) -> str:
    t = r.tensor(op)
    axis = r.axis(op, r.needed(op, 1))
    attrs = {"axis": r.b.axis(t, axis), "smallest": op.kind == "ARG_MIN"}
    nominal = tuple(1 if i == axis else n for i, n in enumerate(r.b.nominal(t)))
    y = r.b.emit("arg_max", op.name, [t], None, attrs, nominal=nominal)
    return r.b.without(y, axis)


@reads("TOPK_V2")
def _top(r: TfliteReader, op: TfliteOp) -> list[str]:
    t, k = r.tensor(op), int(np.ravel(r.needed(op, 1))[0])
    attrs = {"axis": len(r.b.shape(t)) - 1, "k": k}
    nominal = (*r.b.nominal(t)[:-1], k)
    return [
        r.b.emit(kind, f"{op.name}_{kind}", [t], None, attrs, nominal=nominal)
        for kind in ("top_k", "top_k_indices")
    ]


@reads("L2_NORMALIZATION")
def _l2(r: TfliteReader, op: TfliteOp) -> str:
    t = r.tensor(op)
    attrs = {"axes": (len(r.b.shape(t)) - 1,), "epsilon": 1e-12}
    return r.fused(op, r.b.emit("l2_norm", op.name, [t], None, attrs), op.option(0, "<b"))
