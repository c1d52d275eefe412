"""Float graph and calibration data to the integer graph. docs/integer-spec.md is the definition."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.execute import Inputs, as_inputs, run_outputs
from secateur.frontend.ir import Graph
from secateur.lowering import wide
from secateur.lowering.calibrate import Method, Range, calibrate, dominated, observe
from secateur.lowering.joint_ranges import along_concats
from secateur.lowering.lowerer import Lowering
from secateur.lowering.masked import under_masks
from secateur.lowering.qgraph import QGraph
from secateur.lowering.reference import dequantize_output, quantize_input, run
from secateur.lowering.registry import obstacles
from secateur.lowering.rewrite import copy
from secateur.lowering.simplify import simplify
from secateur.lowering.views import place_reshapes

#: Inputs that outputs are measured on where methods are held against each other.
_MEASURED = 64
_GAIN = 1.0  #: dB, below which the extremes stay


def _lowered(
    simple: Graph, calibration: Inputs, method: Method, tensors: Collection[str],
    made: Callable[[dict[str, Range]], Lowering],
) -> Lowering:  # fmt: skip
    """The lowering with the method's ranges; "auto" measures where outliers take the codes.

    That is rare, and costs a lowering and a run of 64 inputs for each method then.
    """
    if method != "auto":
        only = made(calibrate(simple, calibration, method, tensors))
        only.q.observer = method
        return only
    ranges = observe(simple, calibration, ("minmax", "percentile"))
    usual = made(ranges["minmax"])
    outliers = {
        t: times
        for t, times in dominated(ranges).items()
        if t in usual.q.tensors and t not in tensors
    }
    if not outliers:
        return usual
    ranges |= observe(simple, calibration, ("mse",), tensors)
    tried = {"minmax": usual}
    for other in ("percentile", "mse"):
        try:
            tried[other] = made(ranges[other])
        except ModelError:  # scales that the integer arithmetic cannot hold: out of the contest
            continue
    given = {t: v[:_MEASURED] for t, v in as_inputs(simple, calibration).items()}
    wanted = run_outputs(simple, given)
    measured = {name: sqnr(x.q, given, wanted) for name, x in tried.items()}
    best = max(measured, key=lambda name: measured[name])
    if measured[best] < measured["minmax"] + _GAIN:
        best = "minmax"
    q = tried[best].q
    q.observer, q.measured, q.outliers = best, measured, outliers
    return tried[best]


def sqnr(q: QGraph, given: Mapping[str, np.ndarray], want: list[np.ndarray]) -> float:
    """10 log10 of signal to noise of a graph's outputs beside the float ones, the worst of them."""
    got = dequantize_output(q, run(q, quantize_input(q, given)))
    worst = float("inf")
    for g, w in zip(got if len(want) > 1 else [got], want, strict=True):
        noise = float(np.square(g.reshape(w.shape) - w, dtype=np.float64).sum())
        signal = float(np.square(w, dtype=np.float64).sum())
        if noise and signal:
            worst = min(worst, 10 * math.log10(signal / noise))
    return worst


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
    method: see `calibrate`; "auto" takes the extremes unless some lie so far out that they take the
    codes from all others: then the one whose outputs are measured nearest to the float graph's.

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

    def made(ranges: dict[str, Range]) -> Lowering:
        placed = place_reshapes(simple)
        joint = under_masks(placed, along_concats(simple, ranges, tensors))
        out = Lowering(placed, joint, tensors, narrow_ends=wide_outputs is False)
        out.run()
        return out

    lowering = _lowered(simple, calibration, method, tensors, made)
    q = lowering.q
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
