"""Everything that stands between a model and its integer form, at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import SecateurError
from ..frontend.ir import Graph, macs
from ..frontend.load import load
from ..lowering.quantize import lower
from ..lowering.registry import Obstacle, obstacles
from ..lowering.simplify import simplify

#: Random inputs that a conversion is tried with where nothing is known to be in the way.
_SAMPLES = 4


@dataclass(frozen=True)
class Hindrance:
    """One thing in the way: the layer or expression ("": the whole model), and a sentence."""

    layer: str
    sentence: str


@dataclass(frozen=True)
class Survey:
    """What converts of a model. MACs of layers that cannot be read are not known, not counted."""

    name: str
    hindrances: tuple[Hindrance, ...]
    macs: int
    converting_macs: int
    parameters: int
    converting_parameters: int

    @property
    def converts(self) -> bool:
        """Whether nothing is in the way."""
        return not self.hindrances


def survey(model: Any, name: str | None = None) -> Survey:
    """Look at a whole model (whatever `convert` takes), past every obstacle.

    Where nothing is found, a conversion is tried with random inputs: some limits (accumulators,
    ranges) show only there. Raises ModelError where the file itself cannot be read.
    """
    graph = load(model, name, tolerant=True)
    simple = simplify(graph)
    found = obstacles(simple)
    hindrances = [Hindrance(_title(o), o.sentence) for o in found]
    if not hindrances:
        hindrances = _tried(graph)
    stopped = {id(o.node) for o in found}
    products = macs(simple)
    weights = {n.output: _parameters(n.attrs, n.params) for n in simple}
    fine = [n.output for n in simple if id(n) not in stopped]
    return Survey(
        graph.name,
        tuple(hindrances),
        sum(products.values()),
        sum(products[t] for t in fine),
        sum(weights.values()),
        sum(weights[t] for t in fine),
    )


def _title(o: Obstacle) -> str:
    if o.node is None:
        return ""
    return str(o.node.attrs.get("shown") or o.node.name)


def _parameters(attrs: dict[str, Any], params: dict[str, np.ndarray]) -> int:
    own = attrs.get("parameters")
    count = sum(p.size for p in params.values()) if own is None else int(own)
    return count + sum(int(v) for v in attrs.get("merged", {}).values())


def _tried(graph: Graph) -> list[Hindrance]:
    rng = np.random.default_rng(0)
    inputs = {}
    for t in graph.inputs:
        shape = (_SAMPLES, *graph.node(t).shape)
        whole = graph.dtype(t) != "float32"
        inputs[t] = np.zeros(shape, np.int32) if whole else rng.normal(size=shape).astype("f4")
    data: Any = inputs if len(inputs) > 1 else next(iter(inputs.values()))
    try:
        lower(graph, data)
    except SecateurError as e:
        return [Hindrance("", str(e))]
    return []
