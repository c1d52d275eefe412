"""What the planner scores is what is emitted, and no name stands in two places."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import secateur.codegen
from secateur import coding, cores
from secateur.codegen.kernels import all_kernels
from secateur.codegen.plan import Candidate, candidates, make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools

from . import run_c
from .qgraphs import Chain, codes, layer_chains

CODEGEN = Path(secateur.codegen.__file__).parent
TEMPLATES = CODEGEN / "templates"


def scored_is_emitted(graph: QGraph, most: int) -> int:
    """Compare scores with the arrays of libraries in which they are chosen; how many there were."""
    by_layer = {op.name: candidates(op, graph) for op in graph}
    turns = min(most, max(map(len, by_layer.values())))
    for i in range(turns):
        chosen: dict[str, Candidate] = {n: c[i % len(c)] for n, c in by_layer.items()}
        forced = {n: f"{c.encoding}/{c.kernel.name}" for n, c in chosen.items() if c.encoding}
        plan = make_plan(graph, forced, chains=())
        shared = {s.shared for e in plan.encoded.values() for s in e.streams} - {""}
        for n, c in chosen.items():
            if c.encoding:
                assert (plan.layers[n].encoding, plan.layers[n].kernel) == (
                    c.encoding, c.kernel.name,
                )  # fmt: skip
            if not shared:
                assert plan.library.bytes_of(n) == c.bytes, (n, c.encoding, c.kernel.name)
                assert plan.library.bits_of(n) == c.kernel.table(c.layer).bits
    return turns


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(layer_chains())
def test_every_candidates_bytes_are_the_emitted_ones(graph: QGraph) -> None:
    scored_is_emitted(graph, 6)


def test_a_sparse_window_scores_its_rows() -> None:
    """At 10 % density the streams of the encoding are far smaller than the rows that are read."""
    c = Chain("net", (8, 12, 12), seed=1, zero=0)
    weight = c.rng.integers(-127, 128, (16, 8, 3, 3)) * (c.rng.random((16, 8, 3, 3)) < 0.1)
    c.conv(16, (3, 3), "", pads=(1, 1, 1, 1), weight=weight.astype(np.int8))
    assert scored_is_emitted(c.graph, 99) > 8
    (sparse,) = (x for x in candidates(c.graph.ops[0], c.graph) if x.encoding == "sparse")
    assert sparse.bytes > 1.2 * sparse.layer.weights.stored_bytes


def test_no_two_public_classes_have_one_name() -> None:
    found: dict[str, set[str]] = {}
    for path in CODEGEN.parent.rglob("*.py"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, set()).add(str(path.relative_to(CODEGEN.parent)))
    twice = {name: places for name, places in found.items() if len(places) > 1}
    assert not twice


def names_compared(path: Path, names: set[str]) -> set[str]:
    """Those of `names` that a module compares something with."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Compare):
            sides = (node.left, *node.comparators)
            constants = {
                x.value for side in sides for x in ast.walk(side) if isinstance(x, ast.Constant)
            }
            found |= names & {c for c in constants if isinstance(c, str)}
    return found


def test_no_kernel_and_no_encoding_is_compared_by_name() -> None:
    names = {k.name for k in all_kernels()} | {e.name for e in coding.all_encodings()}
    names |= set(cores.names())
    wrong = {
        str(path.relative_to(CODEGEN)): found
        for path in CODEGEN.rglob("*.py")
        if (found := names_compared(path, names))
    }
    assert not wrong
    pattern = re.compile(r"\b(kernel|encoding|core)(\.name)? *[!=]= *[\"']")
    for path in TEMPLATES.rglob("*.j2"):
        assert not pattern.search(path.read_text(encoding="utf-8")), path


def test_no_template_asks_which_core_it_is_for() -> None:
    """There is one for each instruction set, and port/ chooses among headers."""
    for path in TEMPLATES.rglob("*.j2"):
        if path.name != "sc_port.h.j2":
            assert not re.search(r"SC_(DSP|MVE)\b", path.read_text(encoding="utf-8")), path


def mixed() -> Chain:
    """Kernels with texts of their own for each instruction set."""
    c = Chain("net", (6, 12, 17), seed=2, zero=0)
    c.conv(8, (3, 3), "sparse", pads=(1, 1, 1, 1)).conv(8, (3, 3), "int8", depthwise=True)
    c.conv(16, (1, 1), "ternary").conv(5, (3, 3), "int8", (2, 2)).dense(20, "int8")
    return c


@pytest.mark.parametrize("core", ["cortex-m4", "cortex-m0plus", "rv32imac", "cortex-m55"])
def test_a_library_holds_the_planned_cores_code_alone(core: str, tmp_path: Path) -> None:
    if why := tools.missing(cores.get(core).compiler):
        pytest.skip(why)
    graph = mixed().graph
    own, every = (make_plan(graph, core=core, portable=p) for p in (False, True))
    assert own.runs_on(core)
    assert own.runs_on("host") == (cores.get(core).isa == "plain")
    assert every.runs_on("host")
    text, whole = (p.library.files["src/net.c"] for p in (own, every))
    assert not re.search(r"#if.*SC_(DSP|MVE)", text)
    assert re.search(r"#if.*SC_(DSP|MVE)", whole)
    assert len(text) < 0.8 * len(whole)
    if core in run_c.CORES:
        x = codes(graph, 3)
        (got,) = run_c.on_core(core, [own], [x], tmp_path)
        np.testing.assert_array_equal(got, reference.run(graph, x).reshape(3, -1))
    else:
        run_c._compile(
            cores.get(core).compiler, [*cores.get(core).machine, *run_c.WARNINGS],
            run_c._sources([own], tmp_path), tmp_path,
        )  # fmt: skip


def test_another_core_is_told_so(tmp_path: Path) -> None:
    """The computer has no DSP extension."""
    plan = make_plan(mixed().graph, core="cortex-m4", portable=False)
    with pytest.raises(tools.ToolError, match="portable"):
        run_c.on_host([plan], [codes(mixed().graph, 1)], tmp_path)
