"""Float execution of a graph in NumPy: calibration and float accuracy without TensorFlow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from secateur.errors import DataError
from secateur.frontend.ir import Graph, Node

Array = np.ndarray
_KERNELS: dict[str, Callable[[Node, list[Array]], Array]] = {}


def _kernel(op: str) -> Callable[[Callable[[Node, list[Array]], Array]], None]:
    def add(f: Callable[[Node, list[Array]], Array]) -> None:
        _KERNELS[op] = f

    return add


def run(graph: Graph, x: Array, batch: int = 64) -> Array:
    """The graph's output for `x` [N, ...] float32, as float32 [N, ...]."""
    parts = [values[graph.output] for values in batches(graph, x, batch, keep=False)]
    return np.concatenate(parts)


def run_all(graph: Graph, x: Array) -> dict[str, Array]:
    """Every tensor of the graph for `x` [N, ...], by name, float32 [N, ...]."""
    x = as_input(graph, x)
    return _execute(graph, x, keep=True)


def batches(
    graph: Graph, x: Array, batch: int = 64, keep: bool = True
) -> Iterator[dict[str, Array]]:
    """`run_all` over slices of `x`; with keep=False only live tensors are held."""
    x = as_input(graph, x)
    for i in range(0, len(x), batch):
        yield _execute(graph, x[i : i + batch], keep)


def as_input(graph: Graph, x: Array, what: str = "inputs") -> Array:
    """`x` as float32 [N, *input shape]; DataError if its shape, size or values do not fit."""
    shape = graph.node(graph.input).shape
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise DataError(
            f"{what} for model '{graph.name}' have type {x.dtype}; give an array of numbers"
        )
    if x.ndim == 0 or len(x) == 0:
        raise DataError(
            f"{what} for model '{graph.name}' are empty; give at least one sample of shape {shape}"
        )
    # (L, C) is carried as (1, L, C), and a single channel may be left out.
    squeeze = tuple(d for d in shape if d != 1)
    if x.shape[1:] != shape and tuple(d for d in x.shape[1:] if d != 1) != squeeze:
        raise DataError(
            f"{what} for model '{graph.name}' have shape {x.shape[1:]} a sample, but the model "
            f"takes {shape}; give an array [N, {', '.join(map(str, shape))}]"
        )
    x = np.ascontiguousarray(x.reshape(len(x), *shape), dtype=np.float32)
    bad = ~np.isfinite(x)
    if bad.any():
        sample = int(np.argwhere(bad)[0, 0])
        raise DataError(
            f"{what} for model '{graph.name}' hold NaN or infinity (first in sample {sample}); "
            "remove or repair those samples"
        )
    return x


def _execute(graph: Graph, x: Array, keep: bool) -> dict[str, Array]:
    values: dict[str, Array] = {}
    last = {t: i for i, n in enumerate(graph.nodes) for t in n.inputs}
    for i, node in enumerate(graph.nodes):
        if node.op == "input":
            values[node.output] = x
            continue
        y = _KERNELS[node.op](node, [values[t] for t in node.inputs])
        clamp = node.attrs.get("clamp")
        if clamp is not None:
            y = np.clip(y, clamp[0], clamp[1])
        if "levels" in node.attrs and node.op != "quant_activation":
            y = _level(y, *node.attrs["levels"])
        values[node.output] = y.reshape(len(x), *node.shape)
        if not keep:
            for t in set(node.inputs):
                if last[t] == i and t != graph.output:
                    del values[t]
    return values


def _pad(x: Array, pads: tuple[int, int, int, int], value: float = 0.0) -> Array:
    t, left, b, r = pads
    if not any(pads):
        return x
    return np.pad(x, ((0, 0), (t, b), (left, r), (0, 0)), constant_values=value)


def _windows(x: Array, window: tuple[int, int], strides: tuple[int, int]) -> Array:
    """[N, oh, ow, C, kh, kw] view of the windows of padded `x` [N, H, W, C]."""
    axes: Any = (1, 2)  # NumPy 1's stubs take one axis only
    v = np.lib.stride_tricks.sliding_window_view(x, window, axis=axes)
    return v[:, :: strides[0], :: strides[1]]


