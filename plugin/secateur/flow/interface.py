"""What a model's ends are asked to be: types, given codes, logits in place of shares."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..errors import DataError
from ..frontend.ir import Graph, Node
from ..lowering.qgraph import QGraph

#: Types of a model's inputs, and of its outputs, as the caller of the C sees them.
InputType = Literal["int8", "uint8", "int16"]
OutputType = Literal["int8", "uint8", "int16", "int32", "float32"]

#: Functions at a model's end that `logits=True` leaves out: the order of the outputs stays.
_SHARES = ("sigmoid", "hard_sigmoid")


@dataclass(frozen=True)
class Interface:
    """What was asked of the ends; see `convert`."""

    input_dtype: str | None = None  #: None: int8, or what its layer's activations are
    output_dtype: str | None = None  #: the same
    logits: bool = False
    input_scale: float | None = None
    input_zero_point: int | None = None

    def __post_init__(self) -> None:
        if (self.input_scale is None) != (self.input_zero_point is None):
            raise DataError("input_scale and input_zero_point go together: give both or neither")
        if self.input_scale is not None and not 0 < self.input_scale < 1e30:
            raise DataError(f"input_scale is {self.input_scale}: give a number above 0")
        low, high = (0, 255) if self.input_dtype == "uint8" else (-128, 127)
        if self.input_dtype == "int16":
            low = high = 0  # symmetric
        zero = self.input_zero_point
        if zero is not None and not low <= zero <= high:
            raise DataError(
                f"input_zero_point is {zero}: a code of {self.input_dtype or 'int8'} is {low} to "
                f"{high}"
                if low < high
                else f"input_zero_point is {zero}: the code of 0 of int16 is 0"
            )

    @property
    def wide_outputs(self) -> bool | None:
        """Whether outputs have 16 bits; None: as their layers' activations."""
        if self.output_dtype in (None, "float32"):
            return None
        return self.output_dtype in ("int16", "int32")

    def apply(self, graph: Graph, whole: Collection[str] = ()) -> Graph:
        """`graph` with inputs of the asked codes, and ending before its shares.

        whole: inputs whose calibration data are int16, so that an int16 code is the value.
        """
        nodes = [
            self._asked(graph, n, n.output in whole) if n.op == "input" else n for n in graph.nodes
        ]
        graph = replace(graph, nodes=nodes)
        if not self.logits:
            return graph
        ends = tuple(_before_shares(graph, t) for t in graph.outputs)
        if ends == graph.outputs:
            raise DataError(
                f"model '{graph.name}' does not end in a softmax or sigmoid: leave logits out"
            )
        return replace(graph, outputs=ends)

    def _asked(self, graph: Graph, node: Node, whole: bool) -> Node:
        if graph.dtype(node.output) == "int32":
            return node
        scale, zero = self.input_scale, self.input_zero_point
        if scale is not None and zero is not None:
            if len(graph.inputs) != 1:
                raise DataError(
                    f"model '{graph.name}' has {len(graph.inputs)} inputs; one input_scale does "
                    "not say which is meant"
                )
            if self.input_dtype == "int16":
                return _with(node, activations="int16", step=scale)
            least = 0 if self.input_dtype == "uint8" else -128
            ends = ((least - zero) * scale, (least + 255 - zero) * scale)
            return _with(node, range=ends, activations="int8")
        if self.input_dtype == "uint8":  # pixels: the code is the value
            return _with(node, range=(0.0, 255.0), activations="int8")
        if self.input_dtype == "int16":
            own = {"step": 1.0} if whole else {}
            return _with(node, activations="int16", **own)
        if self.input_dtype == "int8":  # whatever the source has
            attrs = {k: v for k, v in node.attrs.items() if k not in ("activations", "step")}
            return replace(node, attrs=attrs)
        return node

    def types(self, graph: QGraph) -> dict[str, str]:
        """For `QGraph.interface`."""
        out: dict[str, str] = {}
        for tensors, dtype, what in (
            (graph.inputs, self.input_dtype, "input"),
            (graph.outputs, self.output_dtype, "output"),
        ):
            for name in tensors:
                t = graph.tensors[name]
                if dtype is None or t.dtype == "int32":
                    continue
                own = ("int16", "int32") if t.wide else ("int8", "uint8")
                if dtype not in (*own, "float32"):
                    raise DataError(
                        f"{what}_dtype is {dtype}, and the {what} '{graph.titles.get(name, name)}' "
                        f"has {t.bits} bits, as its layer"
                        + (": name it as int8 in activations, or" if t.wide else
                           " has no form with 16-bit activations:")
                        + f" leave {what}_dtype out"
                    )  # fmt: skip
                if dtype != own[0]:
                    out[name] = dtype
        return out


def _with(node: Node, **attrs: Any) -> Node:
    return replace(node, attrs={**node.attrs, **attrs})


def _before_shares(graph: Graph, tensor: str) -> str:
    node = graph.node(tensor)
    if node.op in ("softmax", "log_softmax"):
        return node.inputs[0]
    if node.op == "activation" and node.attrs["function"] in _SHARES:
        return node.inputs[0]
    return tensor
