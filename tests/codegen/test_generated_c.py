"""Random graphs: generated C, under sanitizers and on three cores, gives the reference's bytes."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings

from secateur.codegen.plan import Plan
from secateur.errors import ModelError
from secateur.frontend.ir import Graph
from secateur.lowering import reference
from secateur.lowering.align import align
from secateur.lowering.orient import transpose
from secateur.lowering.qgraph import QGraph
from secateur.lowering.quantize import lower
from secateur.targets import tools
from tests.strategies import random_graphs, random_inputs

from . import run_c
from .qgraphs import codes, layer_chains

ENCODINGS = (None, "dense", "sparse", "ternary", "codebook")
SLOW = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def variants(q: QGraph) -> list[tuple[QGraph, Plan]]:
    """`q` in every encoding, and transposed; each under its own name."""
    out: list[tuple[QGraph, Plan]] = []
    seen = set()
    for other in (q, transpose(q)):
        for encoding in ENCODINGS:
            if other.transposed and encoding is not None:
                continue
            graph = deepcopy(other)
            p = run_c.plan(graph, f"m{len(out)}", encoding)
            key = (other.transposed, *((x.kernel, x.encoding) for x in p.layers.values()))
            if key not in seen:
                seen.add(key)
                out.append((graph, p))
    return out


def check(q: QGraph, x: np.ndarray, where: str = "host") -> None:
    """All variants of `q` against the reference."""
    expected = reference.run(q, x).reshape(len(x), -1)
    made = variants(q)
    for graph, _ in made:
        np.testing.assert_array_equal(reference.run(graph, x).reshape(len(x), -1), expected)
    plans = [p for _, p in made]
    with tempfile.TemporaryDirectory() as tmp:
        if where == "host":
            got = run_c.on_host(plans, [x] * len(plans), Path(tmp))
        else:
            got = run_c.on_core(where, plans, [x] * len(plans), Path(tmp))
    for p, y in zip(plans, got, strict=True):
        names = [(layer.kernel, layer.encoding) for layer in p.layers.values()]
        np.testing.assert_array_equal(y, expected, err_msg=f"{p.library.name}: {names}")


@SLOW
@given(random_graphs())
def test_random_graphs_on_the_host(graph: Graph) -> None:
    x = random_inputs(graph, 6)
    try:
        q = lower(graph, x)
    except ModelError:
        assume(False)
    align(q)
    check(q, np.concatenate([codes(q, 3), reference.quantize_input(q, x)]))


@SLOW
@given(layer_chains())
def test_layer_chains_on_the_host(q: QGraph) -> None:
    check(q, codes(q, 5))


@pytest.mark.parametrize("core", run_c.CORES)
@settings(SLOW, max_examples=5)
@given(q=layer_chains())
def test_layer_chains_on_cores(core: str, q: QGraph) -> None:
    if why := tools.missing(tools.flags().prefix(core) + "gcc"):
        pytest.skip(why)
    check(q, codes(q, 3), core)
