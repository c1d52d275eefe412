"""From a trained model to a `CompiledModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .. import names
from ..codegen.packing import pack
from ..codegen.plan import DEFAULT_CORE, Budget, make_plan
from ..errors import DataError
from ..frontend.ir import Graph
from ..frontend.load import load as load_graph
from ..lowering.align import align
from ..lowering.observe import observe_zeros
from ..lowering.orient import orient
from ..lowering.quantize import lower
from ..progress import tell
from ..report.units import parse
from .compiled import CompiledModel


def load(model_or_path: Any, name: str | None = None) -> Graph:
    """Read a model (Keras 3 in memory or a file) into the float graph."""
    return load_graph(model_or_path, name)


def convert(
    model: Any,
    calibration: np.ndarray,
    name: str | None = None,
    optimize: str = "balanced",
    encodings: Mapping[str, str] | str | None = None,
    calibration_method: str = "minmax",
    flash: str | int | None = None,
    ram: str | int | None = None,
    latency: str | float | None = None,
    board: str | None = None,
) -> CompiledModel:
    """Convert a trained model.

    model: a Keras model or the path of a `.keras` file. calibration: real inputs, float
    [N, *input shape]; a few hundred typical ones. name: prefix of the generated C. encodings:
    force a weight encoding, for all layers or by layer name. optimize: "latency", "energy",
    "balanced" or "flash". flash, ram, latency: hard budgets ("64 kB" of constants and code, "16 kB"
    of arena, "20 ms"; the planner's estimates keep them). board: whose core and clock the plan is
    for; `deploy` plans again for a board with another core.
    Raises ModelError, DataError, BudgetError if no plan keeps the budgets.
    """
    core, clock = _core(board)
    budget = Budget(
        None if flash is None else int(parse(flash, "bytes")),
        None if ram is None else int(parse(ram, "bytes")),
        None if latency is None else parse(latency, "ms"),
        clock,
    )
    if latency is not None and not clock:
        raise DataError(
            "a latency budget needs the board whose clock it is for: give board=... (--board)"
        )
    tell("reading the model")
    graph = load_graph(model, name)
    tell(f"calibrating with {len(calibration)} inputs")
    graph.name = names.model(name or graph.name)
    qgraph = lower(graph, np.asarray(calibration), method=calibration_method)  # type: ignore[arg-type]
    qgraph = pack(align(orient(qgraph)))
    qgraph.name = graph.name
    observe_zeros(qgraph, np.asarray(calibration))
    tell("choosing encodings and kernels")
    plan = make_plan(qgraph, encodings, optimize, budget, core)
    return CompiledModel(
        graph.name, graph, qgraph, plan, optimize, encodings=encodings, budget=budget
    )


def _core(board: str | None) -> tuple[str, int]:
    """(core, clock in Hz) of a board; (the default core, 0) without."""
    if board is None:
        return DEFAULT_CORE, 0
    from ..targets import boards

    b = boards.load(board)
    return b.core, b.clock_hz
