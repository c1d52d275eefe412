"""What a model's ends are asked to be: types, given codes, logits in place of shares."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from ..errors import DataError
from ..frontend.ir import Graph, Node
from ..lowering.qgraph import QGraph

#: Types of a model's inputs, and of its outputs, as the caller of the C sees them.
InputType = Literal["int8", "uint8"]
OutputType = Literal["int8", "uint8", "float32"]

#: Functions at a model's end that `logits=True` leaves out: the order of the outputs stays.
_SHARES = ("sigmoid", "hard_sigmoid")


@dataclass(frozen=True)
class Interface:
    """What was asked of the ends; see `convert`."""

    input_dtype: str = "int8"
    output_dtype: str = "int8"
    logits: bool = False
    input_scale: float | None = None
    input_zero_point: int | None = None

    def __post_init__(self) -> None:
        if (self.input_scale is None) != (self.input_zero_point is None):
            raise DataError("input_scale and input_zero_point go together: give both or neither")
        if self.input_scale is not None and not 0 < self.input_scale < 1e30:
            raise DataError(f"input_scale is {self.input_scale}: give a number above 0")
        low, high = (0, 255) if self.input_dtype == "uint8" else (-128, 127)
        zero = self.input_zero_point
        if zero is not None and not low <= zero <= high:
            raise DataError(
                f"input_zero_point is {zero}: a code of {self.input_dtype} is {low} to {high}"
            )

    def apply(self, graph: Graph) -> Graph:
        """`graph` with inputs of the asked codes, and ending before its shares."""
        nodes = [self._asked(graph, n) if n.op == "input" else n for n in graph.nodes]
        graph = replace(graph, nodes=nodes)
        if not self.logits:
            return graph
        ends = tuple(_before_shares(graph, t) for t in graph.outputs)
        if ends == graph.outputs:
            raise DataError(
                f"model '{graph.name}' does not end in a softmax or sigmoid: leave logits out"
            )
        return replace(graph, outputs=ends)

    def _asked(self, graph: Graph, node: Node) -> Node:
        if graph.dtype(node.output) == "int32":
            return node
        scale, zero = self.input_scale, self.input_zero_point
        if scale is not None and zero is not None:
            if len(graph.inputs) != 1:
                raise DataError(
                    f"model '{graph.name}' has {len(graph.inputs)} inputs; one input_scale does "
                    "not say which is meant"
                )
            least = 0 if self.input_dtype == "uint8" else -128
            ends = ((least - zero) * scale, (least + 255 - zero) * scale)
            return replace(node, attrs={**node.attrs, "range": ends})
        if self.input_dtype == "uint8":  # pixels: the code is the value
            return replace(node, attrs={**node.attrs, "range": (0.0, 255.0)})
        return node

    def types(self, graph: QGraph) -> dict[str, str]:
        """For `QGraph.interface`."""
        out: dict[str, str] = {}
        for tensors, dtype in (
            (graph.inputs, self.input_dtype),
            (graph.outputs, self.output_dtype),
        ):
            out |= {t: dtype for t in tensors if graph.tensors[t].dtype == "uint8"}
        return {t: dtype for t, dtype in out.items() if dtype != "int8"}


def _before_shares(graph: Graph, tensor: str) -> str:
    node = graph.node(tensor)
    if node.op in ("softmax", "log_softmax"):
        return node.inputs[0]
    if node.op == "activation" and node.attrs["function"] in _SHARES:
        return node.inputs[0]
    return tensor
