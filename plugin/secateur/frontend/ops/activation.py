"""Functions of one element, softmax, and markers of quantization."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .base import REQUIRED, Array, Shape, ShapeError, check_axis, declare, same

if TYPE_CHECKING:
    from secateur.frontend.ir import Node


@declare("relu", same, attrs={"max_value": None}, pointwise=True)
def _relu(node: Node, inputs: list[Array]) -> Array:
    """max(x, 0), at most max_value where that is a number.

    attrs["range"] (low, high) is the range of its 8-bit codes where training has fixed it.
    """
    y = np.clip(inputs[0], 0, node.attr("max_value"))
    if "range" in node.attrs:  # 255 steps
        step = np.float32(node.attrs["range"][1] / 255)
        y = step * np.floor(y / step + np.float32(0.5))
    return y


@declare("sign", same, pointwise=True)
def _sign(node: Node, inputs: list[Array]) -> Array:
    """+1 where x >= 0, else -1: a binarized activation."""
    return np.where(inputs[0] >= 0, np.float32(1), np.float32(-1))


def level(x: Array, values: Array, thresholds: Array, basis: Array) -> Array:
    """values[number of thresholds <= x]."""
    code = np.searchsorted(thresholds.astype(np.float32), x, side="right")
    return values.astype(np.float32)[code]


@declare("quant_activation", same, attrs={"levels": REQUIRED}, pointwise=True)
def _quant_activation(node: Node, inputs: list[Array]) -> Array:
    """values[number of thresholds <= x]: an activation of few levels.

    levels (values [2^bits] ascending, thresholds [2^bits - 1], basis [bits]); the values are
    values[0] + sums of a subset of the basis: see secateur.callbacks.QuantActivation.
    """
    return level(inputs[0], *node.attrs["levels"])


def _softmax_shape(node: Node, shapes: list[Shape]) -> Shape:
    check_axis(node.attr("axis"), shapes[0])
    return shapes[0]


def _batched(axis: int) -> int:
    return axis if axis < 0 else axis + 1


@declare("softmax", _softmax_shape, attrs={"axis": -1})
def _softmax(node: Node, inputs: list[Array]) -> Array:
    """exp(x) / sum of exp(x) along one axis."""
    axis = _batched(node.attr("axis"))
    e = np.exp(inputs[0] - inputs[0].max(axis=axis, keepdims=True))
    return e / e.sum(axis=axis, keepdims=True)


@declare("log_softmax", _softmax_shape, attrs={"axis": -1})
def _log_softmax(node: Node, inputs: list[Array]) -> Array:
    """x - log(sum of exp(x)) along one axis."""
    axis = _batched(node.attr("axis"))
    x = inputs[0] - inputs[0].max(axis=axis, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=axis, keepdims=True))


_STEP = 2.0**-13


@functools.cache
def _erf_table() -> Array:
    return np.array([math.erf(i * _STEP) for i in range(int(6 / _STEP) + 2)])


def erf(x: Array) -> Array:
    """The error function, exact to 2e-9."""
    table = _erf_table()
    a = np.minimum(np.abs(x).astype(np.float64), 6.0) / _STEP
    a = np.where(np.isnan(a), 0.0, a)
    i = a.astype(np.int64)
    return np.copysign(table[i] + (a - i) * (table[i + 1] - table[i]), x).astype(np.float32)


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))  # never overflows
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e)).astype(np.float32)


def _softplus(x: Array, beta: float) -> Array:
    b = np.float32(beta)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x * b))) / b


def _expm1(x: Array) -> Array:
    return np.expm1(np.minimum(x, 0))


def _gelu_tanh(x: Array) -> Array:
    return 0.5 * x * (1 + np.tanh(np.float32(math.sqrt(2 / math.pi)) * (x + 0.044715 * x**3)))


@dataclass(frozen=True)
class Function:
    """A function of one element: `compute(x, **arguments)`, defaults of its arguments.

    low and high bound its values (None: unbounded), for whoever must choose a range.
    """

    compute: Callable[..., Array]
    defaults: dict[str, float | None] = field(default_factory=dict)
    low: float | None = None
    high: float | None = None


#: Functions of the operator `activation`, by name, as Keras calls them where it has them.
FUNCTIONS: dict[str, Function] = {
    "sigmoid": Function(_sigmoid, {}, 0, 1),
    "tanh": Function(np.tanh, {}, -1, 1),
    "hard_sigmoid": Function(
        lambda x, slope, offset: np.clip(x * np.float32(slope) + np.float32(offset), 0, 1),
        {"slope": 1 / 6, "offset": 0.5}, 0, 1,
    ),
    "hard_tanh": Function(lambda x: np.clip(x, -1, 1), {}, -1, 1),
    "silu": Function(lambda x, beta: x * _sigmoid(x * np.float32(beta)), {"beta": 1.0}),
    "hard_silu": Function(lambda x: x * np.clip(x / 6 + np.float32(0.5), 0, 1)),
    "gelu": Function(lambda x: 0.5 * x * (1 + erf(x * np.float32(math.sqrt(0.5))))),
    "gelu_tanh": Function(_gelu_tanh),
    "mish": Function(lambda x: x * np.tanh(_softplus(x, 1.0))),
    "elu": Function(lambda x, alpha: np.where(x > 0, x, np.float32(alpha) * _expm1(x)),
                    {"alpha": 1.0}),
    "celu": Function(
        lambda x, alpha: np.where(x > 0, x, np.float32(alpha) * _expm1(x / np.float32(alpha))),
        {"alpha": 1.0},
    ),
    "selu": Function(
        lambda x, alpha, scale: np.float32(scale) * np.where(x > 0, x, np.float32(alpha)
                                                             * _expm1(x)),
        {"alpha": 1.6732632423543772, "scale": 1.0507009873554805},
    ),
    "softplus": Function(_softplus, {"beta": 1.0}, 0),
    "softsign": Function(lambda x: x / (1 + np.abs(x)), {}, -1, 1),
    "exponential": Function(np.exp, {}, 0),
    "log_sigmoid": Function(lambda x: -_softplus(-x, 1.0), {}, None, 0),
    # x below the threshold: slope * (x - threshold); Keras' ReLU(negative_slope, threshold, max)
    "leaky_relu": Function(
        lambda x, slope, threshold, max_value: np.where(
            x >= np.float32(threshold), x if max_value is None else np.minimum(x, max_value),
            np.float32(slope) * (x - np.float32(threshold))),
        {"slope": 0.2, "threshold": 0.0, "max_value": None},
    ),
    # 0 up to and including the threshold (ONNX' ThresholdedRelu)
    "threshold_relu": Function(
        lambda x, threshold: np.where(x > np.float32(threshold), x, np.float32(0)),
        {"threshold": 1.0},
    ),
    "hard_shrink": Function(
        lambda x, threshold: np.where(np.abs(x) > np.float32(threshold), x, np.float32(0)),
        {"threshold": 0.5},
    ),
    "soft_shrink": Function(
        lambda x, threshold, offset: np.where(
            x > np.float32(threshold), x - np.float32(offset),
            np.where(x < -np.float32(threshold), x + np.float32(offset), np.float32(0))),
        {"threshold": 0.5, "offset": 0.5},
    ),
    "tanh_shrink": Function(lambda x: x - np.tanh(x)),
    "clip": Function(lambda x, low, high: np.clip(x, low, high) if (low, high) != (None, None)
                     else x, {"low": None, "high": None}),
    "abs": Function(np.abs, {}, 0),
    "neg": Function(np.negative),
    "square": Function(np.square, {}, 0),
    "sqrt": Function(np.sqrt, {}, 0),
    "rsqrt": Function(lambda x, epsilon: 1 / np.sqrt(x + np.float32(epsilon)),
                      {"epsilon": 0.0}, 0),
    "reciprocal": Function(np.reciprocal),
    "power": Function(lambda x, exponent: np.power(x, np.float32(exponent)), {"exponent": 2.0}),
    "log": Function(np.log),
    "log1p": Function(np.log1p),
    "expm1": Function(np.expm1, {}, -1),
    "erf": Function(erf, {}, -1, 1),
    "floor": Function(np.floor),
    "ceil": Function(np.ceil),
    "round": Function(np.rint),
    "signum": Function(np.sign, {}, -1, 1),
    **{
        name: Function(getattr(np, name))
        for name in ("sin", "cos", "tan", "sinh", "cosh", "arcsin", "arccos", "arctan",
                     "arcsinh", "arccosh", "arctanh")
    },
}  # fmt: skip


def arguments(node: Node) -> dict[str, Any]:
    """The arguments of an `activation` node's function, defaults filled in."""
    f = FUNCTIONS[node.attrs["function"]]
    return {k: node.attrs["arguments"].get(k, v) if "arguments" in node.attrs else v
            for k, v in f.defaults.items()}  # fmt: skip


