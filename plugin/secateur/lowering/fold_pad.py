"""Fold zero_pad into the pads of the convolutions that read it."""

from __future__ import annotations

from secateur.frontend.ir import Graph
from secateur.lowering.rewrite import copy, redirect, sweep


def fold_pad(graph: Graph) -> Graph:
    """Convolutions absorb padding; any other reader keeps the explicit operator."""
    g = copy(graph)
    for pad in [n for n in g.nodes if n.op == "zero_pad"]:
        if not any(pad.attrs["pads"]):
            redirect(g, pad.output, pad.inputs[0])
            continue
        for n in g.nodes:
            if n.op in ("conv2d", "depthwise_conv2d") and n.inputs[0] == pad.output:
                own, more = n.attrs["pads"], pad.attrs["pads"]
                n.attrs["pads"] = tuple(a + b for a, b in zip(own, more, strict=True))
                n.inputs = (pad.inputs[0], *n.inputs[1:])
    return sweep(g)
