"""Plans: for every layer an encoding and a kernel, for every byte of RAM a place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from .. import coding
from ..coding.base import Encoded
from ..errors import ModelError
from ..lowering.qgraph import QConv, QDense, QGraph, QOp
from .kernels import Kernel, Layer, all_kernels, get
from .library import Library, write
from .memory import MemoryPlan, plan_memory

#: Encodings whose streams kernels read where they lie, in order of preference at equal size.
DIRECT = ("ternary", "sparse", "codebook", "dense")


@dataclass(frozen=True)
class LayerPlan:
    """How one operator is stored and executed."""

    op: str
    kernel: str
    encoding: str  #: "" for operators without weights


@dataclass
class Plan:
    """The whole model."""

    layers: dict[str, LayerPlan]
    memory: MemoryPlan
    library: Library
    encoded: dict[str, Encoded] = field(default_factory=dict)

    @property
    def arena(self) -> int:
        """Bytes of RAM for activations and scratch."""
        return self.memory.arena


def matrix(op: QOp) -> np.ndarray | None:
    """The weights of `op` as int8 [rows, cols]; None for operators without."""
    if isinstance(op, (QConv, QDense)):
        return np.ascontiguousarray(op.weight.reshape(op.weight.shape[0], -1), np.int8)
    return None


def candidates(op: QOp, graph: QGraph) -> list[tuple[Kernel, Layer]]:
    """Every (kernel, layer with its encoding) that executes `op` exactly."""
    w = matrix(op)
    if w is None:
        layer = Layer(op, graph)
        return [(k, layer) for k in all_kernels() if not k.forms and k.applies(layer)]
    out = []
    for name in DIRECT:
        encoding = coding.get(name)
        if not encoding.applies(w):
            continue
        layer = Layer(op, graph, encoding.encode(w))
        for k in all_kernels():
            if encoding.form in k.forms and k.applies(layer):
                out.append((k, layer))
    return out


def choose(op: QOp, graph: QGraph, encoding: str | None) -> tuple[Kernel, Layer]:
    """The kernel and encoding of one operator; `encoding` forces it where a kernel fits."""
    options = candidates(op, graph)
    if not options:
        raise ModelError(f"no kernel executes layer {op.name!r} ({op.kind}); please report it")
    if encoding is not None:
        forced = [o for o in options if o[1].encoded and o[1].encoded.encoding == encoding]
        if forced:
            return forced[0]
    w = matrix(op)
    if w is None:
        return options[0]
    density = np.count_nonzero(w) / w.size
    by_name = {o[1].encoded.encoding: o for o in options if o[1].encoded}
    if "ternary" in by_name:
        return by_name["ternary"]
    if "sparse" in by_name and density < 0.4:
        return by_name["sparse"]
    return by_name["dense"]


def make_plan(graph: QGraph, encodings: Mapping[str, str] | str | None = None) -> Plan:
    """Plan `graph`.

    encodings: one encoding name for all layers or a mapping from operator name; layers it does
    not fit (or does not name) are chosen freely. Raises ModelError if an operator has no kernel.
    """
    layers: dict[str, Layer] = {}
    kernels: dict[str, str] = {}
    for op in graph:
        want = encodings if isinstance(encodings, str) else (encodings or {}).get(op.name)
        kernel, layer = choose(op, graph, want)
        layers[op.name], kernels[op.name] = layer, kernel.name
    memory = plan_memory(
        graph,
        lambda op: get(kernels[op.name]).scratch(layers[op.name]),
        lambda op: get(kernels[op.name]).overwrites(layers[op.name]),
    )
    comments = {op.name: describe(op, layers[op.name], kernels[op.name]) for op in graph}
    library = write(graph, layers, kernels, memory, comments)
    encoded = {n: la.encoded for n, la in layers.items() if la.encoded is not None}
    plans = {
        n: LayerPlan(n, kernels[n], la.encoded.encoding if la.encoded else "")
        for n, la in layers.items()
    }
    return Plan(plans, memory, library, encoded)


def describe(op: QOp, layer: Layer, kernel: str) -> str:
    """The comment above a layer's call: shape, density, encoding."""
    t = layer.graph.tensors
    shape = f"{'x'.join(map(str, t[op.inputs[0]].shape))} -> {'x'.join(map(str, t[op.output].shape))}"
    w = matrix(op)
    if w is None:
        return f"{op.name}: {kernel}, {shape}"
    density = np.count_nonzero(w) / w.size
    name = layer.encoded.encoding if layer.encoded else "dense"
    return f"{op.name}: {shape}, {name}, density {density:.1%}"
