"""Where integers cost accuracy: each tensor beside the one the float graph computes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..frontend import execute
from ..lowering import reference
from ..lowering.simplify import simplify
from .compiled import CompiledModel

_SAMPLES = 64


@dataclass(frozen=True)
class TensorError:
    """One tensor's error over some inputs."""

    tensor: str
    op: str  #: what makes it
    sqnr_db: float  #: 10 log10(sum of squares / sum of squared errors); inf where exact
    step: float  #: real value of one code
    used: float  #: share of its codes between the least and the greatest seen
    clipped: float  #: share of elements at an end of the codes where the float value lies beyond

    def to_dict(self) -> dict[str, Any]:
        """For JSON, where an exact tensor has no figure."""
        return {
            "tensor": self.tensor, "op": self.op, "step": self.step, "used": self.used,
            "sqnr_db": self.sqnr_db if np.isfinite(self.sqnr_db) else None,
            "clipped": self.clipped,
        }  # fmt: skip


def by_tensor(compiled: CompiledModel, inputs: Any) -> list[TensorError]:
    """The error of every stored tensor that the float graph has, too, in execution order.

    inputs: real [N, *input shape] (of several inputs a list or mapping by name); at most 64 are
    looked at. An error includes what the tensors before it brought: the first one that is much
    worse than its inputs is the one to look at. Raises DataError.
    """
    graph, q = simplify(compiled.graph), compiled.qgraph
    given = execute.as_inputs(graph, inputs)
    some = {t: v[:_SAMPLES] for t, v in given.items()}
    floats = execute.run_all(graph, some)
    codes = reference.run_all(q, _named(compiled, some))
    makers = {op.output: op.kind for op in q} | dict.fromkeys(q.inputs, "input")
    found = []
    for name, kind in makers.items():
        t = q.tensors[name]
        if name not in floats or t.dtype == "int32" or floats[name].size != codes[name].size:
            continue
        want = floats[name].astype(np.float64) / q.factors.get(name, 1.0)
        if want.ndim > 2:
            want = np.moveaxis(want, -1, 1)
            want = want.swapaxes(2, 3) if q.transposed and want.ndim == 4 else want
        u = codes[name].reshape(len(want), -1)
        want = want.reshape(len(want), -1)
        got = (u.astype(np.float64) - t.zero_point) * t.scale
        noise, signal = float(np.square(got - want).sum()), float(np.square(want).sum())
        sqnr = 10 * np.log10(signal / noise) if noise and signal else float("inf")
        low, high = ((code - t.zero_point) * t.scale for code in (t.bottom, t.top))
        half = t.scale / 2
        beyond = ((want < low - half) & (u == t.bottom)) | ((want > high + half) & (u == t.top))
        span = (int(u.max()) - int(u.min()) + 1) / (t.top - t.bottom + 1)
        found.append(
            TensorError(name, kind, float(sqnr), float(t.scale), span, float(beyond.mean()))
        )
    return found


def _named(compiled: CompiledModel, given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = compiled.quantize({t: given[t] for t in compiled.qgraph.inputs})
    many = [made] if len(compiled.qgraph.inputs) == 1 else made
    return dict(zip(compiled.qgraph.inputs, many, strict=True))
