"""ONNX operators of one element, and arithmetic with broadcasting."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from secateur.frontend.build import Operand

from .reader import Call, OnnxReader, reads

_UNARY = {
    "Abs": "abs", "Acos": "arccos", "Acosh": "arccosh", "Asin": "arcsin", "Asinh": "arcsinh",
    "Atan": "arctan", "Atanh": "arctanh", "Ceil": "ceil", "Cos": "cos", "Cosh": "cosh",
    "Erf": "erf", "Exp": "exponential", "Floor": "floor", "HardSwish": "hard_silu", "Log": "log",
    "Mish": "mish", "Neg": "neg", "Reciprocal": "reciprocal", "Round": "round",
    "Sigmoid": "sigmoid", "Sign": "signum", "Sin": "sin", "Sinh": "sinh", "Softplus": "softplus",
    "Softsign": "softsign", "Sqrt": "sqrt", "Tan": "tan", "Tanh": "tanh",
}  # fmt: skip


@reads(*_UNARY)
def _unary(r: OnnxReader, n: Call) -> Operand:
    return r.b.activation(n.name, r.tensor(n), _UNARY[n.op])


#: Operator: function, and its arguments by ONNX attribute with ONNX' default.
_PARAMETRIC: dict[str, tuple[str, dict[str, tuple[str, float]]]] = {
    "Elu": ("elu", {"alpha": ("alpha", 1.0)}),
    "Celu": ("celu", {"alpha": ("alpha", 1.0)}),
    "Selu": ("selu", {"alpha": ("alpha", 1.67326319217681884765625),
                      "scale": ("gamma", 1.05070102214813232421875)}),
    "HardSigmoid": ("hard_sigmoid", {"slope": ("alpha", 0.2), "offset": ("beta", 0.5)}),
    "LeakyRelu": ("leaky_relu", {"slope": ("alpha", 0.01)}),
    "ThresholdedRelu": ("threshold_relu", {"threshold": ("alpha", 1.0)}),
    "Shrink": ("soft_shrink", {"threshold": ("lambd", 0.5), "offset": ("bias", 0.0)}),
    "Swish": ("silu", {"beta": ("alpha", 1.0)}),
}  # fmt: skip


@reads(*_PARAMETRIC)
def _parametric(r: OnnxReader, n: Call) -> Operand:
    function, names = _PARAMETRIC[n.op]
    arguments = {k: float(n.attr(a, d)) for k, (a, d) in names.items()}
    return r.b.activation(n.name, r.tensor(n), function, **arguments)


@reads("Gelu", "FastGelu")
def _gelu(r: OnnxReader, n: Call) -> Operand:
    tanh = n.op == "FastGelu" or n.attr("approximate", "none") == "tanh"
    return r.b.activation(n.name, r.tensor(n), "gelu_tanh" if tanh else "gelu")


@reads("QuickGelu")
def _quick_gelu(r: OnnxReader, n: Call) -> Operand:
    return r.b.activation(n.name, r.tensor(n), "silu", beta=float(n.attr("alpha", 1.702)))


@reads("Relu")
def _relu(r: OnnxReader, n: Call) -> Operand:
    return r.b.emit("relu", n.name, [r.tensor(n)], None, {"max_value": None})


@reads("Clip")
def _clip(r: OnnxReader, n: Call) -> Operand:
    ends: list[float | None] = []
    for i, key in ((1, "min"), (2, "max")):
        value = r.optional(n, i) if n.has(i) else n.attr(key)
        number = None if value is None else float(np.asarray(value).ravel()[0])
        open_end = number is not None and abs(number) >= 3.4028234e38
        ends.append(None if open_end else number)
    if ends[0] is not None and ends[1] is not None and ends[0] > ends[1]:
        ends[0] = ends[1]  # ONNX: everything is the maximum
    if ends[0] == 0:
        return r.b.emit("relu", n.name, [r.tensor(n)], None, {"max_value": ends[1]})
    if ends == [None, None]:
        return r.tensor(n)
    return r.b.activation(n.name, r.tensor(n), "clip", low=ends[0], high=ends[1])


@reads("PRelu")
def _prelu(r: OnnxReader, n: Call) -> Operand:
    t = r.tensor(n)
    slope, rank = r.weights(n, 1), len(r.shape(n.inputs[0]))
    if n.opset < 7 and slope.ndim == 1:  # one a channel, axis 1
        slope = slope.reshape(1, -1, *(1,) * (rank - 2))
    slope = r.beside(n, slope, rank)
    shape = r.b.shape(t)
    if slope.size == 1:
        return r.b.activation(n.name, t, "leaky_relu", slope=float(slope.ravel()[0]))
    if slope.ndim == 1 and slope.size == shape[-1]:
        return r.b.emit("prelu", n.name, [t], None, {}, {"alpha": slope})
    whole = slope.reshape((1,) * (len(shape) - slope.ndim) + slope.shape)
    return r.b.emit("prelu", n.name, [t], None, {}, {"alpha": whole})


@reads("Identity", "Dropout")
def _identity(r: OnnxReader, n: Call) -> Operand | list[Operand]:
    if n.op == "Dropout":
        training = r.optional(n, 2)
        if training is not None and bool(training):
            raise r.refuse(n, "drops out at inference", "export the model in evaluation mode")
        if n.wants(1):
            raise r.refuse(n, "gives its mask", "use its first output alone")
    return r.values[n.inputs[0]]


@reads("Cast", "CastLike")
def _cast(r: OnnxReader, n: Call) -> Operand:
    from onnx import TensorProto

    if n.op == "CastLike":
        like = r.floating(n.inputs[1])
        value = r.values[n.inputs[0]]
        if isinstance(value, np.ndarray):
            return value.astype(np.float32 if like else np.int64)
        to = int(TensorProto.FLOAT if like else TensorProto.INT32)
    else:
        to = int(n.attr("to"))
    floats = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
    whole = (TensorProto.INT32, TensorProto.INT64)
    if to not in (*floats, *whole):
        raise r.refuse(n, "casts to a type of few values", "cast to float32 or int32")
    t = r.tensor(n)
    if to in floats and r.floating(n.inputs[0]):
        return t
    return r.b.emit("cast", n.name, [t], None, {"dtype": "float32" if to in floats else "int32"})


_BINARY = {"Add": "add", "Sub": "sub", "Mul": "mul", "Div": "div"}


@reads(*_BINARY)
def _binary(r: OnnxReader, n: Call) -> Operand:
    if n.opset < 7 and n.attr("broadcast", 0) and n.attr("axis") is not None:
        value = r.constant(n, 1)  # its axes begin at `axis`, not at the end
        rank = len(r.shape(n.inputs[0]))
        axis = int(n.attr("axis")) % rank
        shape = (*value.shape, *(1,) * (rank - axis - value.ndim))
        r.values[f"{n.name}_axes"] = value.reshape(shape)
        n = replace(n, inputs=[n.inputs[0], f"{n.name}_axes"])
    a, b = r.operands(n)
    return r.b.arithmetic(_BINARY[n.op], n.name, a, b)


_MANY = {"Sum": "add", "Mean": "add", "Max": "maximum", "Min": "minimum"}


@reads(*_MANY)
def _many(r: OnnxReader, n: Call) -> Operand:
    given = sorted(r.operands(n), key=lambda v: isinstance(v, np.ndarray))  # a tensor first
    y: Any = given[0]
    for other in given[1:]:
        y = r.b.arithmetic(_MANY[n.op], n.name, y, other)
    return r.b.affine(f"{n.name}_mean", y, 1 / len(given), 0) if n.op == "Mean" else y


@reads("Pow")
def _pow(r: OnnxReader, n: Call) -> Operand:
    exponent = r.constant(n, 1)
    if exponent.size != 1:
        raise r.refuse(n, "has an exponent for each element", "use one number")
    return r.b.power(n.name, r.tensor(n), float(exponent.ravel()[0]))


@reads("Softmax", "LogSoftmax")
def _softmax(r: OnnxReader, n: Call) -> Operand:
    t, name = r.tensor(n), n.inputs[0]
    log = n.op == "LogSoftmax"
    if n.opset >= 13:
        return r.b.softmax(n.name, t, r.axis(n, name, int(n.attr("axis", -1))), log)
    shape = r.shape(name)  # before, everything from the axis on is one row
    axis = int(n.attr("axis", 1)) % len(shape)
    at = r.behind(n, axis)
    nominal = r.b.nominal(t)
    if at == len(nominal) - 1:
        return r.b.softmax(n.name, t, at, log)
    rows = (*nominal[:at], int(np.prod(nominal[at:])))
    y = r.b.softmax(n.name, r.b.reshape(f"{n.name}_rows", t, rows), -1, log)
    return r.b.reshape(f"{n.name}_axes", y, nominal)
