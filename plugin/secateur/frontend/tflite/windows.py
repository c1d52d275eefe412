"""Convolutions, matrix products, pools, resizing."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.frontend.layers import resolve_padding
from secateur.frontend.layers.conv import transposed_attrs
from secateur.frontend.layers.dense import dense

from .reader import Spread, TfliteOp, TfliteReader, reads


def _sliding(
    r: TfliteReader,
    op: TfliteOp,
    x: str,
    window: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> dict[str, Any]:
    """Attributes of an operator whose options start padding, stride_w, stride_h."""
    h, w, _ = r.b.shape(x)
    strides = (op.option(2, default=1), op.option(1, default=1))
    span = tuple((k - 1) * d + 1 for k, d in zip(window, dilation, strict=True))
    padding = "valid" if op.option(0, "<b") else "same"
    pads = resolve_padding(padding, (h, w), (span[0], span[1]), strides)
    attrs: dict[str, Any] = {"strides": strides, "pads": pads}
    if dilation != (1, 1):
        attrs["dilations"] = dilation
    return attrs


def _weighted(r: TfliteReader, op: TfliteOp) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    kernel, bias = r.constant(op, 1), r.constant(op, 2)
    if kernel is None:
        raise r.refuse(op, "has computed weights")
    return kernel, {} if bias is None else {"bias": bias.astype(np.float32).ravel()}


@reads("CONV_2D", "DEPTHWISE_CONV_2D")
def _conv(r: TfliteReader, op: TfliteOp) -> str:
    spread = r.spread.get(op.inputs[0])
    x = spread.image if spread else r.image(op)
    kernel, params = _weighted(r, op)
    if kernel.ndim != 4:
        raise r.refuse(op, f"has a kernel of shape {kernel.shape}")
    deep = op.kind == "DEPTHWISE_CONV_2D"
    at = 5 if deep else 4
    dilation = (op.option(at + 1, default=1), op.option(at, default=1))
    if spread:  # a dilated convolution as older converters wrote it
        if dilation != (1, 1) or not op.option(0, "<b"):
            raise r.refuse(op, "pads or dilates an image spread over the batch")
        dilation = spread.block
    attrs = _sliding(r, op, x, (kernel.shape[1], kernel.shape[2]), dilation)
    c = r.b.shape(x)[2]
    if deep:
        params["kernel"] = kernel.reshape(*kernel.shape[1:3], c, -1)
        kind = "conv2d" if c == 1 and kernel.shape[3] > 1 else "depthwise_conv2d"
    else:
        kind = "conv2d"
        params["kernel"] = kernel.transpose(1, 2, 3, 0)
        if kernel.shape[3] != c:
            if c % kernel.shape[3]:
                raise r.refuse(op, f"has a kernel of {kernel.shape[3]} channels for {c}")
            attrs["groups"] = c // kernel.shape[3]
            if kernel.shape[3] == 1:  # a depthwise one
                kind = "depthwise_conv2d"
                attrs.pop("groups")
                params["kernel"] = params["kernel"].reshape(*kernel.shape[1:3], c, -1)
    y = r.b.emit(kind, op.name, [x], None, attrs, params)
    return r.fused(op, y, op.option(4 if deep else 3, "<b"))


@reads("SPACE_TO_BATCH_ND")
def _spread(r: TfliteReader, op: TfliteOp) -> str:
    block, pads = r.needed(op, 1), r.needed(op, 2)
    x = r.image(op)
    sides = [(int(a), int(b)) for a, b in pads]
    if len(block) == 1:
        block, sides = np.array([1, block[0]]), [(0, 0), *sides]
    y = r.b.pad(op.name, x, [*sides[-len(r.b.nominal(x)) + 1 :], (0, 0)])
    r.spread[op.output] = Spread(y, (int(block[0]), int(block[1])))
    r.values[op.output] = y
    return y


@reads("BATCH_TO_SPACE_ND")
def _gather(r: TfliteReader, op: TfliteOp) -> str:
    spread = r.spread.get(op.inputs[0])
    block = tuple(int(b) for b in r.needed(op, 1))
    if spread is None or block != spread.block[-len(block) :]:
        raise r.refuse(op, "gathers an image that was not spread like this")
    crops = [(-int(a), -int(b)) for a, b in r.needed(op, 2)]
    return r.b.pad(op.name, spread.image, [*crops, (0, 0)])


@reads("TRANSPOSE_CONV")
def _transposed(r: TfliteReader, op: TfliteOp) -> str:
    x, kernel, bias = r.image(op, 2), r.needed(op, 1), r.constant(op, 3)
    shape = r.target(op)
    h, w, _ = r.b.shape(x)
    strides = (op.option(2, default=1), op.option(1, default=1))
    attrs = transposed_attrs(
        (h, w), (shape[0], shape[1]), (kernel.shape[1], kernel.shape[2]), strides, (1, 1),
        "valid" if op.option(0, "<b") else "same",
    )  # fmt: skip
    params = {"kernel": kernel.transpose(1, 2, 0, 3)}
    if bias is not None:
        params["bias"] = bias.astype(np.float32).ravel()
    y = r.b.emit("conv2d_transpose", op.name, [x], None, attrs, params)
    return r.fused(op, y, op.option(3, "<b"))


@reads("FULLY_CONNECTED")
def _dense(r: TfliteReader, op: TfliteOp) -> str:
    x = r.tensor(op)
    kernel, params = _weighted(r, op)
    if op.option(1, "<b"):
        raise r.refuse(op, "has shuffled weights")
    if kernel.ndim != 2:
        raise r.refuse(op, f"has weights of shape {kernel.shape}")
    shape = r.b.shape(x)
    if len(shape) > 1 and (shape[-1] != kernel.shape[1] or set(shape[:-1]) == {1}):
        x = r.b.reshape(f"{op.name}_flatten", x, (int(np.prod(shape)),))
    y = dense(r.b, op.name, x, kernel.T, params.get("bias"))
    return r.fused(op, r.view(op, y, r.target(op)), op.option(0, "<b"))


@reads("BATCH_MATMUL")
def _matmul(r: TfliteReader, op: TfliteOp) -> str:
    pair = [r.operand(op, i) for i in (0, 1)]
    second = pair[1]
    if not isinstance(second, str) and second.ndim == 2 and not op.option(0, "<b"):
        return dense(r.b, op.name, r.tensor(op), second.T if op.option(1, "<b") else second)
    tensors = []
    for i, value in enumerate(pair):
        t = r.b.tensor(f"{op.name}_constant{i}", value)
        n = len(r.b.nominal(t))
        if op.option(i, "<b") and i == 0:
            t = r.b.transpose(f"{op.name}_{i}", t, (*range(n - 2), n - 1, n - 2))
        tensors.append(t)
    attrs = {"transpose_b": True} if op.option(1, "<b") else {}
    return r.b.emit("matmul", op.name, tensors, None, attrs)


@reads("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(r: TfliteReader, op: TfliteOp) -> str:
    x = r.image(op)
    window = (op.option(4), op.option(3))
    kind = "max_pool" if op.kind == "MAX_POOL_2D" else "avg_pool"
    attrs = {**_sliding(r, op, x, window), "window": window}
    return r.fused(op, r.b.emit(kind, op.name, [x], None, attrs), op.option(5, "<b"))


@reads("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR")
def _resize(r: TfliteReader, op: TfliteOp) -> str:
    x, size = r.image(op), r.target(op)
    at = 2 if op.kind == "RESIZE_BILINEAR" else 0
    corners, half = (bool(op.option(at + i, "<b")) for i in (0, 1))
    grid = "align_corners" if corners else "half_pixel" if half else "asymmetric"
    nearest = op.kind == "RESIZE_NEAREST_NEIGHBOR"
    h, w, _ = r.b.shape(x)
    attrs: dict[str, Any] = {
        "size": (size[0], size[1]), "mode": "nearest" if nearest else "bilinear", "grid": grid,
    }  # fmt: skip
    if nearest:
        attrs["rounding"] = "round" if corners or half else "floor"
        if not corners and size[0] % h == 0 and size[1] % w == 0:
            attrs |= {"grid": "asymmetric", "rounding": "floor"}
    return r.b.emit("resize", op.name, [x], None, attrs)


@reads("DEPTH_TO_SPACE", "SPACE_TO_DEPTH")
def _blocks(r: TfliteReader, op: TfliteOp) -> str:
    return r.b.emit(op.kind.lower(), op.name, [r.image(op)], None, {"block": op.option(0)})


@reads("EMBEDDING_LOOKUP")
def _embedding(r: TfliteReader, op: TfliteOp) -> str:
    table = r.needed(op, 1).astype(np.float32)
    return r.b.emit("embedding", op.name, [r.tensor(op)], None, {}, {"table": table})
