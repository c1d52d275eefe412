"""The vector forms for Cortex-M55, on an emulated one: the reference's bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secateur import cores
from secateur.codegen.plan import Plan, make_plan
from secateur.lowering.qgraph import QConv, QGraph, Thresholds
from secateur.targets import tools

from .qgraphs import Chain, bounds, codes
from .run_c import same_on_vectors

pytestmark = pytest.mark.emulator


def check(graph: QGraph, plan: Plan, tmp_path: Path) -> None:
    """`plan` on the emulated board gives the reference's bytes."""
    same_on_vectors(plan, graph, codes(graph, 5), tmp_path)


@pytest.mark.parametrize("side", [(1, 3), (4, 5), (6, 16)])
def test_vectors_give_the_references_bytes(side: tuple[int, int], tmp_path: Path) -> None:
    """Planes below, above and at multiples of sixteen pixels; channels that are no multiple."""
    c = Chain("helium", (13, *side), seed=sum(side), zero=3)
    c.conv(33, (1, 1), "int8", zero=128).conv(33, (1, 1), "int8", residual="t0")
    c.conv(16, (1, 1), "ternary", zero=7).conv(16, (1, 1), "ternary", residual="t2")
    c.conv(16, (1, 3), "ternary", pads=(0, 1, 0, 1)).conv(9, (3, 3), "ternary", pads=(1, 1, 1, 1))
    c.dense(19, "int8").dense(7, "ternary")
    graph = c.graph
    forced = ["dense/conv_dense"] * 2 + ["ternary/conv_ternary"] * 4 + ["dense/dense"] * 2
    plan = make_plan(graph, dict(zip((op.name for op in graph), forced, strict=True)), "latency")
    kernels = {layer.kernel for layer in plan.layers.values()}
    assert kernels == {"conv_dense", "conv_ternary", "dense"}
    check(graph, plan, tmp_path)


def images() -> Chain:
    """A first layer of three channels, strides, whole vectors of channels, a residual."""
    c = Chain("images", (3, 10, 13), seed=1, zero=200)
    c.conv(32, (3, 3), "extreme", pads=(1, 1, 1, 1), zero=9)
    c.conv(32, (3, 3), "int8", (2, 2), (0, 0, 1, 1), zero=7)
    c.conv(64, (1, 1), "int8", zero=3).conv(32, (3, 3), "int8", pads=(1, 1, 1, 1), zero=3)
    return c.conv(32, (3, 3), "int8", pads=(1, 1, 1, 1), residual="t1")


def spectrum() -> Chain:
    """One channel in, wide windows, rows that are no multiple of four, channels of none of
    sixteen; at last thresholds."""
    c = Chain("spectrum", (1, 10, 25), seed=2, zero=0)
    c.conv(6, (4, 10), "int8", (2, 2), (1, 4, 1, 5), zero=1)
    c.conv(35, (5, 2), "int8", (2, 3), (0, 1, 2, 0), zero=255).conv(11, (1, 1), "int8", (1, 3))
    c.conv(4, (2, 2), "int8")
    op = c.graph.ops[-1]
    assert isinstance(op, QConv)
    low, high = bounds(op.weight)
    steps = np.linspace(low / 4, high / 4, 3, axis=1).astype(np.int64)
    op.requant = Thresholds(steps, np.array([0, -1, 0, -1]), (1, 2))
    return c


def planes() -> Chain:
    """Depthwise: rows of zeros left out, a stride, a window that is looped over, narrow planes."""
    c = Chain("planes", (6, 14, 13), seed=3, zero=0)
    c.conv(0, (3, 3), "extreme", pads=(1, 1, 1, 1), depthwise=True, zero=5)
    c.conv(0, (3, 3), "int8", (2, 2), (0, 0, 1, 1), depthwise=True, zero=255)
    c.conv(0, (9, 9), "int8", pads=(4, 4, 4, 4), depthwise=True)
    c.conv(0, (2, 3), "int8", (1, 2), depthwise=True, zero=0)
    return c.conv(0, (3, 3), "int8", pads=(1, 1, 1, 1), depthwise=True)


