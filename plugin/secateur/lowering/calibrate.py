"""Ranges of every tensor from calibration data."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Literal

import numpy as np

from secateur.errors import DataError
from secateur.frontend.execute import Inputs, as_inputs, batches
from secateur.frontend.ir import Graph
from secateur.frontend.ops import OPS

Method = Literal["auto", "minmax", "percentile", "mse"]
Range = tuple[float, float]

_SAMPLES = 1 << 16  #: values a tensor that the percentile and mse observers look at
#: Times the range of the central 99.98 % of its values: a tensor that reaches further is one whose
#: codes are taken by outliers.
DOMINATED = 3.0


def calibrate(
    graph: Graph, x: Inputs, method: Method = "minmax", wide: Collection[str] = ()
) -> dict[str, Range]:
    """(low, high) of every tensor of `graph` over `x`, float [N, ...] each; low <= 0 <= high.

    wide: tensors of 16 bits, from which the least error of an 8-bit grid ("mse") clips nothing.

    Raises DataError for empty, wrongly shaped or non-finite data.
    """
    if method not in METHODS:
        raise DataError(f"calibration method '{method}' is unknown; use {', '.join(METHODS)}")
    return observe(graph, x, (method,), wide)[method]


def dominated(ranges: dict[str, dict[str, Range]]) -> dict[str, float]:
    """Of `observe`, with "minmax" and "percentile": tensors whose extremes lie more than DOMINATED
    times as far apart as the central 99.98 % of their values; how many times."""
    found = {}
    for tensor, (low, high) in ranges["minmax"].items():
        inner_low, inner_high = ranges["percentile"][tensor]
        if inner_high > inner_low:
            times = (high - low) / (inner_high - inner_low)
            if times > DOMINATED:
                found[tensor] = times
    return found


def observe(
    graph: Graph, x: Inputs, methods: Sequence[str], wide: Collection[str] = ()
) -> dict[str, dict[str, Range]]:
    """`calibrate` with several methods in one pass over the data: method -> tensor -> range."""
    given = as_inputs(graph, x, "calibration data")
    total = len(given[graph.inputs[0]])
    rng = np.random.default_rng(0)
    ends: dict[str, Range] = {}
    samples: dict[str, list[np.ndarray]] = {}
    for values in batches(graph, given, 32):
        share = max(1, _SAMPLES * len(values[graph.inputs[0]]) // total)
        values |= _inside(graph, values)
        for name, v in values.items():
            low, high = ends.get(name, (0.0, 0.0))
            ends[name] = (min(low, float(v.min())), max(high, float(v.max())))
            if set(methods) - {"minmax"}:
                flat = v.ravel()
                pick = flat if flat.size <= share else flat[rng.integers(0, flat.size, share)]
                samples.setdefault(name, []).append(pick)
    for name, (low, high) in ends.items():
        if not np.isfinite(low) or not np.isfinite(high):
            raise DataError(
                f"tensor '{name}' of model '{graph.name}' overflows on the calibration data; "
                "scale the data as in training"
            )
    seen = {n: np.concatenate(parts) for n, parts in samples.items()}

    def ranges(method: str) -> dict[str, Range]:
        if method == "minmax":
            return ends
        spared = set(wide) if method == "mse" else set()
        return {n: e if n in spared else METHODS[method](seen[n], *e) for n, e in ends.items()}

    return {method: ranges(method) for method in methods}


def _inside(graph: Graph, values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What operators compute inside, as "OUTPUT/NAME": states and sums of recurrent layers."""
    found: dict[str, np.ndarray] = {}
    for node in graph.nodes:
        inside = OPS[node.op].inside
        if inside is not None:
            made = inside(node, [values[t] for t in node.inputs])
            found |= {f"{node.output}/{name}": v for name, v in made.items()}
    return found


def _minmax(values: np.ndarray, low: float, high: float) -> Range:
    return low, high


def _percentile(values: np.ndarray, low: float, high: float) -> Range:
    """The central 99.98 % of the values."""
    a, b = np.percentile(values, [0.01, 99.99])
    return min(float(a), 0.0), max(float(b), 0.0)


def _mse(values: np.ndarray, low: float, high: float) -> Range:
    """The range whose 8-bit grid has the least squared error, ends searched one after the other."""

    def error(lo: float, hi: float) -> float:
        scale = (hi - lo) / 255 or 1.0
        z = np.rint(-lo / scale)
        codes = np.clip(np.rint(values / scale) + z, 0, 255)
        return float(np.square((codes - z) * scale - values).mean())

    shrink = np.linspace(1.0, 0.3, 36)
    high = min((high * float(s) for s in shrink), key=lambda h: error(low, h))
    low = min((low * float(s) for s in shrink), key=lambda lo: error(lo, high))
    return low, high


METHODS: dict[str, Callable[[np.ndarray, float, float], Range]] = {
    "minmax": _minmax,
    "percentile": _percentile,
    "mse": _mse,
}
