"""Depthwise layers along a line: the reference's bytes in every place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.kernels.depthwise_line import TAPS
from secateur.codegen.plan import candidates, make_plan
from secateur.lowering.qgraph import QGraph

from .qgraphs import Chain, Pads, codes
from .run_c import same_on_vectors
from .test_limits import PLACES, run

NAME = "depthwise_line"


def _layer(
    image: tuple[int, int], k: tuple[int, int], pads: Pads = (0, 0, 0, 0), kind: str = "int8"
) -> QGraph:
    c = Chain("line", (5, *image), seed=sum(image) + sum(k), zero=77 if any(pads) else 0)
    return c.conv(5, k, kind, (1, 1), pads, depthwise=True).graph


def layers() -> list[QGraph]:
    """Every number of taps and of outputs that a block may have, along either axis, padded and
    not."""
    out = [_layer((t + n - 1, 1), (t, 1)) for t in range(2, TAPS + 1) for n in (1, 2, 3, 7, 13)]
    out += [_layer((1, t + 300), (1, t)) for t in (2, 3, 9, 16)]
    out += [_layer((n, 1), (t, 1), (t - 1, 0, 0, 0)) for t, n in ((3, 1), (4, 30), (11, 6))]
    out += [_layer((1, 45), (1, t), (0, t // 2, 0, t // 3)) for t in (5, 6, 7, 8)]
    return out


@pytest.mark.parametrize("optimize", ["balanced", "flash"])
@pytest.mark.parametrize("place", PLACES)
def test_lines_of_every_length(place: str, optimize: str, tmp_path: Path) -> None:
    graphs = layers()
    for g in graphs:
        assert make_plan(g, f"dense/{NAME}", optimize).layers["conv0"].kernel == NAME
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path, f"dense/{NAME}", optimize)


@pytest.mark.parametrize("place", PLACES)
def test_lines_whose_weights_are_unpacked(place: str, tmp_path: Path) -> None:
    graphs = [_layer((20, 1), (6, 1), p, "levels") for p in ((0, 0, 0, 0), (2, 0, 3, 0))]
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path, f"codebook/{NAME}")


@pytest.mark.parametrize("place", PLACES)
def test_a_line_is_made_over_its_input(place: str, tmp_path: Path) -> None:
    """One layer behind the other, the sums as large as they become."""
    c = Chain("over", (9, 40, 1), zero=0)
    for taps in (10, 5, 15, 3):
        weight = np.full((9, 1, taps, 1), 127, np.int8)
        weight[1], weight[2, ::2], weight[3, 0] = -128, -128, 0
        c.conv(9, (taps, 1), "", depthwise=True, weight=weight)
    plan = make_plan(c.graph, f"dense/{NAME}")
    assert plan.arena < 2 * 9 * 40
    x = codes(c.graph, 4)
    x[0], x[1] = 127, -128
    run([c.graph], [x], place, tmp_path, f"dense/{NAME}")


@pytest.mark.emulator
def test_lines_on_a_cortex_m55(tmp_path: Path) -> None:
    graph = _layer((1, 40), (1, 7), (0, 3, 0, 3))
    same_on_vectors(make_plan(graph, f"dense/{NAME}"), graph, codes(graph, 4), tmp_path)


def test_what_is_no_line_of_few_taps_is_left_to_others() -> None:
    def kernels(image: tuple[int, int], k: tuple[int, int], stride: int = 1) -> set[str]:
        c = Chain("other", (3, *image)).conv(3, k, "int8", (stride, stride), depthwise=True)
        return {x.kernel.name for x in candidates(c.graph.ops[0], c.graph)}

    assert NAME in kernels((30, 1), (TAPS, 1))
    assert NAME not in kernels((30, 1), (TAPS + 1, 1))
    assert NAME not in kernels((30, 1), (3, 1), 2)
    assert NAME not in kernels((30, 2), (3, 1))
    assert NAME not in kernels((30, 1), (1, 1))
