"""The float passes that run before calibration; each leaves the graph's function unchanged.

After them a weighted node computes `clamp(op(x, kernel) * factor + bias + residual)` with optional
params "factor", "bias", optional inputs[1] (the residual) and optional attrs["clamp"]; with
attrs["levels"] = (values, thresholds, basis), that quantized to few values.
"""

from __future__ import annotations

from secateur.frontend.ir import Graph
from secateur.lowering.passes import FLOAT, run
from secateur.lowering.rewrite import copy, sweep


def simplify(graph: Graph) -> Graph:
    """`graph` with dead nodes removed and all float passes applied."""
    return sweep(run(FLOAT, sweep(copy(graph))))
