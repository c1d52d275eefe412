"""ONNX convolutions and pools."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from secateur.frontend.build import Operand

from .reader import Call, OnnxReader, reads

Pair = tuple[int, int]


def _pair(values: Any, one_d: bool, default: int = 1) -> Pair:
    v = [int(x) for x in values] if values is not None else [default] * (1 if one_d else 2)
    return (default if default in (0, 1) else 1, v[0]) if one_d else (v[0], v[1])


def _pads(
    r: OnnxReader, n: Call, size: Pair, window: Pair, strides: Pair, dilations: Pair, one_d: bool
) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) of a window that slides over `size`."""
    auto = n.attr("auto_pad", "NOTSET")
    if auto in ("NOTSET", ""):
        p = [int(x) for x in n.attr("pads") or [0] * (2 if one_d else 4)]
        return (0, p[0], 0, p[1]) if one_d else (p[0], p[1], p[2], p[3])
    if auto == "VALID":
        return (0, 0, 0, 0)
    out = []
    for m, k, s, d in zip(size, window, strides, dilations, strict=True):
        total = max((-(-m // s) - 1) * s + (k - 1) * d + 1 - m, 0)
        low = total // 2
        out.append((total - low, low) if auto == "SAME_LOWER" else (low, total - low))
    return (out[0][0], out[1][0], out[0][1], out[1][1])


@reads("Conv")
def _conv(r: OnnxReader, n: Call) -> Operand:
    bias = r.weights(n, 2) if n.has(2) else None
    return convolution(r, n, r.weights(n, 1), bias)


def convolution(r: OnnxReader, n: Call, w: np.ndarray, bias: np.ndarray | None) -> str:
    """The convolution of input 0 with w [co, ci / groups, *window]."""
    x, back = r.image(n)
    one_d = w.ndim == 3
    if w.ndim not in (3, 4) or one_d != (len(r.b.nominal(x)) == 2):
        raise r.refuse(n, f"has a kernel {w.shape}", "use convolutions in one or two dimensions")
    kernel = (w[:, :, None] if one_d else w).transpose(2, 3, 1, 0)
    window = (kernel.shape[0], kernel.shape[1])
    strides, dilations = (_pair(n.attr(a), one_d) for a in ("strides", "dilations"))
    h, width, c = r.b.shape(x)
    groups = int(n.attr("group", 1))
    pads = _pads(r, n, (h, width), window, strides, dilations, one_d)
    if min(pads) < 0:
        t, left, b, right = pads
        sides = [(left, right), (0, 0)] if one_d else [(t, b), (left, right), (0, 0)]
        x, pads = r.b.pad(f"{n.name}_pad", x, sides), (0, 0, 0, 0)
    attrs: dict[str, Any] = {"strides": strides, "pads": pads}
    if dilations != (1, 1):
        attrs["dilations"] = dilations
    params = {"kernel": kernel} if bias is None else {"kernel": kernel, "bias": bias}
    op = "conv2d"
    if groups > 1 and groups == c:
        op = "depthwise_conv2d"
        params["kernel"] = kernel.reshape(*window, c, kernel.shape[3] // c)
    elif groups > 1:
        attrs["groups"] = groups
    return back(r.b.emit(op, n.name, [x], None, attrs, params))


@reads("ConvTranspose")
def _transposed(r: OnnxReader, n: Call) -> Operand:
    w = r.weights(n, 1)  # [ci, co / groups, *window]
    x, back = r.image(n)
    one_d = w.ndim == 3
    if w.ndim not in (3, 4):
        raise r.refuse(n, f"has a kernel {w.shape}", "use convolutions in one or two dimensions")
    kernel = (w[:, :, None] if one_d else w).transpose(2, 3, 1, 0)
    window = (kernel.shape[0], kernel.shape[1])
    strides, dilations = (_pair(n.attr(a), one_d) for a in ("strides", "dilations"))
    added = _pair(n.attr("output_padding"), one_d, 0)
    size = r.b.shape(x)[:2]
    whole = [
        (m - 1) * s + (k - 1) * d + 1 + e
        for m, s, k, d, e in zip(size, strides, window, dilations, added, strict=True)
    ]
    wanted = n.attr("output_shape")
    auto = n.attr("auto_pad", "NOTSET")
    if wanted is not None or auto.startswith("SAME"):
        given = [int(v) for v in wanted] if wanted is not None else [
            m * s for m, s in zip(size, strides, strict=True)
        ][-1 if one_d else -2 :]  # fmt: skip
        target = [1, given[-1]] if one_d else given[-2:]
        low, high, extra = [], [], []
        for t, m in zip(whole, target, strict=True):
            total = max(t - m, 0)
            half = total // 2
            first = half if auto == "SAME_UPPER" else total - half
            low.append(first)
            high.append(total - first)
            extra.append(max(m - t, 0))
        added = (added[0] + extra[0], added[1] + extra[1])
        pads = (low[0], low[1], high[0], high[1])
    else:
        pads = _pads(r, n, (1, 1), (1, 1), (1, 1), (1, 1), one_d)
    attrs: dict[str, Any] = {"strides": strides, "pads": pads, "extra": added}
    if dilations != (1, 1):
        attrs["dilations"] = dilations
    if int(n.attr("group", 1)) > 1:
        attrs["groups"] = int(n.attr("group", 1))
    params = {"kernel": kernel}
    if n.has(2):
        params["bias"] = r.weights(n, 2)
    return back(r.b.emit("conv2d_transpose", n.name, [x], None, attrs, params))


@reads("MaxPool", "AveragePool")
def _pool(r: OnnxReader, n: Call) -> Operand:
    if n.wants(1):
        raise r.refuse(n, "gives the indices of the maxima", "use its first output alone")
    return pooled(r, n, "max_pool" if n.op == "MaxPool" else "avg_pool")


def pooled(r: OnnxReader, n: Call, op: str) -> str:
    """Pooling of input 0 by the attributes of ONNX' pools."""
    x, back = r.image(n)
    one_d = len(r.b.nominal(x)) == 2
    window = _pair(n.attr("kernel_shape"), one_d)
    strides, dilations = (_pair(n.attr(a), one_d) for a in ("strides", "dilations"))
    size = r.b.shape(x)[:2]
    pads = _pads(r, n, (size[0], size[1]), window, strides, dilations, one_d)
    past = [0, 0]  # what a last window reaches over the padding; never counted
    if n.attr("ceil_mode", 0):
        for i in (0, 1):
            span = (window[i] - 1) * dilations[i] + 1
            whole = size[i] + pads[i] + pads[i + 2]
            out = -(-(whole - span) // strides[i]) + 1
            if (out - 1) * strides[i] >= size[i] + pads[i]:
                out -= 1  # a window of padding alone
            past[i] = (out - 1) * strides[i] + span - whole
    if op == "avg_pool" and n.attr("count_include_pad", 0):
        t, left, b, right = pads
        sides = [(left, right), (0, 0)] if one_d else [(t, b), (left, right), (0, 0)]
        x, pads = r.b.pad(f"{n.name}_pad", x, sides), (0, 0, 0, 0)
    end = [p + e for p, e in zip(pads[2:], past, strict=True)]
    if min(end) < 0:  # the last window leaves some of the padding out
        keep = [s + min(e, 0) for s, e in zip(r.b.shape(x), end, strict=False)]
        inner = [keep[1], r.b.shape(x)[2]] if one_d else [*keep, r.b.shape(x)[2]]
        x = r.b.cut(f"{n.name}_used", x, [0] * len(inner), inner)
    pads = (pads[0], pads[1], max(end[0], 0), max(end[1], 0))
    attrs: dict[str, Any] = {"window": window, "strides": strides, "pads": pads}
    if dilations != (1, 1):
        attrs["dilations"] = dilations
    return back(r.b.emit(op, n.name, [x], None, attrs))


@reads("LpPool")
def _lp_pool(r: OnnxReader, n: Call) -> Operand:
    p = float(n.attr("p", 2))
    x = r.b.power(f"{n.name}_power", r.b.activation(f"{n.name}_abs", r.tensor(n), "abs"), p)
    r.values[f"{n.name}_power"] = x
    attrs = {**n.attrs, "count_include_pad": 1}
    inner = replace(n, inputs=[f"{n.name}_power"], attrs=attrs)  # notes what it asks for in `n`
    y = pooled(r, inner, "avg_pool")
    size = float(np.prod([int(k) for k in n.attr("kernel_shape")]))
    return r.b.power(f"{n.name}_root", r.b.affine(f"{n.name}_sum", y, size, 0), 1 / p)


@reads("GlobalAveragePool", "GlobalMaxPool")
def _global(r: OnnxReader, n: Call) -> Operand:
    t = r.tensor(n)
    axes = [r.axis(n, n.inputs[0], a) for a in range(2, len(r.shape(n.inputs[0])))]
    function = "mean" if n.op == "GlobalAveragePool" else "max"
    return r.b.reduce(function, n.name, t, axes, keep=True)


@reads("Resize", "Upsample")
def _resize(r: OnnxReader, n: Call) -> Operand:
    x, back = r.image(n)
    one_d = len(r.b.nominal(x)) == 2
    shape = r.shape(n.inputs[0])
    mode = n.attr("mode", "nearest")
    grid = n.attr("coordinate_transformation_mode", "half_pixel")
    first = 1 if n.op == "Upsample" or n.opset < 11 else 2
    if n.op == "Upsample" or n.opset < 11:
        grid = "asymmetric"
    names = {"half_pixel": "half_pixel", "pytorch_half_pixel": "half_pixel",
             "asymmetric": "asymmetric", "align_corners": "align_corners"}  # fmt: skip
    for of_other_modes in ("cubic_coeff_a", "extrapolation_value", "nearest_mode"):
        n.attr(of_other_modes)  # exporters state them always; nearest asks for its own below
    odd = n.attr("antialias", 0) or n.attr("exclude_outside", 0) or (
        n.attr("keep_aspect_ratio_policy", "stretch") != "stretch"
    )  # fmt: skip
    if mode not in ("nearest", "linear") or grid not in names or odd:
        raise r.refuse(n, f"resizes by '{mode}' on '{grid}'", "use nearest or linear, half_pixel")
    axes = [int(a) % len(shape) for a in n.attr("axes") or range(len(shape))]
    scales = n.attr("scales") if n.op == "Upsample" and not n.has(1) else r.optional(n, first)
    sizes = r.optional(n, 3) if first == 2 else None
    target, factors = list(shape), [None] * len(shape)  # type: list[int], list[Any]
    for i, a in enumerate(axes):
        if sizes is not None and np.size(sizes):
            target[a] = int(np.ravel(sizes)[i])
        elif scales is not None and np.size(scales):
            factors[a] = float(np.ravel(scales)[i])
            target[a] = int(np.floor(shape[a] * factors[a]))
            if grid == "align_corners" and shape[a] * factors[a] != target[a]:
                raise r.refuse(n, f"resizes {shape[a]} by {factors[a]:g} between corners",
                               "give sizes in place of scales")  # fmt: skip
    if target[:2] != list(shape[:2]):
        raise r.refuse(n, "resizes channels", "resize height and width")
    size = (1, target[2]) if one_d else (target[2], target[3])
    if grid == "pytorch_half_pixel" and mode == "linear" and 1 in target[2:]:
        raise r.refuse(n, "resizes to one pixel on 'pytorch_half_pixel'", "use half_pixel")
    attrs: dict[str, Any] = {
        "size": size,
        "mode": "bilinear" if mode == "linear" else "nearest",
        "grid": names[grid],
    }
    if any(f is not None and int(f) != f for f in factors[2:]):
        attrs["scales"] = (None, factors[2]) if one_d else (factors[2], factors[3])
    if mode == "nearest":
        rounding = n.attr("nearest_mode", "round_prefer_floor")
        rounding = "floor" if n.op == "Upsample" or n.opset < 11 else rounding
        attrs["rounding"] = {
            "round_prefer_floor": "round_down", "round_prefer_ceil": "round",
            "floor": "floor", "ceil": "ceil",
        }[rounding]  # fmt: skip
        whole = all(t % s == 0 for t, s in zip(target[2:], shape[2:], strict=True))
        halves = grid != "align_corners" and rounding.startswith("round") and grid != "asymmetric"
        if whole and (halves or (grid == "asymmetric" and rounding == "floor")):
            attrs |= {"grid": "asymmetric", "rounding": "floor"}  # each pixel repeated
    return back(r.b.emit("resize", n.name, [x], None, attrs))


@reads("DepthToSpace", "SpaceToDepth")
def _blocks(r: OnnxReader, n: Call) -> Operand:
    x, back = r.image(n)
    attrs: dict[str, Any] = {"block": int(n.attr("blocksize"))}
    if n.op == "SpaceToDepth":
        if n.attr("mode", "DCR") != "DCR":
            raise r.refuse(n, f"has mode={n.attr('mode')}", "use mode=DCR")
        return back(r.b.emit("space_to_depth", n.name, [x], None, attrs))
    if n.attr("mode", "DCR") == "CRD":
        attrs["order"] = "crd"
    return back(r.b.emit("depth_to_space", n.name, [x], None, attrs))
