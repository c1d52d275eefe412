"""The float passes that run before calibration; each leaves the graph's function unchanged.

After them a weighted node computes `clamp(op(x, kernel) * factor + bias + residual)` with optional
params "factor", "bias", optional inputs[1] (the residual) and optional attrs["clamp"]; with
attrs["levels"] = (values, thresholds, basis), that quantized to few values.
"""

from __future__ import annotations

from secateur.frontend.ir import Graph
from secateur.lowering.fold_levels import fold_levels
from secateur.lowering.fold_norm import fold_norm
from secateur.lowering.fold_pad import fold_pad
from secateur.lowering.fold_relu import fold_relu
from secateur.lowering.fuse_residual import fuse_residual
from secateur.lowering.rewrite import copy, sweep

#: In this order.
PASSES = (fold_pad, fold_norm, fold_relu, fold_levels, fuse_residual)


def simplify(graph: Graph) -> Graph:
    """`graph` with dead nodes removed and all passes applied."""
    g = sweep(copy(graph))
    for p in PASSES:
        g = p(g)
    return sweep(g)
