"""Dense convolutions and strided depthwise layers of cores with dual multiply-accumulate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.kernels.dots import Walk
from secateur.codegen.plan import make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph

from . import run_c
from .qgraphs import Chain, Pads, codes
from .test_limits import PLACES, run

NONE: Pads = (0, 0, 0, 0)
SAME: Pads = (1, 1, 1, 1)

#: input, output channels, kernel, stride, pads: what is left of a row or of the last tile is made
#: again, in pairs, alone; odd channels; tiles of several lengths; rows widened by words or not
DENSE: tuple[tuple[tuple[int, int, int], int, tuple[int, int], tuple[int, int], Pads], ...] = (
    ((8, 9, 14), 6, (1, 1), (1, 1), NONE),
    ((12, 5, 5), 4, (1, 1), (1, 1), NONE),
    ((6, 3, 3), 4, (1, 1), (1, 1), NONE),
    ((5, 1, 3), 2, (1, 1), (1, 1), NONE),
    ((7, 1, 2), 2, (1, 1), (1, 1), NONE),
    ((64, 1, 1), 2, (1, 1), (1, 1), NONE),
    ((16, 7, 10), 8, (1, 1), (1, 1), NONE),
    ((40, 13, 5), 4, (1, 1), (1, 1), NONE),
    ((40, 5, 7), 4, (1, 1), (1, 1), NONE),
    ((4, 8, 12), 6, (3, 3), (1, 1), SAME),
    ((3, 13, 13), 4, (3, 3), (2, 2), (0, 0, 1, 1)),
    ((3, 12, 14), 4, (3, 3), (2, 2), SAME),
    ((6, 9, 9), 4, (1, 1), (2, 2), NONE),
    ((2, 7, 6), 2, (2, 3), (1, 2), (1, 1, 0, 1)),
    ((9, 4, 3), 2, (3, 3), (1, 1), SAME),
    ((1, 10, 49), 4, (4, 10), (2, 2), (1, 4, 1, 5)),
    ((2, 6, 70), 2, (5, 5), (1, 1), (2, 2, 2, 2)),
    ((3, 9, 10), 4, (3, 3), (1, 1), SAME),
    ((3, 6, 5), 2, (2, 3), (1, 1), NONE),
    ((3, 9, 7), 4, (3, 2), (2, 2), (1, 1, 0, 1)),
    ((3, 33, 35), 4, (3, 3), (2, 2), SAME),
    ((3, 5, 4), 2, (3, 3), (1, 1), (0, 2, 0, 0)),
    ((5, 7, 18), 4, (2, 2), (1, 1), (0, 0, 1, 1)),
    ((50, 3, 3), 2, (1, 1), (1, 1), NONE),
    ((46, 1, 6), 4, (1, 1), (1, 1), NONE),
    ((49, 1, 3), 4, (1, 1), (1, 1), NONE),
    ((130, 3, 9), 32, (1, 1), (1, 1), NONE),
    ((80, 3, 3), 64, (1, 1), (1, 1), NONE),
)

#: image, pads of a 3x3 depthwise layer of stride 2
STRIDED: tuple[tuple[tuple[int, int], Pads], ...] = (
    ((13, 11), (0, 0, 1, 1)), ((12, 12), (0, 0, 1, 1)), ((9, 8), SAME), ((5, 5), NONE),
    ((3, 5), NONE), ((3, 3), NONE), ((22, 4), (1, 1, 0, 0)),
)  # fmt: skip


def dense_layers() -> list[QGraph]:
    """Every shape, and pairs of layers with a residual, of planes that end in each way."""
    out = []
    for i, (shape, co, k, stride, pads) in enumerate(DENSE):
        c = Chain("d", shape, seed=i, zero=(0, 77)[i % 2])
        out.append(c.conv(co, k, ("int8", "extreme")[i % 2], stride, pads).graph)
    for shape in ((6, 5, 7), (4, 6, 8), (6, 3, 2), (6, 13, 3)):
        c = Chain("r", shape, seed=9, zero=3).conv(8, (3, 3), "int8", pads=SAME)
        c.conv(8, (1, 1), "int8", residual="t0", zero=5)
        out.append(c.conv(8, (3, 3), "int8", pads=SAME, residual="t1").graph)
    return out


def strided_layers() -> list[QGraph]:
    """Every image, and a plane of one row without stride."""
    out = []
    for i, (image, pads) in enumerate(STRIDED):
        c = Chain("s", (5, *image), seed=i, zero=(0, 200)[i % 2])
        out.append(c.conv(5, (3, 3), "int8", (2, 2), pads, depthwise=True).graph)
    for zero in (0, 9):
        c = Chain("s", (5, 1, 7), seed=zero, zero=zero)
        out.append(c.conv(5, (3, 3), "int8", pads=SAME, depthwise=True).graph)
    return out


@pytest.mark.parametrize("optimize", ["balanced", "latency", "flash"])
@pytest.mark.parametrize("place", PLACES)
def test_dense_convolutions(place: str, optimize: str, tmp_path: Path) -> None:
    """Words of a tile are written out in several numbers, or looped over."""
    graphs = dense_layers()
    x = [codes(g, 3) for g in graphs]
    run(graphs, x, place, tmp_path, "dense/conv_dense", optimize)


def test_words_before_a_loop() -> None:
    """As many turns as the words written out ask for, and none is left out."""
    for words in range(1, 300):
        for most in (10, 20):
            r = Walk.of(words, most)
            assert r.head + r.turn * r.turns == words
            assert r.head > 0
            assert r.head + r.turn <= max(most, 2)
            assert (r.turns == 0) == (words <= most)


def test_three_channels_take_fifteen_words() -> None:
    """The third one's taps are pairs of neighbours; rows of weights are widened once."""
    c = Chain("d", (3, 33, 35), seed=4, zero=5)
    graph = c.conv(4, (3, 3), "int8", (2, 2), SAME).graph
    text = make_plan(graph, "dense/conv_dense", "latency").library.files["src/d.c"]
    assert "dots4_15_" in text
    assert "widened + co" in text


