"""One range for what a concatenation joins.

Where the operands of a concatenation have codes of their own, each element of the result is
rounded twice: to its operand's codes, and from there to those of the result. An operand that
nobody else reads takes the result's range at once, so that its codes are the result's: one
rounding, and the memory planner may have it written where it goes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from secateur.frontend.ir import Graph, Node
from secateur.lowering.calibrate import Range
from secateur.lowering.rewrite import only_reader
from secateur.lowering.wide import MOVING

#: Attributes by which something else fixes a node's codes.
_FIXED = {"levels", "range", "step"}


def along_concats(
    graph: Graph, ranges: Mapping[str, Range], wide: Collection[str] = ()
) -> dict[str, Range]:
    """`ranges` of a simplified graph, where operands of concatenations have the result's.

    wide: tensors of 16 bits, which have symmetric codes of their own.
    """
    out = dict(ranges)
    for node in reversed(graph.nodes):
        if node.op != "concat" or node.output in wide or not _in_order(graph, node):
            continue
        for tensor in node.inputs:
            reader = node
            while True:
                maker = graph.node(tensor)
                if only_reader(graph, tensor) is not reader or not _takes(
                    maker, out[node.output], wide
                ):
                    break
                out[tensor] = out[node.output]
                if maker.op not in MOVING or len(maker.inputs) != 1:
                    break
                tensor, reader = maker.inputs[0], maker
    return out


def _in_order(graph: Graph, node: Node) -> bool:
    """Whether somebody reads the result as it is: not only slices of it."""
    readers = [n for n in graph.nodes if node.output in n.inputs]
    return node.output in graph.outputs or any(
        _in_order(graph, n) if n.op == "concat" else n.op not in MOVING for n in readers
    )


def _takes(maker: Node, joint: Range, wide: Collection[str]) -> bool:
    """Whether an operator can write codes of another range than its own."""
    if maker.op in ("input", "constant") or maker.output in wide or _FIXED & set(maker.attrs):
        return False
    clamp = maker.attrs.get("clamp")
    if clamp is None:
        return True
    # a folded ReLU is the end of the codes: 0, and its cap or more
    return joint[0] >= clamp[0] and (clamp[1] is None or joint[1] <= clamp[1])
