"""16 bits for the last Dense layer of a regression, where calibration shows that they matter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .. import names
from ..frontend import execute
from ..frontend.ir import Graph
from ..lowering.calibrate import Method
from ..lowering.qgraph import QGraph
from ..lowering.quantize import lower, sqnr
from ..lowering.simplify import simplify
from ..lowering.wide import Wanted, maker
from ..progress import tell
from .interface import Interface

_SAMPLES = 64
_OUTPUT_DB = 3.0  #: better, for 16 bits of the output
_INPUT_DB = 6.0  #: better still, for 16 bits of what the layer reads, which cost cycles


def with_head(
    graph: Graph, given: Mapping[str, np.ndarray], method: Method, activations: Wanted,
    asked: Interface,
) -> tuple[QGraph, list[str]]:  # fmt: skip
    """`graph` in integers, and what was decided by itself.

    Nothing is, unless the caller sees more than 8 bits of the outputs (int16, int32, float32) and
    said nothing about `activations`, and linear Dense layers make them.
    """

    def lowered(wide_outputs: bool | None, tensors: tuple[str, ...] = ()) -> QGraph:
        return lower(
            graph, given, method=method, activations=activations, wide_outputs=wide_outputs,
            wide_tensors=tensors,
        )  # fmt: skip

    best = lowered(asked.wide_outputs)
    if activations is not None or asked.output_dtype not in ("int16", "int32", "float32"):
        return best, []
    simple = simplify(graph)
    heads = [maker(simple, t) for t in simple.outputs]
    if not all(n.op == "dense" and not {"clamp", "levels"} & set(n.attrs) for n in heads):
        return best, []
    tell("looking whether the last layer needs 16 bits")
    some = {t: x[:_SAMPLES] for t, x in given.items()}
    floats = execute.run_all(graph, some)
    want = [floats[t].reshape(len(floats[t]), -1) for t in graph.outputs]
    db = sqnr(best, some, want)
    notes: list[str] = []
    layers = ", ".join(f"'{names.shown(n.name)}'" for n in heads)
    if asked.output_dtype == "float32":
        wider = lowered(True)
        better = sqnr(wider, some, want)
        if better < db + _OUTPUT_DB:
            return best, []
        notes = [
            f"layer {layers}: 16-bit outputs, {better:.1f} dB of signal to noise on calibration "
            f"data where 8 bits leave {db:.1f}; activations='int8' keeps 8"
        ]
        best, db = wider, better
    inputs = tuple(n.inputs[0] for n in heads if maker(simple, n.inputs[0]).op != "input")
    makers = [maker(simple, t) for t in inputs]
    if inputs and all(n.op in ("dense", "conv2d") and "levels" not in n.attrs for n in makers):
        wider = lowered(True, tuple(n.output for n in makers))
        better = sqnr(wider, some, want)
        if better >= db + _INPUT_DB:
            what = ", ".join(f"'{names.shown(n.name)}'" for n in makers)
            notes.append(
                f"layer {what}: 16-bit outputs for {layers}, too, {better:.1f} dB in place of "
                f"{db:.1f}; activations='int8' keeps 8"
            )
            best = wider
    return best, notes
