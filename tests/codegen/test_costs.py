"""Prices of work: what is compiled for size has its own, and what a kernel counts has one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from secateur import cores
from secateur.codegen import choose
from secateur.codegen.choose import WAYS
from secateur.codegen.code_size import startup_bytes
from secateur.codegen.costs import (
    REFERENCE,
    SLOWER,
    cost,
    price_in,
    price_key,
    price_of,
    prices,
    work_of,
)
from secateur.codegen.ends import end_work
from secateur.codegen.plan import candidates, make_plan
from secateur.targets.runners.profile import profile

from .qgraphs import KINDS, Chain, codes


def test_a_price_is_that_of_the_way_to_compile() -> None:
    known = [2.0, 3.0, 5.0, 7.0]
    assert price_in(known, False, "plain") == (2, 3)
    assert price_in(known, True, "plain") == (5, 7)
    assert price_in([4.0, 6.0], True, "plain", known) == (10, 14)  # as much more as is usual
    assert price_in([4.0, 6.0], True, "dsp") == (4 * SLOWER["dsp"], 6 * SLOWER["dsp"])
    assert price_in([4.0, 6.0], False, "dsp", known) == (4, 6)


def _network(kind: str) -> Chain:
    c = Chain("net", (4, 6, 6), 3).conv(8, (3, 3), kind).conv(6, (1, 1), kind)
    return c.conv(0, (3, 3), "int8", (1, 1), (1, 1, 1, 1), depthwise=True).dense(12, kind)


@pytest.mark.parametrize("kind", KINDS)
def test_all_that_kernels_count_has_a_price(kind: str) -> None:
    """However they are written; on the core whose prices stand in for others'."""
    graph, known = _network(kind).graph, prices()[REFERENCE]
    for op in graph:
        for c in candidates(op, graph, REFERENCE):
            for way in WAYS:
                layer = replace(c.layer, weight=way)
                for unit in work_of(c.kernel, layer, REFERENCE):
                    family, name = price_key(c.kernel.name, unit)
                    assert name in known.get(family, {}), f"{family}.{name} of {c.encoding}"


@pytest.mark.parametrize("optimize", ["latency", "flash"])
def test_a_plan_costs_what_its_layers_do(optimize: str) -> None:
    """As they are compiled, and with what an image begins with."""
    graph = _network("sparse").graph
    for core in ("cortex-m0plus", "cortex-m4", "rv32imac"):
        plan = make_plan(graph, optimize=optimize, core=core)
        assert plan.library.small == (plan.weight == WAYS[-1])
        for op in graph:
            (c,) = (
                c for c in candidates(op, graph, core)
                if (c.kernel.name, c.encoding)
                == (plan.layers[op.name].kernel, plan.layers[op.name].encoding)
            )  # fmt: skip
            estimate = cost(c.kernel, replace(c.layer, weight=plan.weight), core)
            assert plan.layers[op.name].cycles == estimate.cycles
        assert plan.ends == price_of(end_work(graph), "ends", core, plan.library.small)
        assert plan.code_bytes > startup_bytes(core) > 0
        assert startup_bytes(core) == startup_bytes(cores.get(core).priced_as)


@pytest.mark.emulator
@pytest.mark.parametrize("small", [False, True], ids=["fast", "small"])
@pytest.mark.parametrize("core", ["cortex-m0plus", "rv32imac"])
def test_decoded_rows_of_any_size_have_the_price_they_take(
    core: str, small: bool, tmp_path: Path
) -> None:
    """Code tables weigh most in small layers, rows and long codes in large ones. What a compiler
    makes of a decoder hangs on who else calls it."""
    c = Chain("net", (320,), 5)
    ways = {}
    for encoding, rows, kind in (
        ("huffman_joint", 160, "levels"), ("rice_sparse", 40, "sparse"),
        ("range_ternary", 16, "ternary"),
    ):  # fmt: skip
        c.dense(rows, kind)
        ways[c.graph.ops[-1].name] = encoding
    way = WAYS[-1] if small else WAYS[0]
    with patch.object(choose, "WAYS", (way,)):
        plan = make_plan(c.graph, ways, "latency", core=core)
    assert plan.library.small == small
    x = codes(c.graph, 1)[:1].reshape(1, -1)
    board = {"cortex-m0plus": "qemu_m0plus", "rv32imac": "qemu_rv32"}[core]
    library = plan.library.save(tmp_path / "library")
    counted: dict[str, float] = defaultdict(float)
    for step in profile(library, board, tmp_path / "build", x, accesses=False).steps:
        counted[step.layer] += step.instructions
    for name, encoding in ways.items():
        p = plan.layers[name]
        close = 0.1 if encoding == "huffman_joint" else 0.35
        assert p.instructions == pytest.approx(counted[name], rel=close), (encoding, p.kernel)
