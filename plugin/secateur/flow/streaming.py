"""Networks of a step: what `convert(streaming=True)` does in another way."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..codegen.plan import Plan, make_plan
from ..errors import DataError
from ..frontend.ir import Graph
from ..lowering import passes
from ..lowering.qgraph import QGraph
from ..lowering.quantize import lower
from ..lowering.simplify import simplify
from ..lowering.streaming import causal as made_causal
from ..lowering.streaming import lower_stream, time_axis
from .interface import Interface


def stream(
    graph: Graph, given: Mapping[str, np.ndarray], method: str, activations: object,
    asked: Interface, causal: bool,
) -> tuple[QGraph, list[str]]:  # fmt: skip
    """The integer graph of a step, and what is to be said of it. Raises DataError, ModelError."""
    if activations is not None or asked.input_dtype == "int16" or asked.output_dtype == "int16":
        raise DataError("streaming works on 8-bit activations: leave activations='int16' out")
    return lower_stream(graph, given, method=method, make_causal=causal), []


def beside_window(
    graph: Graph, step: QGraph, given: Mapping[str, np.ndarray], plan: Plan, optimize: str,
    core: str, causal: bool,
) -> str:  # fmt: skip
    """What a step costs and what a whole window would, estimated, as a sentence."""
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
    each = [whole.instructions / max(1.0, cost) for cost in (plan.instructions, mean)]
    return (
        f"estimated: a step costs {plan.instructions:,.0f} instructions where all of it is due, "
        f"{mean:,.0f} on average, and {plan.arena:,} bytes of arena; a whole window would cost "
        f"{whole.instructions:,.0f} ({each[0]:.1f} and {each[1]:.1f} times as many) and "
        f"{whole.arena:,} bytes"
    )
