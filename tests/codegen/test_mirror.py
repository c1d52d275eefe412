"""Ternary rows over tiles and their mirrors: the reference's bytes in every place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.plan import candidates, make_plan
from secateur.coding import get
from secateur.coding.mirrored import numbers_of, weights_of
from secateur.errors import StreamError
from secateur.lowering.qgraph import QGraph

from .qgraphs import Chain, codes
from .run_c import same_on_vectors
from .test_limits import PLACES, lane_rows, run, whole

KERNELS = ("conv_ternary_mirror", "conv_ternary_mirror12")
ENCODINGS = ("ternary", "patched_ternary")

#: channels of a square layer, image, share of weights that are there: fewer pixels than a tile,
#: tiles that share one, three, four and eleven pixels with the one before and none; few columns and
#: many turns of them, steps of more than a byte
SHAPES = (
    (1, (1, 1), 1.0),
    (5, (2, 2), 0.5),
    (40, (3, 3), 0.3),
    (12, (5, 5), 0.3),
    (9, (6, 6), 0.2),
    (64, (5, 25), 0.2),
    (20, (7, 7), 0.2),
    (90, (4, 8), 0.5),
    (260, (1, 20), 0.02),
)


def rows(c: Chain, co: int, share: float) -> np.ndarray:
    """Ternary weights with rows without any, of one sign only, of one weight."""
    w = c.rng.choice([-1, 1], (co, c.top.shape[0])) * (c.rng.random((co, c.top.shape[0])) < share)
    for i, row in enumerate((0, np.abs(w[0]), -np.abs(w[-1]), 0)[: co - 1]):
        w[i] = row
    if co > 4:
        w[3, -1], w[4, 0] = -1, 1
    return w.astype(np.int8).reshape(co, -1, 1, 1)


def layers() -> list[QGraph]:
    """Of each shape a layer over its input, one with a residual, one of other channels."""
    out = []
    for i, (channels, image, share) in enumerate(SHAPES):
        c = Chain("m", (channels, *image), seed=i, zero=(0, 77)[i % 2])
        c.conv(channels, (1, 1), "", weight=rows(c, channels, share), zero=3)
        c.conv(channels, (1, 1), "", weight=rows(c, channels, share), zero=9)
        c.conv(channels, (1, 1), "", weight=rows(c, channels, share), residual="t0")
        out.append(c.conv(channels + 3, (1, 1), "", weight=rows(c, channels + 3, share)).graph)
    return out


def force(graph: QGraph, encoding: str, kernel: str) -> dict[str, str]:
    """Every layer in that encoding, where it is small enough, by that kernel."""
    return {op.name: f"{encoding}/{kernel}" for op in graph}


@pytest.mark.parametrize("optimize", ["latency", "balanced", "flash"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("place", PLACES)
def test_mirrors_are_added(
    place: str, encoding: str, kernel: str, optimize: str, tmp_path: Path
) -> None:
    graphs = layers()
    if encoding == "patched_ternary":
        del graphs[-1]  # steps of two bytes
    forced = force(graphs[0], encoding, kernel)
    for graph in graphs:
        found = make_plan(graph, forced, optimize).layers.values()
        assert {(x.encoding, x.kernel) for x in found} == {(encoding, kernel)}
    run(graphs, [codes(g, 4) for g in graphs], place, tmp_path, forced, optimize)


@pytest.mark.parametrize("place", PLACES)
def test_windows_are_gathered_with_their_mirrors(place: str, tmp_path: Path) -> None:
    graphs = []
    for i, (shape, k, stride, pads) in enumerate((
        ((1, 9, 40), (3, 3), (2, 2), (1, 1, 1, 1)),
        ((3, 8, 20), (2, 4), (1, 1), (0, 0, 0, 0)),
        ((1, 12, 50), (4, 5), (1, 3), (1, 2, 2, 1)),
    )):  # fmt: skip
        c = Chain("g", shape, seed=i, zero=(0, 77)[i % 2])
        graphs.append(c.conv(64, k, "ternary", stride, pads).graph)
    forced = {"conv0": f"ternary/{KERNELS[0]}"}
    for g in graphs:
        assert "_mirror(uint8_t *tile" in make_plan(g, forced).library.files["src/g.c"]
    run(graphs, [codes(g, 4) for g in graphs], place, tmp_path, forced)


@pytest.mark.emulator
@pytest.mark.parametrize("which", [2, 5, 7])
def test_mirrors_are_added_on_a_cortex_m55(which: int, tmp_path: Path) -> None:
    graph = layers()[which]
    plan = make_plan(graph, force(graph, "patched_ternary", KERNELS[0]), "latency")
    same_on_vectors(plan, graph, codes(graph, 4), tmp_path)


@pytest.mark.parametrize("optimize", ["balanced", "flash"])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("place", PLACES)
def test_lanes_hold_128_mirrors_and_128_columns(
    place: str, kernel: str, optimize: str, tmp_path: Path
) -> None:
    """Sums of +-32640, the most a lane is allowed, of 256 that a row adds."""
    c = Chain("lanes", (256, 5, 7), zero=0)
    c.conv(6, (1, 1), "", weight=lane_rows(256, 128).reshape(6, 256, 1, 1),
           requant=whole(32640, 257, 15))  # fmt: skip
    x = codes(c.graph, 6)
    x[2], x[3] = -128, -128
    x[2, ..., :128], x[3, ..., 128:] = 127, 127
    run([c.graph], [x], place, tmp_path, {"conv0": f"ternary/{kernel}"}, optimize)


def test_the_numbers_of_rows_are_the_weights_again() -> None:
    """And what is no matrix is refused."""
    w = np.array([[0, 0, 0], [1, 0, -1], [-1, -1, 0]], np.int8)
    numbers = numbers_of(w)
    assert numbers.tolist() == [1, 1, 0, 1, 1, 1, 0, 5, 1, 2, 1, 2]
    assert np.array_equal(weights_of(numbers, 3, 3), w)
    with pytest.raises(StreamError, match="1 numbers behind the last row"):
        weights_of(np.append(numbers, 0), 3, 3)
    for at, value, why in ((0, 10, "row 0 ends"), (5, 2, "not 2 mirrors"), (7, 6, "leave it")):
        damaged = numbers.copy()
        damaged[at] = value
        with pytest.raises(StreamError, match=why):
            weights_of(damaged, 3, 3)


def test_what_no_kernel_reads_in_an_encoding_is_free() -> None:
    """Windows are not unpacked from patched nibbles: forced for a whole network, they leave such a
    layer as it would be; for the layer alone, they are an error."""
    c = Chain("free", (24, 6, 6))
    c.conv(24, (3, 3), "ternary", pads=(1, 1, 1, 1))
    c.conv(24, (1, 1), "ternary")
    kernels = {x.kernel.name for x in candidates(c.graph.ops[0], c.graph, only="patched_ternary")}
    assert kernels == {x.kernel.name for x in candidates(c.graph.ops[0], c.graph)}
    plan = make_plan(c.graph, "patched_ternary").layers
    assert plan["conv0"].encoding != "patched_ternary"
    assert plan["conv1"].encoding == "patched_ternary"
    assert get("patched_ternary").decoder is None
