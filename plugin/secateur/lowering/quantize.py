"""Float graph and calibration data to the integer graph. docs/integer-spec.md is the definition."""

from __future__ import annotations

from collections.abc import Iterable

from secateur.errors import ModelError
from secateur.frontend.execute import Inputs
from secateur.frontend.ir import Graph
from secateur.lowering import wide
from secateur.lowering.calibrate import Method, calibrate
from secateur.lowering.lowerer import Lowering
from secateur.lowering.qgraph import QGraph
from secateur.lowering.registry import obstacles
from secateur.lowering.rewrite import copy
from secateur.lowering.simplify import simplify
from secateur.lowering.views import place_reshapes


def lower(
    graph: Graph, calibration: Inputs, *, method: Method = "minmax",
    activations: wide.Wanted = None, wide_outputs: bool | None = None,
    wide_tensors: Iterable[str] = (),
) -> QGraph:  # fmt: skip
    """Quantize `graph` with ranges seen on `calibration` (the model's real inputs, float
    [N, ...]; of several a list or a mapping).

    activations: "int8", "int16", or one of them by layer name ("*": all others). wide_outputs:
    whether the model's outputs have 16 bits (where their operators can); None: as `activations`
    say. wide_tensors: more outputs of layers that have, by tensor of the simplified graph.

    Raises DataError for unusable calibration data and ModelError where the integer arithmetic
    cannot hold the model.
    """
    wide.check(activations)
    graph = copy(graph)
    wide.asked(graph, activations)
    simple = simplify(graph)
    found = obstacles(simple)
    if found:
        more = f" ({len(found) - 1} more: secateur check-model lists them)" if found[1:] else ""
        raise ModelError(found[0].sentence + more)
    ends = frozenset(simple.outputs if wide_outputs else ())
    tensors = wide.outputs(simple, activations, ends) | set(wide_tensors)
    ranges = calibrate(simple, calibration, method, tensors)
    lowering = Lowering(place_reshapes(simple), ranges, tensors, narrow_ends=wide_outputs is False)
    q = lowering.run()
    _heeded(simple, activations, lowering)
    for n in graph.nodes:
        own = n.attrs.get("parameters")  # 0 where a shared layer has been counted
        if own is None:
            own = sum(p.size for p in n.params.values())
        if own:
            q.parameters[n.name] = int(own)
    q.float_bytes = 4 * sum(q.parameters.values())
    return q


def _heeded(graph: Graph, activations: wide.Wanted, lowering: Lowering) -> None:
    """ModelError where a layer that was named for 16 bits moves elements of fewer."""
    for node in graph.nodes if not isinstance(activations, str) and activations else ():
        if node.attrs.get("activations") != "int16":
            continue
        sources = lowering.values[node.output].sources
        if not any(lowering.q.tensors[s].wide for s in sources):
            raise ModelError(
                f"{node.title} keeps the type of what it reads, 8 bits; name the layer before it "
                "in activations instead"
            )
