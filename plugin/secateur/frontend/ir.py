"""The float graph: what every front end produces and lowering consumes.

Shapes omit the batch. Images are (H, W, C), sequences (L, C) are carried as (1, L, C), vectors
(N,). Weights keep Keras' layouts here; lowering turns them into the device's. The operators and
their conventions are those of `secateur.frontend.ops`.

Any node made from a layer may carry attrs["parameters"], the layer's parameter count (0 where
another node has counted them: a shared layer), and one trained with SmartDeal attrs["factors"],
(coefficients, basis) of `secateur.factors`, its filters flattened as (ci, kh, kw), or as a Dense
layer's inputs. attrs["shown"] is what the user wrote, where that is no layer's name: `x * 0.5`.
Lowering's passes leave weighted operators as clamp(op(x) * factor + bias + residual), with
attrs["clamp"], attrs["levels"] and attrs["range"]: see secateur.lowering.simplify. attrs["nominal"]
is the shape that an input has in the source, where it is carried in another.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.frontend.ops import COMMON, OPS, REQUIRED, ShapeError


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

    def attr(self, name: str) -> Any:
        """An attribute, or the default its operator declares; KeyError where there is none."""
        if name in self.attrs:
            return self.attrs[name]
        default = OPS[self.op].attrs[name]
        if default is REQUIRED:
            raise KeyError(name)
        return default

    @property
    def title(self) -> str:
        """How a message calls it: the layer, or the expression the user wrote."""
        shown = self.attrs.get("shown")
        return f"'{shown}' ({self.name})" if shown else f"layer '{self.name}' ({self.op})"


@dataclass
class Graph:
    """A float graph in topological order.

    `inputs` and `outputs` name tensors, in the model's order; plain names stand for one of each,
    which are `input` and `output` then. `output_names` are the source's names of the outputs
    (passes rename tensors).
    """

    name: str
    nodes: list[Node]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    output_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if isinstance(self.inputs, str):
            self.inputs = (self.inputs,)
        if isinstance(self.outputs, str):
            self.outputs = (self.outputs,)
        self.output_names = self.output_names or self.outputs

    @property
    def input(self) -> str:
        """The one input; ValueError where there are several."""
        return _only(self.inputs, "inputs", self.name)

    @property
    def output(self) -> str:
        """The one output; ValueError where there are several."""
        return _only(self.outputs, "outputs", self.name)

    @output.setter
    def output(self, tensor: str) -> None:
        _only(self.outputs, "outputs", self.name)
        self.outputs = (tensor,)

    def node(self, tensor: str) -> Node:
        """The node that produces `tensor`."""
        for n in self.nodes:
            if n.output == tensor:
                return n
        raise KeyError(tensor)

    def consumers(self, tensor: str) -> list[Node]:
        """Every node that reads `tensor`."""
        return [n for n in self.nodes if tensor in n.inputs]

    def dtype(self, tensor: str) -> str:
        """ "float32" or "int32" (indices); an input's may be that of the source's array as well."""
        node = self.node(tensor)
        declared = OPS[node.op].dtype
        if declared == "attr":
            return str(node.attr("dtype"))
        return self.dtype(node.inputs[0]) if declared == "same" else declared

    def __iter__(self) -> Iterator[Node]:
        return iter(self.nodes)


def _only(tensors: tuple[str, ...], what: str, name: str) -> str:
    if len(tensors) != 1:
        raise ValueError(f"graph {name!r} has {len(tensors)} {what}: {', '.join(tensors)}")
    return tensors[0]


def infer(node: Node, shapes: list[tuple[int, ...]]) -> tuple[int, ...]:
    """The output shape that the operator's declaration gives for operands of `shapes`.

    Raises ShapeError where the node does not keep to its declaration.
    """
    op = OPS[node.op]
    low, high = op.operands
    if len(shapes) < low or (high is not None and len(shapes) > high):
        raise ShapeError(f"has {len(shapes)} operands")
    for name, default in op.attrs.items():
        if default is REQUIRED and name not in node.attrs:
            raise ShapeError(f"lacks the attribute '{name}'")
    for name, form in op.params.items():
        if not form.endswith("?") and name not in node.params:
            raise ShapeError(f"lacks the parameter '{name}'")
    unknown = {*(set(node.attrs) - set(op.attrs) - COMMON), *(set(node.params) - set(op.params))}
    if unknown:
        raise ShapeError(f"has '{min(unknown)}', which {node.op} does not declare")
    return tuple(int(d) for d in op.shape(node, shapes))


def verify(graph: Graph) -> None:
    """Check nodes against their operators' declarations, names and order; ValueError if one fails.

    For tests and for whoever builds graphs: front ends and passes must leave graphs that pass.
    """
    shapes: dict[str, tuple[int, ...]] = {}
    for n in graph.nodes:
        where = f"node '{n.name}' ({n.op}) of graph '{graph.name}'"
        late = [t for t in n.inputs if t not in shapes]
        if late:
            raise ValueError(f"{where} reads '{late[0]}', which nothing before it makes")
        if n.output in shapes:
            raise ValueError(f"{where} makes '{n.output}' a second time")
        try:
            shape = infer(n, [shapes[t] for t in n.inputs])
        except ShapeError as e:
            raise ValueError(f"{where} {e}") from e
        if shape != tuple(n.shape):
            raise ValueError(f"{where} says shape {n.shape}, its operator gives {shape}")
        if len(shape) in (0, 2):
            raise ValueError(f"{where} has a tensor of rank {len(shape)}: carry it as (1, ...)")
        shapes[n.output] = shape
    made = {n.output for n in graph.nodes if n.op == "input"}
    for t in graph.inputs:
        if t not in made:
            raise ValueError(f"graph '{graph.name}' has the input '{t}', which no node declares")
    for t in graph.outputs:
        if t not in shapes:
            raise ValueError(f"graph '{graph.name}' has the output '{t}', which nothing makes")


def macs(graph: Graph) -> dict[str, int]:
    """Multiply-accumulates of every node by its output's name, for one sample."""
    shapes = {n.output: n.shape for n in graph.nodes}
    return {n.output: OPS[n.op].macs(n, [shapes[t] for t in n.inputs]) for n in graph.nodes}
