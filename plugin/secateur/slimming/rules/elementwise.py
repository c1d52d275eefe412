"""What works on every element for itself: activations, dropouts, unary operations."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..trace import Constant, Tracer, rule

#: activations in which one channel's value depends on others
_MIXING = {
    "softmax", "log_softmax", "glu", "sparsemax", "sparse_plus",
}  # fmt: skip


def mixes(activation: Any) -> bool:
    """Whether an activation mixes channels, or is a function whose doing is not known."""
    if activation is None:
        return False
    module = getattr(activation, "__module__", "") or ""
    if not module.startswith("keras."):
        return True
    return getattr(activation, "__name__", type(activation).__name__) in _MIXING


def apply(function: Callable[[Any], Any] | None, value: np.ndarray) -> np.ndarray:
    """`function` of every element of [n]."""
    if function is None or not len(value):
        return value
    import keras

    out = function(keras.ops.convert_to_tensor(value[None].astype(np.float32)))
    return np.asarray(out)[0].astype(np.float64)


def through(t: Tracer) -> None:
    """The operation itself says what becomes of a constant."""
    op = t.op

    def constant(_output: int, inputs: list[Constant | None]) -> Constant:
        assert inputs[0] is not None
        value, everywhere = inputs[0]
        return apply(op.call, value), everywhere

    t.constant = constant


@rule("Activation")
def activation(t: Tracer) -> None:
    """Any of Keras' own activations."""
    if mixes(t.op.activation):
        t.whole(f"the activation of '{t.op.name}' mixes channels")
        return
    elementwise(t)


@rule(
    "ReLU", "LeakyReLU", "ELU",
    "Relu", "Relu6", "LeakyRelu", "Elu", "Selu", "Celu", "Gelu", "Silu", "HardSilu", "HardSwish",
    "Sigmoid", "HardSigmoid", "LogSigmoid", "Tanh", "HardTanh", "TanhShrink", "SoftShrink",
    "HardShrink", "Softplus", "Softsign", "Squareplus", "SparseSigmoid", "Threshold",
    "Abs", "Absolute", "Negative", "Square", "Sqrt", "Rsqrt", "Exp", "Expm1", "Log", "Log1p",
    "Sign", "Round", "Floor", "Ceil", "Reciprocal", "Clip", "StopGradient", "QuantActivation",
)  # fmt: skip
def elementwise(t: Tracer) -> None:
    """One input, one output of the same shape."""
    t.inplace = True
    t.same()
    through(t)


@rule(
    "Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "AlphaDropout",
    "GaussianDropout", "GaussianNoise", "ActivityRegularization", "Identity", "Cast",
)  # fmt: skip
def nothing(t: Tracer) -> None:
    """Nothing happens outside training."""
    t.inplace = True
    t.same()


@rule("Rescaling")
def rescaling(t: Tracer) -> None:
    """A scale and an offset; a list of them has one for each channel and stays."""
    if np.ndim(t.op.scale) or np.ndim(t.op.offset):
        t.whole(f"'{t.op.name}' has a scale for each channel")
        return
    elementwise(t)


@rule("PReLU")
def prelu(t: Tracer) -> None:
    """A slope for each channel, and for each place unless the axes are shared."""
    layer, ids = t.op, t.same()
    if ids is None:
        return
    t.inplace = True
    axis = t.outputs[0].axis - 1  # type: ignore[union-attr]
    slopes = layer.alpha.shape
    t.weight("alpha", {axis: ids} if slopes[axis] == len(ids) else {})
    if slopes[axis] == len(ids):
        t.layer.held = ids

    def constant(_output: int, inputs: list[Constant | None]) -> Constant:
        assert inputs[0] is not None
        value, everywhere = inputs[0]
        alpha = np.moveaxis(np.asarray(layer.alpha.value, np.float64), axis, -1)
        flat = np.broadcast_to(alpha, (*alpha.shape[:-1], len(value))).reshape(-1, len(value))
        one = (flat == flat[0]).all(0) | (value >= 0)
        return np.where(value >= 0, value, flat.mean(0) * value), everywhere & one

    t.constant = constant