def _affine(node: Node, y: Array, inputs: list[Array]) -> Array:
    """factor, bias and residual of a (fused) weighted operator; channels are last."""
    if "factor" in node.params:
        y = y * node.params["factor"].astype(np.float32)
    if "bias" in node.params:
        y = y + node.params["bias"].astype(np.float32)
    if len(inputs) > 1:
        y = y + inputs[1].reshape(y.shape)
    return y


@_kernel("conv2d")
def _conv2d(node: Node, inputs: list[Array]) -> Array:
    kernel = node.params["kernel"]
    kh, kw, ci, co = kernel.shape
    w = _windows(_pad(inputs[0], node.attrs["pads"]), (kh, kw), node.attrs["strides"])
    n, oh, ow = w.shape[:3]
    cols = w.reshape(n * oh * ow, ci * kh * kw)
    y = cols @ kernel.transpose(2, 0, 1, 3).reshape(ci * kh * kw, co).astype(np.float32)
    return _affine(node, y.reshape(n, oh, ow, co), inputs)


@_kernel("depthwise_conv2d")
def _depthwise(node: Node, inputs: list[Array]) -> Array:
    kernel = node.params["kernel"].astype(np.float32)
    kh, kw = kernel.shape[:2]
    sy, sx = node.attrs["strides"]
    x = _pad(inputs[0], node.attrs["pads"])
    oh, ow, c = node.shape
    y = np.zeros((len(x), oh, ow, c), np.float32)
    for i in range(kh):
        for j in range(kw):
            y += x[:, i : i + oh * sy : sy, j : j + ow * sx : sx][:, :oh, :ow] * kernel[i, j, :, 0]
    return _affine(node, y, inputs)


@_kernel("dense")
def _dense(node: Node, inputs: list[Array]) -> Array:
    return _affine(node, inputs[0] @ node.params["kernel"].astype(np.float32), inputs)


@_kernel("batch_norm")
def _batch_norm(node: Node, inputs: list[Array]) -> Array:
    p = node.params
    return inputs[0] * p["scale"].astype(np.float32) + p["shift"].astype(np.float32)


@_kernel("relu")
def _relu(node: Node, inputs: list[Array]) -> Array:
    y = np.clip(inputs[0], 0, node.attrs.get("max_value"))
    if "range" in node.attrs:  # 255 steps
        step = np.float32(node.attrs["range"][1] / 255)
        y = step * np.floor(y / step + np.float32(0.5))
    return y


@_kernel("sign")
def _sign(node: Node, inputs: list[Array]) -> Array:
    return np.where(inputs[0] >= 0, np.float32(1), np.float32(-1))


def _level(x: Array, values: Array, thresholds: Array, basis: Array) -> Array:
    code = np.searchsorted(thresholds.astype(np.float32), x, side="right")
    return values.astype(np.float32)[code]


@_kernel("quant_activation")
def _quant_activation(node: Node, inputs: list[Array]) -> Array:
    return _level(inputs[0], *node.attrs["levels"])


@_kernel("softmax")
def _softmax(node: Node, inputs: list[Array]) -> Array:
    e = np.exp(inputs[0] - inputs[0].max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@_kernel("max_pool")
def _max_pool(node: Node, inputs: list[Array]) -> Array:
    x = _pad(inputs[0], node.attrs["pads"], -np.inf)
    return _windows(x, node.attrs["window"], node.attrs["strides"]).max(axis=(-2, -1))


@_kernel("avg_pool")
def _avg_pool(node: Node, inputs: list[Array]) -> Array:
    a = node.attrs
    total = _windows(_pad(inputs[0], a["pads"]), a["window"], a["strides"]).sum(axis=(-2, -1))
    ones = _pad(np.ones((1, *inputs[0].shape[1:3], 1), np.float32), a["pads"])
    return total / _windows(ones, a["window"], a["strides"]).sum(axis=(-2, -1))


@_kernel("add")
def _add(node: Node, inputs: list[Array]) -> Array:
    return inputs[0] + inputs[1]


@_kernel("zero_pad")
def _zero_pad(node: Node, inputs: list[Array]) -> Array:
    return _pad(inputs[0], node.attrs["pads"])


def _view(node: Node, inputs: list[Array]) -> Array:
    return inputs[0].reshape(len(inputs[0]), *node.shape)


_kernel("flatten")(_view)
_kernel("reshape")(_view)
