"""Dense convolutions' rows of pairs: every width of index and every shape of a row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.geometry import conv_geometry
from secateur.codegen.kernels.pairs import plan, stored_order
from secateur.codegen.plan import Plan, make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QConv, QGraph

from . import run_c
from .qgraphs import Chain, codes

#: (input, kernel, stride, pads): one channel and many, odd and even, rows of words with single
#: weights in them, behind them, and without.
SHAPES = [
    ((1, 7, 9), (5, 5), (1, 1), (2, 2, 2, 2)),
    ((1, 9, 8), (4, 10), (2, 2), (1, 4, 2, 5)),
    ((1, 6, 5), (3, 1), (1, 1), (0, 0, 0, 0)),
    ((3, 6, 6), (3, 3), (1, 1), (1, 1, 1, 1)),
    ((4, 5, 6), (3, 2), (2, 1), (0, 0, 1, 0)),
    ((7, 1, 20), (1, 3), (1, 1), (0, 1, 0, 1)),
    ((1, 3, 5), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((13, 3, 5), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((10, 2, 13), (1, 1), (1, 1), (0, 0, 0, 0)),
    ((16, 3, 7), (1, 1), (1, 1), (0, 0, 0, 0)),
]
LEVELS = {1: 2, 2: 4, 3: 6, 4: 16, 5: 20, 6: 64}


def layers() -> list[tuple[QGraph, str]]:
    """Every shape in every width, and as int8; the number of rows odd and even in turn."""
    out = []
    for i, (shape, k, stride, pads) in enumerate(SHAPES):
        for bits in (*LEVELS, 8):
            rng = np.random.default_rng(100 * i + bits)
            co = 3 + (i + bits) % 4
            size = (co, shape[0], *k)
            book = rng.permutation(np.arange(-127, 128))[: LEVELS.get(bits, 255)]
            weight = rng.choice(book, size).astype(np.int8)
            weight.reshape(-1)[: book.size] = book[: weight.size]
            if bits == 1:
                weight[:, 0, 0, 0] = book[0]  # not one weight without the other in a small layer
            chain = Chain(f"m{len(out)}", shape, i, zero=7 * i).conv(
                co, k, "", stride, pads, weight=weight
            )
            out.append((chain.graph, "dense" if bits == 8 else "codebook"))
    return out


@pytest.mark.parametrize("place", run_c.PLACES)
def test_every_width_and_shape(place: str, tmp_path: Path) -> None:
    plans: list[Plan] = []
    inputs, expected, widths = [], [], set()
    for graph, encoding in layers():
        plans.append(make_plan(graph, f"{encoding}/conv_dense"))
        (layer,) = plans[-1].layers.values()
        assert layer.kernel == "conv_dense"
        assert layer.encoding == encoding
        (encoded,) = plans[-1].encoded.values()
        widths.add(encoded.meta.get("k", 8))
        inputs.append(codes(graph, 3))
        expected.append(reference.run(graph, inputs[-1]).reshape(3, -1))
    assert widths == {*LEVELS, 8}
    got = run_c.on(place, plans, inputs, tmp_path)
    for p, want, y in zip(plans, expected, got, strict=True):
        np.testing.assert_array_equal(y, want, err_msg=p.library.name)


def test_a_word_holds_what_the_band_holds() -> None:
    """Every column once; the two of a word are neighbours in a row, or channels at one place."""
    for graph, _ in layers()[::7]:
        (op,) = graph.ops
        assert isinstance(op, QConv)
        g = conv_geometry(op, graph, 4)
        pairs, singles = stored_order(g, plan(g, crossed=False))
        columns = np.concatenate([pairs.reshape(-1), singles])
        assert sorted(columns) == list(range(g.ci * g.kh * g.kw))
        steps = set(pairs[:, 1] - pairs[:, 0])
        assert steps <= {1 if g.ci == 1 else g.kh * g.kw}


def test_indices_cost_little_more_than_int8() -> None:
    """What is looked up in a table is not unpacked weight by weight: counted in the simulator this
    layer takes 253,495 instructions, int8, whose rows a routine widens, 223,115."""
    rng = np.random.default_rng(0)
    weight = rng.choice(np.arange(-64, 64, 8), (16, 16, 3, 3)).astype(np.int8)
    graph = Chain("m", (16, 12, 12)).conv(16, (3, 3), "", weight=weight).graph
    book = make_plan(graph, "codebook/conv_dense").instructions
    dense = make_plan(graph, "dense/conv_dense").instructions
    assert book < 1.15 * dense


def test_the_stored_bytes_are_the_encodings() -> None:
    """Another order of the indices takes no more room."""
    for graph, encoding in layers():
        p = make_plan(graph, f"{encoding}/conv_dense")
        (name,) = p.layers
        weights = p.library.bytes_of(name) - _requant_bytes(p, name)
        assert weights == p.encoded[name].stored_bytes


def _requant_bytes(p: Plan, name: str) -> int:
    return sum(a.size for a in p.library.arrays[name] if a.name.endswith("_q"))
