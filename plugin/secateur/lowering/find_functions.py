"""Functions of one element that a source writes out: x * sigmoid(x), x * (1 + erf(x / sqrt 2)) / 2.

PyTorch exports its activations so, and so do models that write them by hand. As one operator each
is one table, exact to half a step; piece by piece every product and sum is rounded to 8 bits.

No spelling is looked for: a part of the graph that leads from one tensor to another through
functions of one element is evaluated, and compared with each function that is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from secateur.frontend.ir import COMMON, Graph, Node
from secateur.frontend.ops import OPS
from secateur.frontend.ops.activation import compute
from secateur.frontend.ops.base import Array
from secateur.lowering.rewrite import copy, one_value

#: Functions that are written out, as attributes of `activation`, the likeliest first.
KNOWN: tuple[dict[str, Any], ...] = (
    *({"function": f} for f in ("silu", "gelu", "gelu_tanh", "hard_silu", "mish")),
    {"function": "silu", "arguments": {"beta": 1.702}},
    *({"function": f} for f in ("sigmoid", "hard_sigmoid")),
    {"function": "hard_sigmoid", "arguments": {"slope": 0.2}},
    *({"function": f} for f in ("tanh", "softplus", "softsign", "elu", "selu", "tanh_shrink",
                                "log_sigmoid")),
)  # fmt: skip
#: Where functions are compared: 0 and both sides, finely where they bend.
POINTS = np.concatenate([np.linspace(-12, 12, 2401), np.linspace(-60, 60, 121)]).astype(np.float32)
NEAR = 4e-6  #: of float32's rounding on the way, relative beyond 1
PAIRS = ("add", "sub", "mul", "div", "maximum", "minimum")


def find_functions(graph: Graph) -> Graph:
    """A graph with one `activation` where its pieces stood."""
    g = copy(graph)
    makers = {n.output: n for n in g.nodes}
    order = {t: i for i, t in enumerate(makers)}  # topological
    for node in g.nodes[::-1]:
        for origin in _origins(makers, order, node):
            found = _known(_values(makers, origin, node))
            if found is not None:
                attrs = {k: v for k, v in node.attrs.items() if k in COMMON} | found
                whole = replace(node, op="activation", inputs=(origin,), attrs=attrs, params={})
                g.nodes[g.nodes.index(node)] = makers[node.output] = whole
                break
    return g


def _origins(makers: Mapping[str, Node], order: Mapping[str, int], node: Node) -> list[str]:
    """Tensors of which alone `node` is a function of several parts; the farthest first."""
    found: list[str] = []
    front, parts = {node.output}, 0
    while True:
        tensor = max(front, key=order.__getitem__)
        if parts > 1 and len(front) == 1:
            found.append(tensor)
        maker = makers[tensor]
        operands = [t for t in _operands(maker) if _scalar(makers[t]) is None]
        if not operands or any(makers[t].shape != node.shape for t in operands):
            return found[::-1]
        parts += 2 if len(operands) == 2 else maker.op == "activation"
        front = (front - {tensor}) | set(operands)


def _operands(node: Node) -> tuple[str, ...]:
    """What a function of one element reads; nothing where a node is none."""
    one = node.op in ("activation", "relu", *PAIRS) or (
        node.op == "batch_norm" and None not in map(one_value, node.params.values())
    )
    return node.inputs if one else ()


def _scalar(node: Node) -> Array | None:
    """The one value of a constant, float32 [1, 1]."""
    one = one_value(node.params["value"]) if node.op == "constant" else None
    return None if one is None else np.full((1, 1), one, np.float32)


def _values(makers: Mapping[str, Node], origin: str, node: Node) -> Array:
    """What `node` makes of `origin` at POINTS, float32 [points, 1]."""
    values = {origin: POINTS[:, None]}

    def value(tensor: str) -> Array:
        if tensor not in values:
            maker = makers[tensor]
            constant = _scalar(maker)
            if constant is not None:
                return constant
            one = replace(maker, params={k: p.reshape(-1)[:1] for k, p in maker.params.items()})
            with np.errstate(all="ignore"):
                values[tensor] = OPS[maker.op].run(one, [value(t) for t in maker.inputs])
        return values[tensor]

    return value(node.output)


def _known(values: Array) -> dict[str, Any] | None:
    """Attributes of the `activation` that has these values at POINTS."""
    for attrs, want in zip(KNOWN, _wanted(), strict=True):
        if np.all(np.abs(values - want) <= NEAR * np.maximum(np.abs(want), 1)):
            return dict(attrs)
    return None


@cache
def _wanted() -> list[Array]:
    """Of KNOWN, the values at POINTS."""
    return [
        compute(Node("activation", "known", ("x",), "y", (1,), attrs), POINTS[:, None])
        for attrs in KNOWN
    ]
