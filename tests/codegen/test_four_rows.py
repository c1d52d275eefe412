"""Four rows at a time: lanes and blocks give the reference's bytes at every size, to codes and to
the 16 bits of a recurrent layer's sums, however they are written."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.kernels import Layer, get
from secateur.codegen.plan import Plan, make_plan
from secateur.lowering import reference
from secateur.lowering.operators.recurrent import QNarrow
from secateur.lowering.qgraph import QDense, QGraph, QSums, QTensor, ShortRequant

from . import run_c
from .qgraphs import Chain, codes

#: (columns, rows): fours and eights that are left over, one turn, several, none.
SHAPES = [
    (1, 4), (4, 8), (7, 64), (8, 12), (12, 64), (18, 4), (31, 8), (64, 64), (66, 4), (72, 64),
    (96, 12), (130, 64), (300, 8),
]  # fmt: skip
KERNELS = {"dense_lanes": "dense", "dense_blocks": "sparse"}


def blocks(cols: int, rows: int, share: float, seed: int, most: int) -> np.ndarray:
    """int8 weights of which whole blocks of two columns and four rows are 0; one group of four rows
    has none at all."""
    rng = np.random.default_rng(seed)
    keep = rng.random((rows // 4, -(-cols // 2))) < share
    keep[0] = False
    mask = np.repeat(np.repeat(keep, 4, axis=0), 2, axis=1)[:, :cols]
    return (rng.integers(-most, most + 1, (rows, cols)) * mask).astype(np.int8)


def layer(cols: int, rows: int, share: float, most: int = 127) -> QGraph:
    """One layer."""
    weight = blocks(cols, rows, share, cols, most)
    return Chain("fc", (cols,), 3).dense(rows, "", weight=weight).graph


def sums(graph: QGraph) -> QGraph:
    """The same to 16 bits, then to codes."""
    (op,) = graph.ops
    assert isinstance(op, QDense)
    r, y = op.requant, graph.tensors[op.output]
    middle = QTensor("middle", y.shape, 1.0, 0, dtype="int16")
    graph.tensors[middle.name] = middle
    short = ShortRequant(r.multiplier, r.offset, r.pre_shift, max(1, r.shift - 6))
    graph.ops = [
        QSums("sums", op.inputs, middle.name, op.weight, short),
        QNarrow("narrow", (middle.name,), op.output, 8192, 128 << 16, 16),
    ]
    return graph


def graphs() -> Iterator[QGraph]:
    for i, (cols, rows) in enumerate(SHAPES):
        for share in (1.0, 0.3):
            graph = layer(cols, rows, share, 3 if i % 4 == 0 else 127)
            yield graph
            yield sums(deepcopy(graph))


def plans() -> Iterator[tuple[Plan, QGraph]]:
    """Every kernel on every graph, written for speed and for size."""
    for number, graph in enumerate(graphs()):
        for kernel, encoding in KERNELS.items():
            for optimize in ("latency", "flash"):
                g = replace(deepcopy(graph), name=f"m{number}_{kernel}_{optimize}")
                name = g.ops[0].name
                p = make_plan(g, {name: f"{encoding}/{kernel}"}, optimize, max_slowdown=50.0)
                assert p.layers[name].kernel == kernel
                yield p, g


@pytest.mark.parametrize("place", run_c.PLACES)
def test_bytes_of_the_reference(place: str, tmp_path: Path) -> None:
    made = [m for i, m in enumerate(plans()) if place in ("host", "cortex-m4") or i % 5 == 0]
    inputs = [codes(g, 3) for _, g in made]
    expected = [
        reference.run(g, x).reshape(len(x), -1) for (_, g), x in zip(made, inputs, strict=True)
    ]
    libraries = [p for p, _ in made]
    got = run_c.on(place, libraries, inputs, tmp_path)
    for p, want, y in zip(libraries, expected, got, strict=True):
        np.testing.assert_array_equal(y, want, err_msg=p.library.name)


def test_blocks_count_what_they_store() -> None:
    graph = layer(64, 64, 0.3)
    op = graph.ops[0]
    assert isinstance(op, QDense)
    there = (op.weight.reshape(16, 4, 32, 2) != 0).any(axis=(1, 3)).sum()
    table = get("dense_blocks").table(Layer(op, graph))
    # eight weights and a byte a block; a byte, and six words of constants, of four rows
    assert table.bytes == 9 * there + 16 * (1 + 24)


def test_blocks_are_taken_where_zeros_come_in_blocks() -> None:
    graph = layer(96, 64, 0.2)
    assert make_plan(graph, None, "balanced").layers[graph.ops[0].name].kernel == "dense_blocks"
    op = graph.ops[0]
    assert isinstance(op, QDense)
    op.weight = np.random.default_rng(0).permutation(op.weight.reshape(-1)).reshape(64, 96)
    assert make_plan(graph, None, "balanced").layers[op.name].kernel != "dense_blocks"
