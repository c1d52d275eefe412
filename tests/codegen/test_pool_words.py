"""Maximum pooling by words: every width, height and rest of a row, the reference's bytes in every
place, over the input where the memory plan puts it there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.kernels.pool_words import PoolWords
from secateur.codegen.plan import candidates
from secateur.lowering.qgraph import QGraph

from . import run_c
from .qgraphs import Chain, codes
from .test_limits import PLACES, run

NONE = (0, 0, 0, 0)


def pools() -> list[QGraph]:
    """Behind the input, and behind a convolution, whose tensor it may overwrite."""
    out = []
    for i, (kh, kw, sy) in enumerate(
        ((2, 2, 2), (1, 2, 1), (3, 2, 2), (2, 1, 2), (3, 1, 3), (1, 4, 1), (2, 4, 3), (2, 2, 1))
    ):
        for w in (kw, 3 * kw, 7 * kw, 9 * kw + 1, 12 * kw, 6 * kw):
            c = Chain("p", (3, 3 * sy + kh, max(w, 2)), seed=i, zero=(0, 77)[i % 2])
            if w % 2:
                c.conv(5, (1, 1), "int8", zero=3)
            out.append(c.max_pool((kh, kw), (sy, kw), NONE).graph)
    return out


@pytest.mark.parametrize("place", PLACES)
def test_windows_side_by_side(place: str, tmp_path: Path) -> None:
    graphs = pools()
    some = [PoolWords.of(c.layer) for g in graphs for c in candidates(g.ops[-1], g)]
    assert {w and (w.fours > 0, w.two, w.rest) for w in some} >= {
        (True, False, 0), (True, True, 0), (True, True, 1), (False, True, 1), (True, False, 2),
        (True, False, 3), None,
    }  # fmt: skip
    run(graphs, [codes(g, 3) for g in graphs], place, tmp_path)


@pytest.mark.parametrize("place", PLACES)
def test_bytes_at_their_ends(place: str, tmp_path: Path) -> None:
    """No byte carries into its neighbour."""
    graph = Chain("p", (4, 6, 24), zero=0).max_pool((2, 2), (2, 2), NONE).graph
    x = np.random.default_rng(0).choice(
        np.array([-128, -1, 0, 127], np.int8), codes(graph, 4).shape
    )
    run([graph], [x], place, tmp_path)


@pytest.mark.emulator
def test_on_a_cortex_m55(tmp_path: Path) -> None:
    for i, graph in enumerate(pools()[:6]):
        plan = run_c.plan(graph, f"m{i}")
        run_c.same_on_vectors(plan, graph, codes(graph, 3), tmp_path / str(i))
