"""What is odd about calibration data, or about inputs beside them: said, since nothing fails.

Ranges that do not fit make a network wrong without an error anywhere. Each finding is a sentence
for `CompiledModel.notes`, the report and a warning (`RangeWarning`).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import numpy as np

from .. import names
from ..errors import DataError, RangeWarning
from ..frontend import execute
from ..frontend.execute import Inputs
from ..frontend.ir import Graph
from ..lowering.qgraph import QGraph
from .compiled import CompiledModel

_SAMPLES = 64  #: looked at for the spread behind batch normalisation
#: Spread (standard deviation) of a channel behind batch normalisation: about |gamma|, near 1.
_LEAST_SPREAD, _MOST_SPREAD = 0.01, 20.0
_OUTLIER = 50.0  #: times what 99.9 % of the values stay below
_CLIPPED = 0.01  #: share of input values outside the calibrated range
_WEIGHTED = ("conv2d", "depthwise_conv2d", "conv2d_transpose", "dense")


def warned(notes: Iterable[str]) -> tuple[str, ...]:
    """`notes`, each also a warning at the line that called `convert` or `deploy`."""
    out = tuple(notes)
    for note in out:
        warnings.warn(note, RangeWarning, stacklevel=3)
    return out


def refuse_codes(calibration: object) -> None:
    """DataError for int8 data: calibration is what gives such codes their meaning."""
    parts: Iterable[object]
    if isinstance(calibration, Mapping):
        parts = calibration.values()
    else:
        parts = calibration if isinstance(calibration, list | tuple) else [calibration]
    if any(getattr(part, "dtype", None) == np.int8 for part in parts):
        raise DataError(
            "int8 calibration data would be codes, whose meaning calibration is to find; give the "
            "model's real inputs (if these are they: calibration.astype('float32'))"
        )


def of_calibration(graph: Graph, calibration: Inputs) -> list[str]:
    """What is odd about calibration data for `graph`."""
    given = execute.as_inputs(graph, calibration, "calibration data")
    notes: list[str] = []
    for tensor, x in given.items():
        if graph.dtype(tensor) == "int32":
            continue
        what = "calibration data" + ("" if len(given) == 1 else f" '{names.shown(tensor)}'")
        notes += _of_values(graph, tensor, x, what)
    return notes or _behind_norms(graph, given)


def _of_values(graph: Graph, tensor: str, x: np.ndarray, what: str) -> list[str]:
    low, high = float(x.min()), float(x.max())
    if low == high:
        return [
            f"{what}: every value is {low:g}, so no range was seen; give some hundred typical "
            "inputs"
        ]
    notes = []
    if len(x) == 1:
        notes.append(
            f"{what}: one sample, from {low:g} to {high:g}; others will be clipped to what it "
            "makes every layer see: give some hundred typical inputs"
        )
    elif (x == x[:1]).all():
        notes.append(f"{what}: all {len(x)} samples are the same; give some hundred different ones")
    most = max(-low, high)
    usual = float(np.quantile(np.abs(x), 0.999)) if x.size >= 1000 else 0.0
    if usual and most > _OUTLIER * usual:
        notes.append(
            f"{what}: the largest value is {most:g} and 99.9 % are below {usual:g}, an outlier: "
            "remove it, unless such inputs come"
        )
    for node in graph.consumers(tensor):
        scale = node.params.get("scale") if node.op == "batch_norm" else None
        if scale is not None and np.abs(scale).max() <= 1 / 32 and most <= 2.0:
            notes.append(
                f"{what}: values up to {most:g}, and layer '{names.shown(node.name)}' divides "
                f"them by {1 / np.abs(scale).max():g}; are they scaled twice?"
            )
    return notes


def of_observers(q: QGraph) -> list[str]:
    """Which calibration method outliers made `auto` take, with what was measured."""
    if not q.outliers:
        return []
    tensor = max(q.outliers, key=lambda name: q.outliers[name])
    others = ", ".join(
        f"{name} {db:.1f} dB" for name, db in q.measured.items() if name != q.observer
    )
    return [
        f"outliers: the extremes of '{names.shown(tensor)}' span {q.outliers[tensor]:.1f} times "
        f"what 99.98 % of its values do; calibration_method {q.observer} was taken, outputs at "
        f"{q.measured[q.observer]:.1f} dB of the float ones ({others})"
    ]


def of_source(graph: Graph) -> list[str]:
    """How many tensors have ranges that the model brings, which calibration does not move."""
    kept = sum("range" in node.attrs for node in graph.nodes)
    if not kept:
        return []
    return [
        f"{kept} of the tensors keep the ranges of their codes that the model brings "
        "(trained in, or of an int8 file); calibration gives the others"
    ]


def of_frames(graph: Graph) -> list[str]:
    """Of a window: that its source reads one frame a call and remembers."""
    read = [graph.node(t) for t in graph.inputs]
    steps = [n for n in read if n.attrs.get("by_frame")]
    return [
        "the model reads one frame a call and remembers earlier ones; this is a network of windows "
        f"of {n.shape[1]} frames before which it remembers nothing: streaming=True makes one that "
        "reads a frame a call"
        for n in steps[:1]
    ]


def _behind_norms(graph: Graph, given: Mapping[str, np.ndarray]) -> list[str]:
    """Batch normalisation knows what training data looked like: its outputs spread by about 1."""
    made = {n.output: n for n in graph.nodes}
    norms = [n for n in graph.nodes if n.op == "batch_norm" and made[n.inputs[0]].op in _WEIGHTED]
    if not norms:
        return []
    first = norms[0]
    some = {t: x[:_SAMPLES] for t, x in given.items()}
    values = execute.run_to(graph, some, first.output).astype(np.float64)
    spread = values.reshape(-1, values.shape[-1]).std(axis=0)
    ends = ", ".join(f"{x.min():g} to {x.max():g}" for x in given.values())
    if np.median(spread) > _MOST_SPREAD or spread.max() < _LEAST_SPREAD:
        return [
            f"calibration data go from {ends}, and layer '{names.shown(first.name)}' then spreads "
            f"by {np.median(spread):.3g}, where batch normalisation leaves about 1 on training "
            "data; are they scaled as in training?"
        ]
    return []


def of_inputs(compiled: CompiledModel, inputs: np.ndarray | None) -> list[str]:
    """What is odd about real inputs beside the range that calibration found."""
    q = compiled.qgraph
    if inputs is None or len(q.inputs) != 1 or q.interface_dtype(q.input) != "int8":
        return []
    x = np.asarray(inputs)
    if x.dtype == np.int8 or x.dtype.kind not in "fiub" or len(x) < 8:
        return []
    t = q.tensors[q.input]
    x = x / q.factors.get(q.input, 1.0)
    low, high = (0 - t.zero_point) * t.scale, (255 - t.zero_point) * t.scale
    outside = float(np.mean((x < low - t.scale) | (x > high + t.scale)))
    seen = f"inputs go from {float(x.min()):g} to {float(x.max()):g} and calibration saw "
    seen += f"{low:g} to {high:g}"
    if outside > _CLIPPED:
        return [f"{seen}: {outside:.0%} of the values are clipped; calibrate with such inputs"]
    if float(x.max()) - float(x.min()) < (high - low) / 32:
        return [f"{seen}: the inputs use a small part of the codes; are they scaled alike?"]
    return []
