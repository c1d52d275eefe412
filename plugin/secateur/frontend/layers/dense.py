"""Fully connected layers, along the last axis or by an equation; embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder

from .activation import activation
from .base import SourceLayer, handles, params, refuse, weight


def dense(
    b: Builder, name: str, tensor: str, kernel: np.ndarray, bias: np.ndarray | None = None
) -> str:
    """Product along the last axis; on images and sequences a pointwise convolution."""
    shape = b.shape(tensor)
    made = {"kernel": np.asarray(kernel, np.float32)}
    if bias is not None:
        made["bias"] = np.asarray(bias, np.float32)
    if len(shape) != 3:
        return b.emit("dense", name, [tensor], None, {}, made)
    made["kernel"] = made["kernel"][None, None]
    attrs: dict[str, Any] = {"strides": (1, 1), "pads": (0, 0, 0, 0)}
    return b.emit("conv2d", name, [tensor], None, attrs, made)


@handles("Dense")
def _dense(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    p = params(layer, weight(layer, "kernel"))
    y = dense(b, layer.name, inputs[0], p["kernel"], p.get("bias"))
    return activation(b, layer, y, layer.config.get("activation"))


def einsum_dense(
    b: Builder, name: str, tensor: str, equation: str, kernel: np.ndarray,
    bias: np.ndarray | None = None,
) -> str:  # fmt: skip
    """einsum of a tensor (batch included in the equation) with a constant kernel.

    Raises ModelError for equations that are no matrix product, as "ab,ab->ab".
    """
    left, result = equation.replace(" ", "").split("->")
    x, k = left.split(",")
    nominal = b.nominal(tensor)
    if "..." in x:
        free = len(nominal) + 1 - len(x.replace("...", ""))
        fill = "".join(chr(ord("A") + i) for i in range(free))
        x, result = x.replace("...", fill), result.replace("...", fill)
    summed = [c for c in k if c in x and c not in result]
    new = [c for c in k if c not in x]
    kept = [c for c in x[1:] if c not in summed]
    shared = [c for c in k if c in x and c in result]
    whole = set(result) == {x[0], *kept, *new} and result[:1] == x[0] and not shared
    if not whole or x[0] in k or len(set(x)) < len(x):
        raise ModelError(
            f"layer '{name}' has the equation '{equation}', which is no product with a matrix; "
            "write it with Dense layers"
        )
    size = {**dict(zip(x[1:], nominal, strict=True)), **dict(zip(k, kernel.shape, strict=True))}
    order = [x.index(c) - 1 for c in (*kept, *summed)]
    y = b.transpose(f"{name}_in", tensor, order)
    rows = int(np.prod([size[c] for c in summed]))
    flat = kernel.transpose([k.index(c) for c in (*summed, *new)]).reshape(rows, -1)
    y = b.reshape(f"{name}_rows", y, (*(size[c] for c in kept), rows))
    y = dense(b, name, y, flat, _flat_bias(bias, result, new, size))
    y = b.reshape(f"{name}_axes", y, tuple(size[c] for c in (*kept, *new)))
    made = [*kept, *new]
    y = b.transpose(f"{name}_out", y, [made.index(c) for c in result[1:]])
    if bias is not None and _flat_bias(bias, result, new, size) is None:
        y = b.arithmetic("add", f"{name}_bias", y, np.asarray(bias, np.float32))
    return y


def _flat_bias(
    bias: np.ndarray | None, result: str, new: list[str], size: dict[str, int]
) -> np.ndarray | None:
    """The bias as one value for each new element, where it has the new axes alone."""
    if bias is None or result[-len(new) :] != "".join(new) or not new:
        return None
    shape = tuple(size[c] for c in new)
    fits = bias.size == int(np.prod(shape)) and tuple(d for d in bias.shape if d != 1) == tuple(
        d for d in shape if d != 1
    )
    return bias.reshape(-1) if fits else None


@handles("EinsumDense")
def _einsum(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    bias = layer.weights.get("bias")
    equation = str(layer.config["equation"])
    y = einsum_dense(b, layer.name, inputs[0], equation, weight(layer, "kernel"), bias)
    return activation(b, layer, y, layer.config.get("activation"))


@handles("Embedding")
def _embedding(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    if layer.config.get("mask_zero"):
        raise refuse(layer, "has mask_zero=True", "use mask_zero=False and pad as in training")
    table = np.asarray(weight(layer, "embeddings"), np.float32)
    nominal = b.nominal(inputs[0])
    y = b.emit("embedding", layer.name, inputs, None, {}, {"table": table})
    b.name_shape(y, (*nominal, table.shape[1]))
    return b.reshape(f"{layer.name}_axes", y, (*nominal, table.shape[1]))
