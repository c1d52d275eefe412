"""ONNX normalization."""

from __future__ import annotations

import numpy as np

from secateur.frontend.build import Operand

from .reader import Call, OnnxReader, reads


@reads("BatchNormalization")
def _batch_norm(r: OnnxReader, n: Call) -> Operand:
    if n.attr("training_mode", 0) or n.wants(1):
        raise r.refuse(n, "is in training mode", "export the model in evaluation mode")
    gamma, beta, mean, variance = (r.weights(n, i).astype(np.float64) for i in (1, 2, 3, 4))
    if (variance < 0).any():
        raise r.refuse(n, "has a negative variance", "restore an earlier checkpoint")
    scale = gamma / np.sqrt(variance + float(n.attr("epsilon", 1e-5)))
    shift = beta - mean * scale
    if len(r.shape(n.inputs[0])) == 2:
        return r.b.affine(n.name, r.tensor(n), scale, shift)
    x, back = r.image(n)
    return back(r.b.affine(n.name, x, scale, shift))


@reads("InstanceNormalization", "GroupNormalization")
def _group_norm(r: OnnxReader, n: Call) -> Operand:
    x, back = r.image(n)
    scale, shift = r.weights(n, 1), r.weights(n, 2)
    c = r.b.shape(x)[-1]
    groups = c if n.op == "InstanceNormalization" else int(n.attr("num_groups"))
    if len(scale) == groups != c:  # opset 18: one for each group
        scale, shift = (np.repeat(v, c // groups) for v in (scale, shift))
    attrs = {"groups": groups, "epsilon": float(n.attr("epsilon", 1e-5))}
    params = {"scale": scale, "shift": shift}
    return back(r.b.emit("group_norm", n.name, [x], None, attrs, params))


@reads("LayerNormalization", "RMSNormalization", "SimplifiedLayerNormalization")
def _layer_norm(r: OnnxReader, n: Call) -> Operand | list[Operand]:
    t, name = r.tensor(n), n.inputs[0]
    first = r.axis(n, name, int(n.attr("axis", -1)))
    nominal, carried = r.b.nominal(t), r.b.shape(t)
    count = len(nominal) - first
    epsilon = float(n.attr("epsilon", 1e-5))
    attrs = {"axes": tuple(range(len(carried) - count, len(carried))), "epsilon": epsilon}
    params = {}
    for key, i in (("scale", 1), ("shift", 2)):
        if n.has(i):
            value = r.weights(n, i)
            try:
                params[key] = np.broadcast_to(value, nominal[first:])
            except ValueError as e:
                what = f"scales by a tensor of shape {value.shape}"
                raise r.refuse(n, what, "scale the normalised axes") from e
    op = "layer_norm" if n.op == "LayerNormalization" else "rms_norm"
    y = r.b.emit(op, n.name, [t], None, attrs, params)
    if not n.wants(1) and not n.wants(2):
        return y
    axes = list(range(first, len(nominal)))
    mean = r.b.reduce("mean", f"{n.name}_mean", t, axes, keep=True)
    centred = r.b.arithmetic("sub", f"{n.name}_centred", t, mean)
    square = r.b.activation(f"{n.name}_square", centred, "square")
    variance = r.b.reduce("mean", f"{n.name}_variance", square, axes, keep=True)
    root = r.b.activation(f"{n.name}_root", variance, "rsqrt", epsilon=epsilon)
    return [y, mean, root]


@reads("LpNormalization")
def _lp_norm(r: OnnxReader, n: Call) -> Operand:
    t = r.tensor(n)
    axis = r.axis(n, n.inputs[0], int(n.attr("axis", -1)))
    if int(n.attr("p", 2)) == 2:
        return r.b.emit("l2_norm", n.name, [t], None, {"axes": (r.b.axis(t, axis),)})
    total = r.b.activation(f"{n.name}_abs", t, "abs")
    total = r.b.reduce("sum", f"{n.name}_sum", total, [axis], keep=True)
    return r.b.arithmetic("div", n.name, t, total)


@reads("LRN")
def _local(r: OnnxReader, n: Call) -> Operand:
    """x / (bias + alpha / size * sum of squares of `size` neighbouring channels)^beta."""
    x, back = r.image(n)
    size, (h, w, c) = int(n.attr("size")), r.b.shape(x)
    square = r.b.activation(f"{n.name}_square", x, "square")
    rows = r.b.reshape(f"{n.name}_rows", square, (h * w, c, 1))
    low, high = (size - 1) // 2, size - 1 - (size - 1) // 2
    rows = r.b.pad(f"{n.name}_pad", rows, [(0, 0), (low, high), (0, 0)])
    attrs = {"window": (1, size), "strides": (1, 1), "pads": (0, 0, 0, 0)}
    mean = r.b.emit("avg_pool", f"{n.name}_mean", [rows], None, attrs)
    mean = r.b.reshape(f"{n.name}_axes", mean, r.b.nominal(x))
    base = r.b.affine(
        f"{n.name}_base", mean, float(n.attr("alpha", 1e-4)), float(n.attr("bias", 1.0))
    )
    factor = r.b.power(f"{n.name}_power", base, -float(n.attr("beta", 0.75)))
    return back(r.b.arithmetic("mul", n.name, x, factor))


@reads("MeanVarianceNormalization")
def _mean_variance(r: OnnxReader, n: Call) -> Operand:
    t = r.tensor(n)
    axes = [r.axis(n, n.inputs[0], int(a)) for a in n.attr("axes") or (0, 2, 3)]
    mean = r.b.reduce("mean", f"{n.name}_mean", t, axes, keep=True)
    centred = r.b.arithmetic("sub", f"{n.name}_centred", t, mean)
    square = r.b.activation(f"{n.name}_square", centred, "square")
    variance = r.b.reduce("mean", f"{n.name}_variance", square, axes, keep=True)
    root = r.b.activation(f"{n.name}_root", variance, "rsqrt", epsilon=1e-18)
    return r.b.arithmetic("mul", n.name, centred, root)
