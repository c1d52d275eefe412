"""Attention, taken apart into products, reshapes and a softmax."""

from __future__ import annotations

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder

from .base import Ref, SourceLayer, handles, refuse
from .dense import dense
from .merge import scaled_product


def _operands(layer: SourceLayer, inputs: list[str]) -> tuple[str, str, str]:
    """Query, value and key of a call; masks are refused."""
    given = {**dict(zip(("query", "value", "key"), layer.args, strict=False)), **layer.kwargs}
    masks = [k for k, v in given.items() if "mask" in k and v is not None and v is not False]
    if masks or given.get("return_attention_scores"):
        what = masks[0] if masks else "return_attention_scores"
        raise refuse(layer, f"is called with {what}", "call it without")
    found = {k: str(v) for k, v in given.items() if isinstance(v, Ref)}
    if "query" not in found:
        found = dict(zip(("query", "value", "key"), inputs, strict=False))
    value = found.get("value", found["query"])
    return found["query"], value, found.get("key", value)


def _project(b: Builder, layer: SourceLayer, part: str, tensor: str) -> str:
    """(L, D) by a kernel (D, heads, size) to (heads, L, size)."""
    kernel = layer.weights.get(f"{part}/kernel")
    if kernel is None or kernel.ndim != 3 or len(b.nominal(tensor)) != 2:
        raise ModelError(
            f"layer '{layer.name}' ({layer.kind}) attends over a tensor of shape "
            f"{b.nominal(tensor)}; give it sequences (L, C)"
        )
    heads, size = kernel.shape[1:]
    bias = layer.weights.get(f"{part}/bias")
    y = dense(
        b, f"{layer.name}_{part}", tensor, kernel.reshape(len(kernel), -1),
        None if bias is None else bias.reshape(-1),
    )  # fmt: skip
    y = b.reshape(f"{layer.name}_{part}_heads", y, (b.nominal(tensor)[0], heads, size))
    return b.transpose(f"{layer.name}_{part}_moved", y, (1, 0, 2))


@handles("MultiHeadAttention", "GroupQueryAttention", "GroupedQueryAttention")
def _attention(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    for argument in ("sliding_window", "use_gate"):
        if layer.config.get(argument):
            raise refuse(layer, f"has {argument}={layer.config[argument]}", "leave it out")
    query, value, key = _operands(layer, inputs)
    q, k, v = (
        _project(b, layer, part, t)
        for part, t in (("query", query), ("key", key), ("value", value))
    )
    repeat = b.shape(q)[0] // b.shape(k)[0]
    if repeat > 1:  # several query heads share a key
        indices = tuple(np.repeat(np.arange(b.shape(k)[0]), repeat).tolist())
        k, v = (
            b.emit("gather", f"{layer.name}_{n}", [t], None, {"axis": 0, "indices": indices})
            for n, t in (("keys", k), ("values", v))
        )
    size = b.shape(q)[-1]
    y = scaled_product(b, layer.name, q, k, v, float(1 / np.sqrt(size)))
    heads, length, width = b.shape(y)
    y = b.transpose(f"{layer.name}_joined", y, (1, 0, 2))
    y = b.reshape(f"{layer.name}_flat", y, (length, heads * width))
    kernel = layer.weights["attention_output/kernel"]
    flat = kernel.reshape(heads * width, -1)
    return dense(b, layer.name, y, flat, layer.weights.get("attention_output/bias"))


@handles("Attention")
def _plain(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    if layer.config.get("score_mode", "dot") != "dot" or layer.kwargs.get("use_causal_mask"):
        raise refuse(layer, "scores other than by products", "use score_mode='dot', no mask")
    masked = [
        k for k, v in layer.kwargs.items() if "mask" in k and v is not None and v is not False
    ]
    if masked or layer.kwargs.get("return_attention_scores"):
        raise refuse(layer, f"is called with {[*masked, 'scores'][0]}", "call it without")
    query, value = inputs[0], inputs[1]
    key = inputs[2] if len(inputs) > 2 else value
    scale = float(layer.weights["scale"]) if "scale" in layer.weights else 1.0
    return scaled_product(b, layer.name, query, key, value, scale)
