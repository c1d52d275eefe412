"""From a trained model to a `CompiledModel`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np

from .. import names
from ..codegen.optimize import MAX_SLOWDOWN
from ..codegen.packing import pack
from ..codegen.plan import make_plan
from ..errors import DataError
from ..frontend import execute
from ..frontend.ir import Graph
from ..frontend.load import load as load_graph
from ..lowering import passes, wide
from ..lowering.observe import observe_zeros
from ..progress import tell
from . import features, ranges
from .arguments import (
    CalibrationMethod,
    Optimize,
    WeightsIn,
    budget_of,
    check_encodings,
    check_layers,
    check_slowdown,
    core_and_clock,
    one_of,
)
from .compiled import CompiledModel
from .head import with_head
from .interface import InputType, Interface, OutputType
from .streaming import beside_window, stream

#: Types of activations: of all layers, or by layer ("*": all others).
Activations = Literal["int8", "int16"] | Mapping[str, str] | None

#: Integer passes of every conversion; then zeros are observed.
STORED = (*passes.INTEGER, pack)


def load(model_or_path: Any, name: str | None = None) -> Graph:
    """Read a model into the float graph.

    Args:
        model_or_path: a Keras 3, tf_keras or ONNX model, or the path of a `.keras`, `.h5`,
            `.tflite` or `.onnx` file or a SavedModel's folder.
        name: what the graph is called; default: the model's name.

    Raises:
        ModelError: the file cannot be read, or holds what is not supported.
    """
    return load_graph(model_or_path, name)


def convert(
    model: Any,
    calibration: Any,
    *,
    name: str | None = None,
    optimize: Optimize = "balanced",
    max_slowdown: float = MAX_SLOWDOWN,
    encodings: Mapping[str, str] | str | None = None,
    calibration_method: CalibrationMethod = "auto",
    flash: str | int | None = None,
    ram: str | int | None = None,
    latency: str | float | None = None,
    board: str | None = None,
    portable: bool = False,
    weights: WeightsIn = "separate",
    activations: Activations = None,
    input_dtype: InputType | None = None,
    output_dtype: OutputType | None = None,
    input_scale: float | None = None,
    input_zero_point: int | None = None,
    logits: bool = False,
    streaming: bool = False,
    causal: bool = False,
    hop: int = 1,
) -> CompiledModel:
    """Convert a trained model to integers and plan how it is stored and executed.

    Args:
        model: a Keras 3, tf_keras or ONNX model, a `torch.nn.Module`, the path of a `.keras`,
            `.h5`, `.tflite` or `.onnx` file, or a float graph of `load`.
        calibration: real inputs [N, *input shape] (of several inputs a list in the model's order,
            or a mapping by name) in any dtype but int8, which would be codes; a few hundred typical
            ones. What is odd about them (one sample, one value, outliers, not scaled as in
            training) is a `RangeWarning` and a note of the model and its reports.
        name: prefix of the generated C; default: the model's name.
        optimize: what the plan is best at, by the planner's estimates: "latency" (the fastest
            plan), "energy" (the same: the estimates know no power that depends on the plan),
            "flash" (the smallest image, code included, within `max_slowdown`) or "balanced" (least
            product of image and time). No plan is offered that another beats in both.
        max_slowdown: how many times slower than the fastest plan the others may be, by cycles and
            by instructions, at least 1.
        encodings: a weight encoding ("dense", "sparse", "ternary", ...; "ENCODING/KERNEL" fixes the
            kernel, too), for every layer that it fits or by layer name; other layers are chosen
            freely. None: all are.
        calibration_method: how ranges of activations are found: "minmax" (the extremes seen),
            "percentile" (the central 99.98 % of the values), "mse" (the range of least
            quantization error), or "auto": the extremes, and where outliers take most of a
            tensor's codes the one of the three whose outputs are measured nearest to float.
        flash: hard budget for constants and code, bytes or "64 kB".
        ram: hard budget for the arena, bytes or "16 kB".
        latency: hard budget for an inference at the board's clock, milliseconds or "20 ms"; needs
            `board`.
        board: whose core and clock the plan is for; None: a Cortex-M4. `deploy` plans again for a
            board with another core.
        portable: whether the library holds the code of every core, else that of the board's alone;
            without a board it does.
        weights: where the C defines the constants: "separate" (files of their own, NAME_weights.c
            and .h) or "static" (beside the layers, file-local).
        activations: "int16" where 8 bits of every activation do not do (regression, audio), or
            types by layer: {"LAYER": "int16"}, {"*": "int16", "LAYER": "int8"}. Weights keep their
            8 bits or less.
        input_dtype: "int8"; "uint8": pixels 0..255 as they are, the code is the value; "int16"
            (where calibration data are int16, the code is the value). Default: "int8", with
            `activations="int16"` that.
        output_dtype: "int8", "uint8" or "int16" codes, "int32" (the same codes as "int16"), or
            "float32" real numbers, for which a linear Dense layer at the end gets 16 bits where
            that is seen to matter (a note says so). Default: as `input_dtype`'s.
        input_scale: real value of a step of the input's codes, where it is given (a benchmark that
            feeds another model's codes); default: from calibration.
        input_zero_point: the input's code of real 0; goes with `input_scale`.
        logits: leave out the softmax or sigmoid that the model ends in.
        streaming: `NAME_step(frame, output)` in place of `NAME_run`: one element of time at a time,
            what the network needs of earlier ones kept in the arena (docs/streaming.md).
            Calibration data are whole windows. A note holds a step's cost beside the window's.
        causal: of a stream: pad every convolution before the first element of time alone, where
            the model pads at both ends. That is another function; a `RangeWarning` says so.
        hop: of a stream: frames from one answer that is wanted to the next. `NAME_hop` reads so
            many at once; what only answers need runs once for them. A multiple of the steps from
            one answer to the next.

    Returns:
        The model in integers, with its plan and its C. The planner's estimates keep the budgets.

    Raises:
        ModelError: the model cannot be converted, or `encodings` names a layer it has not.
        DataError: an argument is not one of its values, or the data do not fit the model.
        TargetError: the board is unknown.
        BudgetError: no plan keeps the budgets.
    """
    one_of("optimize", optimize, Optimize)
    check_slowdown(max_slowdown)
    one_of("calibration_method", calibration_method, CalibrationMethod)
    one_of("weights", weights, WeightsIn)
    if not isinstance(hop, int) or hop < 1:
        raise DataError(f"hop={hop!r} is no number of frames; give 1 or more")
    if input_dtype is not None:
        one_of("input_dtype", input_dtype, InputType)
    if output_dtype is not None:
        one_of("output_dtype", output_dtype, OutputType)
    wide.check(activations)
    if input_dtype is None and (isinstance(activations, str) or wide.ALL in (activations or {})):
        input_dtype = "int16" if wide.default_of(activations) == "int16" else "int8"
    asked = Interface(input_dtype, output_dtype, logits, input_scale, input_zero_point)
    check_encodings(encodings)
    core, clock = core_and_clock(board)
    budget = budget_of(flash, ram, latency, clock)
    tell("reading the model")
    graph = load_graph(model, name, example=calibration)
    ranges.refuse_codes(calibration)
    graph = asked.apply(graph, _whole(graph, calibration))
    given = execute.as_inputs(graph, calibration, "calibration data")
    tell(f"calibrating with {len(next(iter(given.values())))} inputs")
    graph.name = names.model(name or graph.name)
    of_features: Sequence[str] = ()
    head: Sequence[str]
    if streaming:
        qgraph, head = stream(graph, given, calibration_method, activations, asked, causal, hop)
    elif causal:
        raise DataError("causal=True is for streaming=True: give both")
    elif hop != 1:
        raise DataError(f"hop={hop} is for streaming=True: give both")
    else:
        parts = features.scaled(graph, given, wide=activations != "int8")
        qgraph, head = with_head(parts.graph, parts.given, calibration_method, activations, asked)
        qgraph.factors = parts.factors
        of_features = [*parts.notes, *ranges.of_frames(graph)]
    check_layers(encodings, qgraph)
    notes = [
        *ranges.warned([*ranges.of_calibration(graph, given), *of_features]),
        *ranges.of_observers(qgraph), *ranges.of_source(graph), *head,
    ]  # fmt: skip
    observed = () if streaming else (partial(observe_zeros, calibration=given),)
    qgraph = passes.run((*STORED, *observed), qgraph)
    qgraph.interface = asked.types(qgraph)
    qgraph.name = graph.name
    tell("choosing encodings and kernels")
    everywhere = portable or board is None
    plan = make_plan(
        qgraph,
        encodings,
        optimize,
        budget,
        core,
        weights=weights,
        portable=everywhere,
        max_slowdown=max_slowdown,
    )
    beside = None
    if streaming:
        beside = beside_window(graph, qgraph, given, plan, optimize, core, causal)
        notes.append(beside.note)
    return CompiledModel(
        graph.name,
        graph,
        qgraph,
        plan,
        optimize,
        list(notes),
        encodings=encodings,
        budget=budget,
        portable=portable,
        weights=weights,
        max_slowdown=max_slowdown,
        stream_report=beside,
    )


def _whole(graph: Graph, calibration: Any) -> set[str]:
    """Inputs whose calibration data are int16 as a sensor gives them."""
    given = calibration
    if not isinstance(given, Mapping):
        several = given if isinstance(given, list | tuple) else [given]
        given = dict(zip(graph.inputs, several, strict=False))
    return {n for n, v in given.items() if getattr(v, "dtype", None) == np.int16}
