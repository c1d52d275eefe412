"""Quantized ONNX: QDQ pairs, and the operators on codes of QOperator models.

A tensor of codes is carried as the real numbers the codes stand for: QuantizeLinear rounds
(`fake_quant`), DequantizeLinear is nothing. Weights become the real numbers they stand for, which
lowering recognises as the grid they lie on.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.frontend.build import Operand

from .products import product
from .reader import Call, OnnxReader, reads
from .windows import convolution, pooled

_RANGES = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767),
           "uint16": (0, 65535), "int4": (-8, 7), "uint4": (0, 15)}  # fmt: skip


def _single(r: OnnxReader, n: Call, i: int, default: float) -> float:
    value = r.optional(n, i)
    if value is None:
        return default
    if value.size != 1:
        raise r.refuse(n, "quantizes an activation by channel", "quantize activations by tensor")
    return float(value.ravel()[0])


def _round(r: OnnxReader, n: Call, y: str, scale: int, zero: int) -> str:
    """`y` as codes of the scale and zero point in inputs `scale` and `zero`."""
    s, z = _single(r, n, scale, 1.0), _single(r, n, zero, 0.0)
    kind = r.constant(n, zero).dtype.name if n.has(zero) else "uint8"
    if kind not in _RANGES or not s > 0:
        raise r.refuse(n, f"quantizes to {kind} with scale {s:g}", "use int8, uint8 or int16")
    low, high = _RANGES[kind]
    attrs = {"scale": s, "zero_point": z, "low": low, "high": high}
    r.codes[n.outputs[0]] = (s, z)
    return r.b.emit("fake_quant", n.name, [y], None, attrs)


def _real(r: OnnxReader, n: Call, i: int) -> Operand:
    """The real numbers of codes in input i, whose scale and zero point follow it."""
    name = n.inputs[i]
    value = r.values[name]
    if isinstance(value, np.ndarray):
        scale = r.constant(n, i + 1).astype(np.float32)
        zero = r.optional(n, i + 2)
        base = value.astype(np.float32)
        if scale.size > 1:
            raise r.refuse(n, "has a constant quantized by channel", "quantize it by tensor")
        return (base - (0 if zero is None else zero.astype(np.float32))) * scale
    s, z = _single(r, n, i + 1, 1.0), _single(r, n, i + 2, 0.0)
    if name not in r.codes:  # whole numbers, as an input of the model has them
        return r.b.affine(f"{n.name}_real", value, s, -z * s)
    have, zero_then = r.codes[name]
    if (have, zero_then) == (s, z):
        return value
    return r.b.affine(f"{n.name}_real", value, s / have, (zero_then - z) * s)


@reads("QuantizeLinear")
def _quantize(r: OnnxReader, n: Call) -> Operand:
    return _round(r, n, r.tensor(n), 1, 2)


@reads("DequantizeLinear")
def _dequantize(r: OnnxReader, n: Call) -> Operand:
    return _real(r, n, 0)


def _kernel(r: OnnxReader, n: Call, i: int, axis: int) -> np.ndarray:
    """Weights in input i, quantized as a whole or along `axis`, as real numbers."""
    w, scale, zero = (r.constant(n, j) for j in (i, i + 1, i + 2))
    along = [1] * w.ndim
    along[axis] = -1
    s = scale.astype(np.float32).reshape(along if scale.size > 1 else (1,) * w.ndim)
    z = zero.astype(np.float32).reshape(along if zero.size > 1 else (1,) * w.ndim)
    return (w.astype(np.float32) - z) * s


def _as_input(r: OnnxReader, n: Call, value: Operand) -> Call:
    """`n` with `value` as its first input."""
    name = f"{n.name}_real"
    r.values[name] = value
    return replace(n, inputs=[name, *n.inputs[1:]])


@reads("QLinearConv")
def _conv(r: OnnxReader, n: Call) -> Operand:
    w = _kernel(r, n, 3, 0)
    bias = None
    if n.has(8):
        s = r.constant(n, 4).astype(np.float64) * _single(r, n, 1, 1.0)
        bias = (r.constant(n, 8) * s.ravel()).astype(np.float32)
    y = convolution(r, _as_input(r, n, _real(r, n, 0)), w, bias)
    return _round(r, n, y, 6, 7)


@reads("QLinearMatMul")
def _matmul(r: OnnxReader, n: Call) -> Operand:
    known = isinstance(r.values[n.inputs[3]], np.ndarray)
    second: Operand = _kernel(r, n, 3, -1) if known else _real(r, n, 3)
    first = _real(r, n, 0)
    inner = replace(n, inputs=[n.inputs[0], n.inputs[3]])
    return _round(r, n, product(r, inner, first, second), 6, 7)


@reads("QGemm")
def _gemm(r: OnnxReader, n: Call) -> Operand:
    from secateur.frontend.layers.dense import dense

    transposed = bool(n.attr("transB", 0))
    w = _kernel(r, n, 3, 0 if transposed else 1)
    w = w.T if transposed else w
    alpha = float(n.attr("alpha", 1.0))
    bias = None
    if n.has(6):
        s = r.constant(n, 4).astype(np.float64) * _single(r, n, 1, 1.0) * alpha
        bias = (r.constant(n, 6) * s.ravel()).astype(np.float32).ravel()
    x = _real(r, n, 0)
    assert isinstance(x, str)
    y = dense(r.b, n.name, x, w * np.float32(alpha), bias)
    return _round(r, n, y, 7, 8) if n.has(7) else y


@reads("QLinearAdd", "QLinearMul")
def _binary(r: OnnxReader, n: Call) -> Operand:
    a, b = _real(r, n, 0), _real(r, n, 3)
    rank = max(len(r.shape(n.inputs[i])) for i in (0, 3))
    a, b = (v if isinstance(v, str) else r.beside(n, v, rank) for v in (a, b))
    op = "add" if n.op == "QLinearAdd" else "mul"
    return _round(r, n, r.b.arithmetic(op, f"{n.name}_{op}", a, b), 6, 7)


@reads("QLinearSigmoid", "QLinearLeakyRelu")
def _function(r: OnnxReader, n: Call) -> Operand:
    x = _real(r, n, 0)
    assert isinstance(x, str)
    if n.op == "QLinearSigmoid":
        y = r.b.activation(f"{n.name}_sigmoid", x, "sigmoid")
    else:
        slope = float(n.attr("alpha", 0.01))
        y = r.b.activation(f"{n.name}_leaky", x, "leaky_relu", slope=slope)
    return _round(r, n, y, 3, 4)


@reads("QLinearAveragePool")
def _pool(r: OnnxReader, n: Call) -> Operand:
    if n.attr("channels_last", 0):
        raise r.refuse(n, "has channels_last=1", "quantize the model with channels first")
    return _round(r, n, pooled(r, _as_input(r, n, _real(r, n, 0)), "avg_pool"), 3, 4)


@reads("QLinearGlobalAveragePool")
def _global(r: OnnxReader, n: Call) -> Operand:
    x = _real(r, n, 0)
    assert isinstance(x, str)
    if n.attr("channels_last", 0):
        raise r.refuse(n, "has channels_last=1", "quantize the model with channels first")
    axes = [r.axis(n, n.inputs[0], a) for a in range(2, len(r.shape(n.inputs[0])))]
    return _round(r, n, r.b.reduce("mean", f"{n.name}_mean", x, axes, keep=True), 3, 4)


@reads("QLinearConcat")
def _concat(r: OnnxReader, n: Call) -> Operand:
    parts = [r.b.tensor(f"{n.name}_{i}", _real(r, n, i)) for i in range(2, len(n.inputs), 3)]
    at = r.axis(n, n.inputs[2], int(n.attr("axis")))
    return _round(r, n, r.b.concat(f"{n.name}_joined", parts, at), 0, 1)


@reads("QLinearSoftmax")
def _softmax(r: OnnxReader, n: Call) -> Operand:
    x = _real(r, n, 0)
    assert isinstance(x, str)
    axis = r.axis(n, n.inputs[0], int(n.attr("axis", -1)))
    return _round(r, n, r.b.softmax(f"{n.name}_softmax", x, axis), 3, 4)


@reads("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear", "DynamicQuantizeMatMul")
def _dynamic(r: OnnxReader, n: Call) -> Operand:
    raise r.refuse(
        n, "quantizes by ranges found at run time",
        "quantize it statically (QDQ), or convert the float model",
    )  # fmt: skip
