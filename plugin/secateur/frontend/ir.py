"""The float graph: what every front end produces and lowering consumes.

Shapes omit the batch. Images are (H, W, C), sequences (L, C) are carried as (1, L, C), vectors
(N,). Weights keep Keras' layouts here; lowering turns them into the device's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

#: Operators a float graph may hold, with their parameters (p) and attributes (a).
#:
#: input            a: shape
#: conv2d           p: kernel [kh, kw, ci, co], bias [co]?   a: strides (sy, sx), pads (t, l, b, r)
#: depthwise_conv2d p: kernel [kh, kw, c, 1], bias [c]?      a: strides, pads
#: dense            p: kernel [in, out], bias [out]?
#: batch_norm       p: scale [c], shift [c]  (y = x * scale + shift, moments already folded in)
#: relu             a: max_value (float | None), range (low, high)? (the range of its 8-bit codes,
#:                  where training has fixed it)
#: sign             (+1 where x >= 0, else -1: a binarized activation)
#: quant_activation a: levels (values [2^bits] ascending, thresholds [2^bits - 1], basis [bits])
#:                  (y = values[number of thresholds <= x]; values are values[0] + sums of a subset
#:                  of the basis: see secateur.callbacks.QuantActivation)
#: softmax
#: max_pool         a: window (h, w), strides, pads
#: avg_pool         a: window (h, w), strides, pads  (padding is not counted in the mean)
#: add
#: zero_pad         a: pads (t, l, b, r)
#: flatten          (row-major over H, W, C)
#: reshape          a: shape
#:
#: Any node made from a layer may carry attrs["parameters"], the layer's parameter count, and one
#: trained with SmartDeal attrs["factors"], (coefficients, basis) of `secateur.factors`, its filters
#: flattened as (ci, kh, kw), or as a Dense layer's inputs. Lowering's
#: passes leave weighted operators as clamp(op(x) * factor + bias + residual): see
#: secateur.lowering.simplify.
OPS = frozenset(
    {
        "input",
        "conv2d",
        "depthwise_conv2d",
        "dense",
        "batch_norm",
        "relu",
        "sign",
        "quant_activation",
        "softmax",
        "max_pool",
        "avg_pool",
        "add",
        "zero_pad",
        "flatten",
        "reshape",
    }
)


@dataclass
class Node:
    """One operator. `inputs` and `output` name tensors; `name` is the source layer's."""

    op: str
    name: str
    inputs: tuple[str, ...]
    output: str
    shape: tuple[int, ...]  #: of the output, without the batch
    attrs: dict[str, Any] = field(default_factory=dict)
    params: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.op not in OPS:
            raise ValueError(f"unknown operator {self.op!r}")


@dataclass
class Graph:
    """A float graph in topological order, one input and one output."""

    name: str
    nodes: list[Node]
    input: str
    output: str

    def node(self, tensor: str) -> Node:
        """The node that produces `tensor`."""
        for n in self.nodes:
            if n.output == tensor:
                return n
        raise KeyError(tensor)

    def consumers(self, tensor: str) -> list[Node]:
        """Every node that reads `tensor`."""
        return [n for n in self.nodes if tensor in n.inputs]

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)