@pytest.mark.parametrize("place", PLACES)
def test_three_channels_in_a_chain(place: str, tmp_path: Path) -> None:
    """Rows of a ring hold the lone channel's words, too."""
    graphs = []
    for stride in (1, 2):
        c = Chain("c", (4, 20, 22), seed=stride, zero=4).conv(3, (3, 3), "int8", pads=SAME)
        graph = c.conv(4, (3, 3), "int8", (stride, stride), SAME).graph
        graphs.append(graph)
    plans = []
    for i, g in enumerate(graphs):
        g.name = f"c{i}"
        plans.append(make_plan(g, "dense/conv_dense", "latency", chains=[("conv0", "conv1", 2, 2)]))
    x = [codes(g, 3) for g in graphs]
    for g, a, y in zip(graphs, x, run_c.on(place, plans, x, tmp_path), strict=True):
        expected = reference.run(g, a).reshape(len(a), -1)
        np.testing.assert_array_equal(y, expected)
    assert "_ring" in plans[0].library.files["src/c0.c"]


@pytest.mark.parametrize("place", PLACES)
def test_strided_depthwise_layers(place: str, tmp_path: Path) -> None:
    graphs = strided_layers()
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path, "dense/depthwise")


def test_the_forms_are_there() -> None:
    """Rows of several lengths are made by routines for four, two and one pixel."""
    texts = [make_plan(g, "dense/conv_dense").library.files["src/d.c"] for g in dense_layers()[:8]]
    assert all("dots" in t for t in texts)
    assert "dots1_" in texts[2]
    assert "dots2_" in texts[3]
    assert "dots1_" not in texts[1]
    strided = [make_plan(g).library.files["src/s.c"] for g in strided_layers()[:7]]
    assert ["strips_3x3s22" in t for t in strided] == [True, True, True, True, True, False, True]
