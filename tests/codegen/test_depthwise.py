"""Ternary depthwise layers and gathered windows: the reference's bytes in every place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.plan import candidates, make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph, Requant

from . import run_c
from .qgraphs import Chain, Pads, codes
from .test_limits import PLACES, lane_rows, run, whole

FORCE = "ternary/depthwise_ternary"
#: image, kernel, stride, pads: rows of one strip and of several, columns that are no multiple of
#: four (one left over, more), phases, a kernel past a byte's reach, one that is a single tap
SHAPES: tuple[tuple[tuple[int, int], tuple[int, int], tuple[int, int], Pads], ...] = (
    ((5, 25), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((12, 8), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((13, 11), (3, 3), (2, 2), (0, 0, 1, 1)),
    ((9, 40), (7, 5), (1, 1), (3, 2, 3, 2)),
    ((6, 22), (2, 4), (3, 3), (1, 2, 0, 1)),
    ((3, 4), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((4, 33), (1, 1), (1, 2), (0, 0, 0, 0)),
    ((13, 9), (3, 3), (1, 1), (1, 1, 1, 1)),
)


def layers() -> list[QGraph]:
    """Every shape with thin and full taps, padding of either kind, and channels of one sign."""
    out = []
    for i, (image, k, stride, pads) in enumerate(SHAPES):
        c = Chain("d", (9, *image), seed=i, zero=(0, 77)[i % 2])
        weight = (c.rng.integers(-1, 2, (9, 1, *k)) * (c.rng.random((9, 1, *k)) < 0.4)).astype("i1")
        weight[0] = 0
        weight[1], weight[2] = np.abs(weight[1]), -np.abs(weight[2])
        weight[3, 0, 0, 0], weight[4, 0, -1, -1] = -1, 1
        out.append(c.conv(9, k, "", stride, pads, depthwise=True, weight=weight).graph)
    return out


@pytest.mark.parametrize("optimize", ["balanced", "flash"])
@pytest.mark.parametrize("place", PLACES)
def test_ternary_depthwise_layers(place: str, optimize: str, tmp_path: Path) -> None:
    graphs = layers()
    for g in graphs:
        assert make_plan(g, FORCE).layers["conv0"].kernel == "depthwise_ternary"
    run(graphs, [codes(g, 4) for g in graphs], place, tmp_path, FORCE, optimize)


@pytest.mark.emulator
def test_ternary_depthwise_layers_on_a_cortex_m55(tmp_path: Path) -> None:
    """Eight columns at a time."""
    graphs = layers()
    texts = run_c.same_on_qemu(graphs, FORCE, tmp_path)
    assert all("_vectors(" in text for text in texts)
    assert any("sc_codes8(" in text for text in texts)


@pytest.mark.parametrize("place", PLACES)
def test_depthwise_lanes_hold_128_ones_of_each_sign(place: str, tmp_path: Path) -> None:
    """128 taps on code 255 make 32640 of either sign, the most a lane is allowed."""
    weight = lane_rows(256, 128).reshape(6, 1, 16, 16)
    c = Chain("lanes", (6, 17, 20), zero=0)
    c.conv(6, (16, 16), "", depthwise=True, weight=weight, requant=whole(32640, 257, 15))
    x = codes(c.graph, 3)
    x[0], x[1], x[2] = 127, -128, -128
    x[1, :8] = 127  # the first eight rows: all of one sign's taps
    y = reference.run(c.graph, x)
    assert (y.min(), y.max()) == (-128, 127)
    run([c.graph], [x], place, tmp_path, FORCE)


def test_what_a_depthwise_lane_or_multiplier_cannot_hold_is_refused() -> None:
    def kernels(weight: np.ndarray, multiplier: int) -> set[str]:
        c = Chain("wide", (2, 16, 20), zero=0)
        requant = Requant(np.full(2, multiplier, np.int16), np.zeros(2, np.int32), 16, 7)
        c.conv(2, (12, 12), "", depthwise=True, weight=weight, requant=requant)
        return {x.kernel.name for x in candidates(c.graph.ops[0], c.graph)}

    weight = np.zeros((2, 1, 12, 12), np.int8)
    weight[0, 0].flat[:128] = -1
    assert "depthwise_ternary" in kernels(weight, 5)
    assert "depthwise_ternary" not in kernels(weight, -32768)  # 32768 is no int16
    weight[0, 0].flat[128] = -1
    assert "depthwise_ternary" not in kernels(weight, 5)


@pytest.mark.parametrize("place", PLACES)
def test_one_routine_makes_the_rows_of_several_layers(place: str, tmp_path: Path) -> None:
    """Planned for flash: layers of other sizes, shifts and units call the same code, a layer whose
    codes leave a lane before they are clamped its own."""
    c = Chain("several", (12, 5, 27), zero=0)
    for co, multiplier, offset, shift in (
        (20, 5, 128 << 9, 9), (33, 77, 3, 11), (8, 900, 1 << 20, 15), (9, 32600, 12345, 9),
    ):  # fmt: skip
        weight = c.rng.integers(-1, 2, (co, c.top.shape[0], 1, 1)).astype(np.int8)
        m = (multiplier + np.arange(co)).astype(np.int16)
        offsets = np.full(co, offset, np.int32)
        c.conv(co, (1, 1), "", weight=weight, requant=Requant(m, offsets, 0, shift))
    forced = {op.name: "ternary/conv_ternary" for op in c.graph}
    text = make_plan(c.graph, forced, "flash").library.files[f"src/{c.graph.name}.c"]
    assert text.count("naked, noinline)) static void ternary_tile") == 2
    assert text.count("ternary_tile8_x16_small(rows") == 3
    run([c.graph], [codes(c.graph, 3)], place, tmp_path, forced, "flash")


@pytest.mark.parametrize("place", PLACES)
def test_rows_are_split_by_words_between_their_padding(place: str, tmp_path: Path) -> None:
    """A stride of 2: rows of eight bytes and others, even and odd, padded by 77 on no side, on one
    and on both; rows of a stride of 1 with margins of a word and more; a phase that is cut off."""
    graphs = []
    for i, (w, left, right, stride) in enumerate((
        (8, 0, 1, 2), (9, 1, 1, 2), (16, 1, 0, 2), (31, 0, 0, 2), (40, 2, 3, 2), (18, 1, 0, 1),
        (21, 7, 9, 1),
    )):  # fmt: skip
        c = Chain("split", (5, 7, w), seed=i, zero=77)
        c.conv(18, (3, 9 if left > 2 else 3), "ternary", (stride, stride), (1, left, 1, right))
        graphs.append(c.graph)
    cut = Chain("cut", (5, 9, 35), seed=9, zero=77)
    graphs.append(cut.conv(18, (2, 2), "ternary", (2, 2), (0, 0, 1, 0)).graph)
    texts = [make_plan(g, "ternary").library.files[f"src/{g.name}.c"] for g in graphs]
    assert sum("sc_split(" in text for text in texts) >= 5
    for optimize in ("balanced", "flash"):
        folder = tmp_path / optimize
        folder.mkdir()
        run(graphs, [codes(g, 3) for g in graphs], place, folder, "ternary", optimize)


@pytest.mark.parametrize("place", PLACES)
def test_windows_of_few_inputs_are_gathered(place: str, tmp_path: Path) -> None:
    """Rows that tiles run over, with strides and padding or neither, and a residual."""
    first = Chain("first", (1, 10, 49), zero=216)
    first.conv(20, (4, 10), "ternary", (2, 2), (1, 4, 1, 5))
    plain = Chain("plain", (2, 9, 24), seed=1, zero=9)
    plain.conv(24, (3, 5), "ternary")
    twice = Chain("twice", (3, 8, 18), seed=2).conv(12, (1, 1), "ternary")
    twice.conv(2, (1, 1), "ternary").conv(12, (3, 3), "ternary", pads=(1, 1, 1, 1), residual="t0")
    graphs = [first.graph, plain.graph, twice.graph]
    for g in graphs:
        text = make_plan(g, "ternary").library.files[f"src/{g.name}.c"]
        assert "gather_" in text
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path, "ternary")