def over() -> Chain:
    """An output over what is added to it, on a plane of 24 pixels."""
    c = Chain("over", (4, 4, 6), seed=4, zero=3)
    return (
        c.conv(64, (1, 1), "int8").conv(4, (1, 1), "int8").conv(64, (1, 1), "int8", residual="t0")
    )


def windows() -> Chain:
    """Tiles of sixteen: of one row, of two rows that are read from the input, and none (an odd
    number of rows); what is added."""
    c = Chain("windows", (3, 18, 20), seed=6, zero=3)
    c.conv(9, (3, 5), "int8").conv(9, (3, 3), "int8", pads=(1, 1, 1, 1), residual="t0", zero=5)
    c.conv(7, (5, 5), "int8").conv(6, (3, 3), "int8").conv(6, (2, 1), "int8")
    return c.conv(6, (3, 3), "int8", pads=(1, 1, 1, 1), residual="t4", zero=7)


def books() -> Chain:
    """Codebook indices: rows in the order of words, with single weights behind or among them."""
    c = Chain("books", (1, 9, 12), seed=3, zero=5)
    levels = np.arange(-100, 100, 13)
    for co, ci, k in ((6, 1, (3, 5)), (3, 6, (3, 3)), (32, 3, (3, 3)), (16, 32, (1, 3))):
        weight = c.rng.choice(levels, (co, ci, *k)).astype(np.int8)
        c.conv(co, k, "", pads=(k[0] // 2, 1, k[0] // 2, 1), zero=co, weight=weight)
    return c.conv(9, (1, 1), "", weight=c.rng.choice(levels, (9, 16, 1, 1)).astype(np.int8))


@pytest.mark.parametrize("chain", [images, spectrum, planes, over])
def test_dense(chain: Callable[[], Chain], tmp_path: Path) -> None:
    graph = chain().graph
    check(graph, make_plan(graph, "dense", "latency"), tmp_path)


@pytest.mark.parametrize("chain", [images, spectrum, over, windows])
def test_sparse(chain: Callable[[], Chain], tmp_path: Path) -> None:
    graph = chain().graph
    plan = make_plan(graph, "sparse", "latency")
    assert {layer.kernel for layer in plan.layers.values()} == {"conv_sparse"}
    check(graph, plan, tmp_path)


def test_codebook(tmp_path: Path) -> None:
    graph = books().graph
    plan = make_plan(graph, "codebook", "latency")
    assert {(x.kernel, x.encoding) for x in plan.layers.values()} == {("conv_dense", "codebook")}
    check(graph, plan, tmp_path)


@pytest.mark.parametrize("encoding", ["dense", "ternary", "sparse"])
def test_chains(encoding: str, tmp_path: Path) -> None:
    """Some rows at a time, from rings of rows."""
    graph = images().graph
    if encoding == "ternary":
        for op in graph.ops:
            assert isinstance(op, QConv)
            kept = np.arange(op.weight.size).reshape(op.weight.shape) % 4 == 0
            op.weight = (np.sign(op.weight) * kept).astype(np.int8)
    check(graph, make_plan(graph, encoding, chains=[("conv0", "conv4", 1, 2)]), tmp_path)


@pytest.mark.parametrize(
    ("count", "vector"), [(4, "int32x4_t"), (8, "uint16x8_t"), (16, "uint8x16_t")]
)
def test_bytes_are_loaded_wherever_the_compiler_has_the_pointer(
    count: int, vector: str, tmp_path: Path
) -> None:
    """Loads that widen take a low register alone; the others any."""
    load = f"""#include "sc_port.h"
{vector} load(const uint8_t *from)
{{
    register const uint8_t *p __asm__("r10") = from;
    {vector} v;
    __asm__("" : "+r"(p));
    SC_BYTES{count}(v, p, 4);
    return v;
}}
"""
    row = cores.get("cortex-m55")
    plan = make_plan(over().graph, "dense", "latency", core="cortex-m55")
    plan.library.save(tmp_path / "library")
    source = tmp_path / "load.c"
    source.write_text(load, encoding="utf-8")
    include = tmp_path / "library" / "src"
    tools.run(
        [row.compiler, *row.machine, *tools.flags().COMPILE, f"-I{include}", "-c", str(source),
         "-o", str(tmp_path / "load.o")],
        "compiling for cortex-m55",
    )  # fmt: skip
