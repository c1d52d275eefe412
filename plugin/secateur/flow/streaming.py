"""Networks of a step: what `convert(streaming=True)` does in another way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from ..codegen.plan import Plan, make_plan
from ..errors import DataError
from ..frontend.ir import Graph
from ..lowering import passes
from ..lowering.qgraph import Due, QGraph
from ..lowering.quantize import lower
from ..lowering.simplify import simplify
from ..lowering.streaming import causal as made_causal
from ..lowering.streaming import lower_stream, time_axis
from ..report.stream import CallCost, KeptTensor, StreamReport
from .interface import Interface

#: What operators keep that are no recurrent layer's, by their kind.
_KINDS = {"push": "rows", "append": "rows", "keep": "rows", "slide": "sums"}


def stream(
    graph: Graph, given: Mapping[str, np.ndarray], method: str, activations: object,
    asked: Interface, causal: bool, hop: int,
) -> tuple[QGraph, list[str]]:  # fmt: skip
    """The integer graph of a step, and what is to be said of it. Raises DataError, ModelError."""
    if activations is not None or asked.input_dtype == "int16" or asked.output_dtype == "int16":
        raise DataError("streaming works on 8-bit activations: leave activations='int16' out")
    return lower_stream(graph, given, method=method, make_causal=causal, hop=hop), []


def beside_window(
    graph: Graph, step: QGraph, given: Mapping[str, np.ndarray], plan: Plan, optimize: str,
    core: str, causal: bool,
) -> StreamReport:  # fmt: skip
    """What a step costs and keeps, and what a whole window would cost, estimated."""
    simple = simplify(graph)
    stateful = [n for n in simple.nodes if n.attrs.get("stateful")]
    for n in stateful:
        n.attrs["stateful"] = False
    if causal:
        simple = made_causal(simple, time_axis(simple))
    window = passes.run(passes.INTEGER, lower(simple, given, method="minmax"))
    whole = make_plan(window, None, optimize, None, core)
    mean = plan.ends.instructions + sum(
        p.instructions / step.due[name].period for name, p in plan.layers.items()
    )
    due = step.step_due or Due(1, 0)
    return StreamReport(
        step.name, core, CallCost(plan.instructions, plan.arena), mean,
        CallCost(whole.instructions, whole.arena), due.offset, due.period, tuple(_kept(step)),
    )  # fmt: skip


def _kept(step: QGraph) -> Iterator[KeptTensor]:
    makers = {op.output: op for op in step.ops}
    for name, state in step.states.items():
        if not state.loop:
            t, op = step.tensors[name], makers[state.next]
            kind = _KINDS.get(op.kind, "state")
            yield KeptTensor(op.name, kind, t.shape, t.dtype, t.stored_bytes)
