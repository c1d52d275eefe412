"""ONNX matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.frontend.build import Operand
from secateur.frontend.layers.dense import dense, einsum_dense
from secateur.frontend.layers.merge import scaled_product

from .reader import BatchError, Call, OnnxReader, reads


@reads("Gemm")
def _gemm(r: OnnxReader, n: Call) -> Operand:
    alpha, beta = float(n.attr("alpha", 1.0)), float(n.attr("beta", 1.0))
    t = r.tensor(n)
    if n.attr("transA", 0):
        if r.batch:
            r.behind(n, 0)
        t = r.b.transpose(f"{n.name}_a", t, (1, 0))
    w = r.weights(n, 1)
    w = w.T if n.attr("transB", 0) else w
    c = r.values[n.inputs[2]] if n.has(2) and beta else None
    bias = None
    if isinstance(c, np.ndarray):
        c = np.asarray(c, np.float32) * np.float32(beta)
        if c.size == 1 or (c.shape[-1:] == (w.shape[1],) and c.size == w.shape[1]):
            bias = np.broadcast_to(c.ravel(), (w.shape[1],))
            c = None
    if alpha != 1:
        w = w * np.float32(alpha)
    y = dense(r.b, n.name, t, w, bias)
    if c is None:
        return y
    other: Any = c
    if isinstance(c, str):
        other = r.b.affine(f"{n.name}_beta", c, beta, 0) if beta != 1 else c
    else:
        other = r.beside(n, c, len(r.shape(n.inputs[0])))
    return r.b.arithmetic("add", f"{n.name}_sum", y, other)


@reads("MatMul")
def _matmul(r: OnnxReader, n: Call) -> Operand:
    return product(r, n, r.values[n.inputs[0]], r.values[n.inputs[1]])


def product(r: OnnxReader, n: Call, first: Operand, second: Operand) -> str:
    """NumPy's matmul of two ONNX tensors, one of which is no constant."""
    if isinstance(first, str) and not isinstance(second, str) and second.ndim == 2:
        return dense(r.b, n.name, first, np.asarray(second, np.float32))
    ranks = [len(r.shape(i)) for i in n.inputs[:2]]
    if r.batch and isinstance(first, str) and isinstance(second, str) and (
        len(set(ranks)) > 1 or ranks[0] < 3
    ):  # fmt: skip
        raise BatchError(
            f"node '{n.name}' (MatMul) of model '{r.b.name}' multiplies tensors of {ranks} axes, "
            "which mixes samples; read the model with batch=False"
        )
    rank = max(ranks)
    pair = []
    for i, value in enumerate((first, second)):
        if not isinstance(value, str):
            plain = r.beside(n, np.asarray(value, np.float32), rank)
            value = r.b.constant(f"{n.name}_constant{i}", plain)
        pair.append(value)
    shapes = [r.b.nominal(t) for t in pair]
    if len(shapes[0]) == 1:
        pair[0] = r.b.reshape(f"{n.name}_row", pair[0], (1, *shapes[0]))
    if len(shapes[1]) == 1:
        pair[1] = r.b.reshape(f"{n.name}_column", pair[1], (*shapes[1], 1))
    if r.batch and isinstance(first, str) and ranks[0] < 3:
        r.behind(n, 0)
    y = r.b.emit("matmul", n.name, pair, None, {})
    lead = max(len(s) for s in shapes) - 2
    rows = r.b.shape(y)
    nominal = rows[len(rows) - 2 - max(lead, 0) :]
    r.b.name_shape(y, nominal)
    if len(shapes[1]) == 1:
        y = r.b.without(y, len(r.b.nominal(y)) - 1)
    if len(shapes[0]) == 1:
        y = r.b.without(y, len(r.b.nominal(y)) - (1 if len(shapes[1]) == 1 else 2))
    return y


@reads("Einsum")
def _einsum(r: OnnxReader, n: Call) -> Operand:
    equation = str(n.attr("equation")).replace(" ", "")
    second = r.values[n.inputs[1]] if n.has(1) else None
    if not r.batch or not isinstance(second, np.ndarray) or len(n.inputs) != 2:
        raise r.refuse(n, f"has the equation '{equation}'", "use MatMul and Transpose")
    return einsum_dense(r.b, n.name, r.tensor(n), equation, r.weights(n, 1))


@reads("Attention")
def _attention(r: OnnxReader, n: Call) -> Operand:
    """Scaled dot products of opset 23, without a cache."""
    if not r.batch or any(n.has(i) for i in (4, 5, 6)) or any(n.wants(i) for i in (1, 2, 3)):
        raise r.refuse(n, "keeps a cache or gives its scores", "use its first four inputs")
    q, k, v = (r.tensor(n, i) for i in (0, 1, 2))
    flat = len(r.b.nominal(q)) == 2
    if flat:  # (L, heads * size)
        counts = (int(n.attr("q_num_heads")), *(2 * [int(n.attr("kv_num_heads"))]))
        q, k, v = (
            r.b.transpose(
                f"{n.name}_heads{i}",
                r.b.reshape(
                    f"{n.name}_split{i}", t,
                    (r.b.nominal(t)[0], heads, r.b.nominal(t)[1] // heads),
                ),
                (1, 0, 2),
            )
            for i, (t, heads) in enumerate(zip((q, k, v), counts, strict=True))
        )  # fmt: skip
    heads, length, size = r.b.shape(q)
    repeat = heads // r.b.shape(k)[0]
    if repeat > 1:
        indices = tuple(np.repeat(np.arange(heads // repeat), repeat).tolist())
        k, v = (
            r.b.emit("gather", f"{n.name}_group{i}", [t], None, {"axis": 0, "indices": indices})
            for i, t in enumerate((k, v))
        )
    scale = float(n.attr("scale") or 1 / np.sqrt(size))
    bias: Any = None
    if n.attr("is_causal", 0):
        keys = r.b.shape(k)[1]
        bias = np.triu(np.full((length, keys), -1e4, np.float32), 1)
    if n.has(3):
        mask = r.constant(n, 3)
        mask = np.where(mask, 0, -1e4) if mask.dtype == bool else np.maximum(mask, -1e4)
        mask = r.beside(n, mask.astype(np.float32), 4)
        if (mask.max(axis=-1) <= -1e4).any():
            raise r.refuse(n, "masks all keys of a query", "leave one key to each query")
        bias = mask if bias is None else np.maximum(mask + bias, -1e4)
    if bias is None and not float(n.attr("softcap", 0) or 0):
        y = scaled_product(r.b, n.name, q, k, v, scale)
    else:
        q = r.b.affine(f"{n.name}_scale", q, scale, 0)
        scores = r.b.emit("matmul", f"{n.name}_scores", [q, k], None, {"transpose_b": True})
        cap = float(n.attr("softcap", 0) or 0)
        if bias is not None and not cap:
            scores = r.b.arithmetic("add", f"{n.name}_mask", scores, bias)
        if cap:
            scores = r.b.affine(f"{n.name}_part", scores, 1 / cap, 0)
            scores = r.b.activation(f"{n.name}_tanh", scores, "tanh")
            scores = r.b.affine(f"{n.name}_cap", scores, cap, 0)
            if bias is not None:
                scores = r.b.arithmetic("add", f"{n.name}_mask", scores, bias)
        share = r.b.softmax(f"{n.name}_softmax", scores, -1)
        y = r.b.emit("matmul", n.name, [share, v], None, {})
    if not flat:
        return y
    width = r.b.shape(y)[2]
    y = r.b.transpose(f"{n.name}_joined", y, (1, 0, 2))
    return r.b.reshape(f"{n.name}_flat", y, (length, heads * width))
