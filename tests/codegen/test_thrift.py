"""Layers that take less scratch: rows unpacked some output channels at a time, small tiles. The
reference's bytes in every place, and arenas that a budget asks for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.geometry import Thrift
from secateur.codegen.kernels.rows.sparse import sparse_rows
from secateur.codegen.kernels.rows.ternary import short_rows
from secateur.codegen.plan import Budget, candidates, make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph

from . import run_c
from .qgraphs import Chain, codes
from .test_limits import PLACES, run

#: Decoders of every kind, those that the unpackers take the place of where all rows come at once.
CODED = (
    ("rice_ternary", "conv_ternary", "ternary"),
    ("rice_sparse", "conv_sparse", "sparse"),
    ("base3", "conv_ternary", "ternary"),
    ("huffman_ternary", "conv_ternary", "ternary"),
    ("huffman_joint", "conv_sparse", "levels"),
    ("bitmap_ternary", "conv_ternary", "ternary"),
    ("gap_sparse", "conv_sparse", "sparse"),
    ("huffman_sparse", "conv_sparse", "sparse"),
)

#: channels of the layers, image
SHAPES = ((1, (9, 11)), (3, (4, 5)), (13, (8, 8)), (33, (7, 6)))


def layers(kind: str) -> list[QGraph]:
    """Of each shape a window, one over it, one with a residual, strides, a pointwise layer."""
    out = []
    for i, (n, image) in enumerate(SHAPES):
        c = Chain("b", (n, *image), seed=i, zero=(0, 77)[i % 2])
        c.conv(n, (3, 3), kind, pads=(1, 1, 1, 1), zero=5)
        c.conv(n, (3, 3), kind, pads=(1, 1, 1, 1), residual="t0", zero=9)
        c.conv(n + 4, (2, 3), kind, (2, 2), (0, 1, 0, 1))
        c.conv(n, (1, 1), kind)
        out.append(c.graph)
    return out


def forced(graph: QGraph, encoding: str, kernel: str) -> dict[str, str]:
    """Every layer in that encoding by that kernel."""
    return {op.name: f"{encoding}/{kernel}" for op in graph}


@pytest.mark.parametrize("channels", [1, 5])
@pytest.mark.parametrize(("encoding", "kernel", "kind"), CODED)
@pytest.mark.parametrize("place", PLACES)
def test_rows_are_unpacked_some_channels_at_a_time(
    place: str, encoding: str, kernel: str, kind: str, channels: int, tmp_path: Path
) -> None:
    graphs = layers(kind)
    force = forced(graphs[0], encoding, kernel)
    thrift = {op.name: Thrift(channels) for op in graphs[0]}
    for graph in graphs:
        plan = make_plan(graph, force, thrift=thrift)
        assert {(x.encoding, x.kernel) for x in plan.layers.values()} == {(encoding, kernel)}
        assert "/* output channels */" in plan.library.files["src/b.c"]
    assert plan.arena < make_plan(graph, force).arena
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path, force, thrift=thrift)


@pytest.mark.parametrize("optimize", ["latency", "balanced", "flash"])
@pytest.mark.parametrize(
    ("force", "kind"),
    [("ternary/conv_ternary", "ternary"), ("sparse/conv_sparse", "sparse"),
     ("dense/conv_dense", "dense"), ("codebook/conv_dense", "levels")],
)  # fmt: skip
@pytest.mark.parametrize("place", PLACES)
def test_small_tiles(place: str, force: str, kind: str, optimize: str, tmp_path: Path) -> None:
    """Fewer pixels than a tile, and tiles that share some with the one before, and none."""
    graphs = []
    for i, (n, image) in enumerate(
        ((1, (1, 1)), (5, (1, 3)), (40, (1, 11)), (9, (3, 4)), (64, (5, 5)), (12, (1, 23)),
         (90, (4, 9)), (100, (2, 7)))
    ):  # fmt: skip
        c = Chain("s", (n, *image), seed=i, zero=(0, 77)[i % 2])
        c.conv(n, (1, 1), kind, zero=4)
        c.conv(n, (1, 1), kind, residual="t0", zero=7)
        c.conv(n + 3, (1, 1), kind)
        graphs.append(c.graph)
    c = Chain("s", (1, 10, 49), seed=9, zero=128)  # gathered else
    c.conv(64, (4, 10), kind, (2, 2), (0, 0, 0, 0))
    graphs.append(c.graph)
    forces = {f"conv{i}": force for i in range(3)}
    thrift = {op.name: Thrift(narrow=True) for op in graphs[0]}
    tiles = []
    for graph in graphs:
        some = {op.name: thrift[op.name] for op in graph}
        tiles.append(make_plan(graph, forces, optimize).arena)
        assert make_plan(graph, forces, optimize, thrift=some).arena <= tiles[-1]
    for part in (graphs[:-1], graphs[-1:]):
        some = {op.name: thrift[op.name] for op in part[0]}
        run(part, [codes(g, 3) for g in part], place, tmp_path, forces, optimize, some)


@pytest.mark.parametrize("optimize", ["latency", "flash"])
@pytest.mark.parametrize(("encoding", "kind"), [("dense", "dense"), ("codebook", "levels")])
@pytest.mark.parametrize("place", PLACES)
def test_bands_of_one_row(
    place: str, encoding: str, kind: str, optimize: str, tmp_path: Path
) -> None:
    graphs = layers(kind)
    force = forced(graphs[0], encoding, "conv_dense")
    thrift = {op.name: Thrift(narrow=True) for op in graphs[0]}
    free, narrow = (
        sum(make_plan(g, force, optimize, thrift=t).arena for g in graphs) for t in (None, thrift)
    )
    assert narrow < free
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path, force, optimize, thrift)


def far_layers(kind: str) -> list[QGraph]:
    """Windows whose columns lie far apart: few weights a row, first, last and none among them;
    strides and residuals."""
    out = []
    for i, (n, image, share) in enumerate(
        ((24, (10, 12), 0.02), (40, (4, 8), 0.15), (7, (6, 40), 0.1))
    ):
        c = Chain("f", (n, *image), seed=i, zero=(0, 77)[i % 2])

        def rows(co: int, n: int = n, share: float = share, c: Chain = c) -> np.ndarray:
            w = c.rng.integers(-1, 2, (co, n, 3, 3)) * (c.rng.random((co, n, 3, 3)) < share)
            w[:, -1, -1, -1], w[-1] = 1, 0
            w[0] = 0
            w[0, -1, -1, -1] = -1
            return (w * (1 if kind == "ternary" else c.rng.integers(1, 99, w.shape))).astype(
                np.int8
            )

        c.conv(n, (3, 3), "", pads=(1, 1, 1, 1), weight=rows(n), zero=5)
        c.conv(n, (3, 3), "", pads=(1, 1, 1, 1), weight=rows(n), residual="t0", zero=9)
        c.conv(n + 3, (3, 3), "", (2, 2), (0, 0, 1, 1), weight=rows(n + 3))
        out.append(c.graph)
    return out


@pytest.mark.parametrize("optimize", ["latency", "balanced", "flash"])
@pytest.mark.parametrize("kind", ["ternary", "sparse"])
@pytest.mark.parametrize("place", PLACES)
def test_steps_of_a_byte(place: str, kind: str, optimize: str, tmp_path: Path) -> None:
    graphs = far_layers(kind)
    force = forced(graphs[0], kind, f"conv_{kind}")
    thrift = {op.name: Thrift(short=True) for op in graphs[0]}
    shorter = 0
    for op, graph in ((op, g) for g in graphs for op in g):
        (c,) = candidates(op, graph, only=force[op.name])
        if Thrift(short=True) in c.kernel.thrifty(c.layer):
            short = replace(c.layer, thrift=Thrift(short=True))
            assert c.kernel.table(short).bytes < c.bytes
            shorter += 1
    assert 2 <= shorter < 9
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path, force, optimize, thrift)


def test_what_has_no_column_to_go_by_keeps_its_steps() -> None:
    """One column a plane, and planes of more than 255 bytes."""
    offsets = np.array([0, 400, 800])
    weight = np.array([[1, 0, -1]], np.int8)
    assert short_rows(weight, offsets).size == 0
    assert sparse_rows(weight, offsets, True)[1] == 3
    near = np.array([0, 200, 400])
    over = np.array([[0, 0, 1, -1]], np.int8)  # what goes by 255 leaves the other list behind
    assert short_rows(over, np.array([0, 250, 500, 750])).tolist() == [
        3, 250, 250, 250, 3, 250, 250, 0,
    ]  # fmt: skip
    assert short_rows(weight, near).tolist() == [2, 200, 200, 2, 0, 200]
    assert sparse_rows(weight, near, True)[0].tolist() == [3, 0, 1, 200, 0, 200, 255]


@pytest.mark.parametrize("kind", ["ternary", "sparse"])
@pytest.mark.parametrize("place", PLACES)
def test_the_output_lies_over_an_input_that_is_in_the_band(
    place: str, kind: str, tmp_path: Path
) -> None:
    """One that is smaller than the output, one that is larger, one of a partial tile."""
    graphs = []
    for shape, co, k, stride in (
        ((1, 10, 20), 30, (4, 10), (2, 2)), ((4, 9, 9), 3, (3, 3), (2, 2)),
        ((2, 3, 3), 40, (2, 2), (1, 1)),
    ):  # fmt: skip
        c = Chain("o", shape, seed=co, zero=128)
        c.conv(co, k, kind, stride, (1, 1, 1, 1))
        plan = make_plan(c.graph, kind)
        assert plan.memory.tensors["t0"] == plan.memory.tensors[c.graph.inputs[0]]
        graphs.append(c.graph)
    run(graphs, [codes(g, 4) for g in graphs], place, tmp_path, kind)


@pytest.mark.emulator
@pytest.mark.parametrize(
    ("encoding", "kernel", "kind", "thrift"),
    [("rice_ternary", "conv_ternary", "ternary", Thrift(5)),
     ("rice_sparse", "conv_sparse", "sparse", Thrift(5)),
     ("ternary", "conv_ternary", "ternary", Thrift(narrow=True)),
     ("ternary", "conv_ternary", "ternary", Thrift(short=True)),
     ("sparse", "conv_sparse", "sparse", Thrift(short=True)),
     ("sparse", "conv_sparse", "sparse", Thrift(narrow=True)),
     ("dense", "conv_dense", "dense", Thrift(narrow=True)),
     ("codebook", "conv_dense", "levels", Thrift(narrow=True))],
)  # fmt: skip
@pytest.mark.parametrize("which", [2, 3])
def test_thrift_on_a_cortex_m55(
    which: int, encoding: str, kernel: str, kind: str, thrift: Thrift, tmp_path: Path
) -> None:
    graph = layers(kind)[which]
    plan = make_plan(
        graph, forced(graph, encoding, kernel), thrift={op.name: thrift for op in graph}
    )
    run_c.same_on_vectors(plan, graph, codes(graph, 4), tmp_path)


def residual_net(kind: str) -> QGraph:
    """Like ResNet-8: wide planes first, then layers of many weights."""
    c = Chain("net", (3, 16, 16), seed=3, zero=128)
    c.conv(8, (3, 3), kind, pads=(1, 1, 1, 1))
    c.conv(8, (3, 3), kind, pads=(1, 1, 1, 1))
    c.conv(8, (3, 3), kind, pads=(1, 1, 1, 1), residual="t0")
    for n in (32, 64):
        c.conv(n, (3, 3), kind, (2, 2), (0, 0, 1, 1))
        top = c.top.name
        c.conv(n, (3, 3), kind, pads=(1, 1, 1, 1))
        c.conv(n, (3, 3), kind, pads=(1, 1, 1, 1), residual=top)
    return c.graph


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["ternary", "sparse"])
def test_a_budget_of_ram_is_met_by_unpacking_in_parts(
    kind: str, place: str, tmp_path: Path
) -> None:
    """For hardly more flash, which weights executed where they are stored would take."""
    graph = residual_net(kind)
    force = {op.name: f"rice_{kind}/conv_{kind}" for op in graph}
    free = make_plan(graph, force)
    ram = free.arena * 2 // 3
    plan = make_plan(graph, force, budget=Budget(ram=ram))
    assert plan.arena <= ram
    assert plan.flash < 1.06 * free.flash
    assert "/* output channels */" in plan.library.files["src/net.c"]
    assert free.cycles < plan.cycles < 1.3 * free.cycles
    x = codes(graph, 2)
    (y,) = run_c.on(place, [plan], [x], tmp_path)
    np.testing.assert_array_equal(y, reference.run(graph, x).reshape(len(x), -1))


def keyword_net(kind: str) -> QGraph:
    """Like the keyword spotter: every tensor but the input has 8,000 bytes."""
    c = Chain("net", (1, 10, 49), seed=5, zero=128)
    c.conv(64, (4, 10), kind, (2, 2), (1, 4, 1, 5))
    for _ in range(2):
        c.conv(64, (3, 3), kind, pads=(1, 1, 1, 1), depthwise=True)
        c.conv(64, (1, 1), kind)
    return c.graph


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["ternary", "sparse", "dense", "levels"])
def test_a_budget_of_ram_is_met_by_small_tiles(kind: str, place: str, tmp_path: Path) -> None:
    graph = keyword_net(kind)
    assert make_plan(graph).arena > 9000
    plan = make_plan(graph, budget=Budget(ram=9000))
    assert 8000 < plan.arena <= 9000
    x = codes(graph, 2)
    (y,) = run_c.on(place, [plan], [x], tmp_path)
    np.testing.assert_array_equal(y, reference.run(graph, x).reshape(len(x), -1))
