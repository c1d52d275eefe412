"""Float graph and calibration data to the integer graph. docs/integer-spec.md is the definition."""

from __future__ import annotations

from secateur.errors import ModelError
from secateur.frontend.execute import Inputs
from secateur.frontend.ir import Graph
from secateur.lowering.calibrate import Method, calibrate
from secateur.lowering.lowerer import Lowering
from secateur.lowering.qgraph import QGraph
from secateur.lowering.registry import obstacles
from secateur.lowering.simplify import simplify
from secateur.lowering.views import place_reshapes


def lower(graph: Graph, calibration: Inputs, *, method: Method = "minmax") -> QGraph:
    """Quantize `graph` with ranges seen on `calibration` (the model's real inputs, float
    [N, ...]; of several a list or a mapping).

    Raises DataError for unusable calibration data and ModelError where the integer arithmetic
    cannot hold the model.
    """
    simple = simplify(graph)
    found = obstacles(simple)
    if found:
        more = f" ({len(found) - 1} more: secateur check-model lists them)" if found[1:] else ""
        raise ModelError(found[0].sentence + more)
    ranges = calibrate(simple, calibration, method)
    lowering = Lowering(place_reshapes(simple), ranges)
    q = lowering.run()
    for n in graph.nodes:
        own = n.attrs.get("parameters")  # 0 where a shared layer has been counted
        if own is None:
            own = sum(p.size for p in n.params.values())
        if own:
            q.parameters[n.name] = int(own)
    q.float_bytes = 4 * sum(q.parameters.values())
    return q