def compute(node: Node, x: Array) -> Array:
    """The function of an `activation` node at real numbers `x` of any shape, as float32."""
    f = FUNCTIONS[node.attrs["function"]]
    with np.errstate(all="ignore"):  # log of 0 and the like: calibration reports what overflows
        return np.asarray(f.compute(np.asarray(x, np.float32), **arguments(node)), np.float32)


def _activation_shape(node: Node, shapes: list[Shape]) -> Shape:
    name = node.attrs.get("function")
    if name not in FUNCTIONS:
        raise ShapeError(f"has the function '{name}', which is not declared")
    unknown = set(node.attrs.get("arguments", {})) - set(FUNCTIONS[name].defaults)
    if unknown:
        raise ShapeError(f"has the argument '{min(unknown)}', which {name} has not")
    return shapes[0]


@declare(
    "activation",
    _activation_shape,
    attrs={"function": REQUIRED, "arguments": {}},
    pointwise=True,
)
def _activation(node: Node, inputs: list[Array]) -> Array:
    """A function of one element from FUNCTIONS; `arguments` overrides its defaults.

    A plain ReLU is the operator `relu`.
    """
    return compute(node, inputs[0])


def _prelu_shape(node: Node, shapes: list[Shape]) -> Shape:
    alpha = node.params["alpha"].shape
    try:
        fits = np.broadcast_shapes(alpha, shapes[0]) == tuple(shapes[0])
    except ValueError:
        fits = False
    if not fits:
        raise ShapeError(f"has slopes of shape {alpha} for inputs of shape {shapes[0]}")
    return shapes[0]


@declare("prelu", _prelu_shape, params={"alpha": "[c], or what broadcasts to the input's shape"})
def _prelu(node: Node, inputs: list[Array]) -> Array:
    """x where x >= 0, else alpha * x."""
    x = inputs[0]
    return np.where(x >= 0, x, x * node.params["alpha"].astype(np.float32))


@declare(
    "fake_quant",
    same,
    attrs={"scale": REQUIRED, "zero_point": REQUIRED, "low": REQUIRED, "high": REQUIRED},
    pointwise=True,
)
def _fake_quant(node: Node, inputs: list[Array]) -> Array:
    """The nearest of scale * (q - zero_point), q an integer low..high, ties to even q.

    Where quantization-aware training or a quantized file has fixed a tensor's codes. scale and
    zero_point are numbers.
    """
    a = node.attrs
    q = np.rint(inputs[0] / np.float32(a["scale"])) + a["zero_point"]
    q = np.clip(q, a["low"], a["high"])
    return ((q - a["zero_point"]) * np.float32(a["scale"])).astype(np.float32)
