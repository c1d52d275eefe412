"""Softmax and its logarithm that a source writes out: exponentials over their sum.

Models that keep scores stable by hand do, and what ONNX' own functions expand to. Piece by piece
the largest exponential leaves the others no code of eight bits, and a quotient of two computed
tensors has no integer form at all; as one operator it has.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from secateur.frontend.ir import COMMON, Graph, Node
from secateur.lowering.rewrite import copy


def find_softmax(graph: Graph) -> Graph:
    """A graph with `softmax` and `log_softmax` where their pieces stood."""
    g = copy(graph)
    makers = {n.output: n for n in g.nodes}
    for i, node in enumerate(g.nodes):
        found = _quotient(makers, node) or _difference(makers, node)
        if found is not None:
            op, z, axis = found
            attrs = {k: v for k, v in node.attrs.items() if k in COMMON} | {"axis": axis}
            x = _unshifted(makers, z, axis)
            g.nodes[i] = replace(node, op=op, inputs=(x,), attrs=attrs, params={})
            makers[node.output] = g.nodes[i]
    return g


Found = tuple[str, str, int]


def _quotient(makers: Mapping[str, Node], node: Node) -> Found | None:
    """e^z over its sum, or times one over it."""
    if node.op == "div":
        pairs = [node.inputs]
    elif node.op == "mul":
        pairs = [
            (a, makers[b].inputs[0])
            for a, b in (node.inputs, node.inputs[::-1])
            if _is(makers[b], "reciprocal")
        ]
    else:
        return None
    for e, s in pairs:
        axis = _sum_of(makers, s, e)
        if axis is not None and makers[e].shape == node.shape and _is(makers[e], "exponential"):
            return "softmax", makers[e].inputs[0], axis
    return None


def _difference(makers: Mapping[str, Node], node: Node) -> Found | None:
    """z less the logarithm of the sum of e^z."""
    if node.op != "sub" or not _is(makers[node.inputs[1]], "log"):
        return None
    z, total = node.inputs[0], makers[makers[node.inputs[1]].inputs[0]]
    e = makers[total.inputs[0]] if total.op == "reduce" else total
    if not _is(e, "exponential") or e.inputs[0] != z or node.shape != e.shape:
        return None
    axis = _sum_of(makers, total.output, e.output)
    return None if axis is None else ("log_softmax", z, axis)


def _is(node: Node, function: str) -> bool:
    """Whether it is that function of one element, as it is without arguments."""
    return (
        node.op == "activation"
        and node.attrs["function"] == function
        and not node.attrs.get("arguments")
        and "clamp" not in node.attrs
        and "levels" not in node.attrs
    )


def _sum_of(makers: Mapping[str, Node], tensor: str, e: str) -> int | None:
    """The one axis over which `tensor` sums `e`, whether or not it is written out along it."""
    node = makers[tensor]
    if node.op == "tile":
        node = makers[node.inputs[0]]
    if node.op != "reduce" or node.attrs["function"] != "sum" or node.inputs[0] != e:
        return None
    axes = {a % len(node.shape) for a in node.attrs["axes"]}
    whole = makers[tensor].shape
    axis = min(axes)
    fits = whole == node.shape or all(
        n == m for i, (n, m) in enumerate(zip(whole, makers[e].shape, strict=True)) if i != axis
    )
    return axis if len(axes) == 1 and fits else None


def _unshifted(makers: Mapping[str, Node], z: str, axis: int) -> str:
    """What `z` was before a number was taken off all elements along `axis`: softmax is the same."""
    node = makers[z]
    if node.op != "sub":
        return z
    x, m = (makers[t] for t in node.inputs)
    if m.op == "tile":  # a number written out for each element
        m = makers[m.inputs[0]]
    from_end = axis - len(node.shape)
    alone = len(m.shape) < -from_end or m.shape[from_end] == 1
    return x.output if alone and x.shape == node.shape else z
