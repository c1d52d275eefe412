"""Random graphs: generated C, under sanitizers and on three cores, gives the reference's bytes."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from secateur import coding, cores
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
from .qgraphs import Chain, codes, layer_chains

#: Every encoding some kernel executes, where it lies or decoded.
ENCODINGS = [e.name for e in coding.all_encodings()]
FORCED = st.lists(st.sampled_from(ENCODINGS), min_size=3, max_size=4, unique=True)
SLOW = settings(
    max_examples=8,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def variants(q: QGraph, forced: list[str]) -> list[tuple[QGraph, Plan]]:
    """`q` as planned, with encodings forced, and transposed; each under its own name."""
    out: list[tuple[QGraph, Plan]] = []
    seen = set()
    for other in (q, transpose(q)):
        for encoding in [None, *(forced[1:] if other is q else forced[:1])]:
            graph = deepcopy(other)
            p = run_c.plan(graph, f"m{len(out)}", encoding)
            key = (other.transposed, *((x.kernel, x.encoding) for x in p.layers.values()))
            if key not in seen:
                seen.add(key)
                out.append((graph, p))
    return out


def check(q: QGraph, forced: list[str], x: np.ndarray, where: str = "host") -> None:
    """All variants of `q` against the reference."""
    expected = reference.run(q, x).reshape(len(x), -1)
    made = variants(q, forced)
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
@given(random_graphs(), FORCED)
def test_random_graphs_on_the_host(graph: Graph, forced: list[str]) -> None:
    x = random_inputs(graph, 6)
    try:
        q = lower(graph, x)
    except ModelError:
        assume(False)
    q = align(q)
    check(q, forced, np.concatenate([codes(q, 3), reference.quantize_input(q, x)]))


@SLOW
@given(layer_chains(), FORCED)
def test_layer_chains_on_the_host(q: QGraph, forced: list[str]) -> None:
    check(q, forced, codes(q, 5))


def test_an_output_over_what_is_added(tmp_path: Path) -> None:
    """The last tile of a plane of 20 pixels begins with pixels of the one before."""
    c = Chain("over", (4, 4, 5), seed=3, zero=3)
    c.conv(64, (1, 1), "int8").conv(4, (1, 1), "int8").conv(64, (1, 1), "int8", residual="t0")
    plan = run_c.plan(c.graph, "over", "dense")
    assert plan.memory.tensors["t0"] == plan.memory.tensors["t2"]
    x = codes(c.graph, 3)
    (got,) = run_c.on_host([plan], [x], tmp_path)
    np.testing.assert_array_equal(got, reference.run(c.graph, x).reshape(3, -1))


@pytest.mark.parametrize("core", run_c.CORES)
@settings(SLOW, max_examples=5)
@given(q=layer_chains(), forced=FORCED)
def test_layer_chains_on_cores(core: str, q: QGraph, forced: list[str]) -> None:
    if why := tools.missing(cores.get(core).compiler):
        pytest.skip(why)
    check(q, forced, codes(q, 3), core)
