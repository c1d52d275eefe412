"""Fully connected layers: every kernel on every core gives the reference's bytes, at odd sizes."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest

from secateur import coding
from secateur.codegen.kernels.dense_strings import book, entry, parse
from secateur.codegen.plan import candidates, make_plan, matrix
from secateur.lowering import reference
from secateur.lowering.observe import observe_zeros
from secateur.lowering.qgraph import QGraph

from . import run_c
from .qgraphs import Chain, codes


def layer(cols: int, rows: int, levels: int, density: float, seed: int) -> QGraph:
    """One layer of `levels` distinct weights, zero among them if any is absent."""
    rng = np.random.default_rng(seed)
    book = rng.permutation(np.setdiff1d(np.arange(-127, 128), [0]))[:levels]
    if levels <= 2:
        book = np.array([1, -1])
    weight = rng.choice(book, (rows, cols)) * (rng.random((rows, cols)) < density)
    return Chain("fc", (cols,), seed).dense(rows, "", weight=weight.astype(np.int8)).graph


LAYERS = [
    layer(1, 1, 3, 1.0, 0),
    layer(3, 5, 8, 0.9, 1),
    layer(7, 2, 2, 1.0, 2),
    layer(8, 4, 16, 1.0, 3),
    layer(13, 7, 31, 0.8, 4),
    layer(31, 6, 60, 0.9, 5),
    layer(37, 70, 15, 0.02, 6),  # runs of more than 15 zeros in a column
    layer(259, 5, 14, 0.4, 7),
    layer(20, 300, 3, 0.5, 8),
    layer(300, 9, 2, 0.3, 10),  # three blocks of columns
    layer(9, 530, 2, 0.3, 11),  # three blocks of rows
    layer(1101, 7, 14, 0.9, 9),  # more than 255 pairs of inputs in a row may be 0
]


def test_a_layer_of_every_kind_of_kernel() -> None:
    seen = {c.kernel.name for g in LAYERS for c in candidates(g.ops[0], g)}
    assert seen >= {
        "dense", "dense_skip", "dense_sparse", "dense_ternary", "dense_book", "dense_pairs",
        "dense_live", "dense_columns", "dense_lanes", "dense_signed", "dense_signed_columns",
        "dense_strings",
    }  # fmt: skip


@pytest.mark.parametrize("place", run_c.PLACES)
def test_every_kernel(place: str, tmp_path: Path) -> None:
    plans, inputs, expected = [], [], []
    for g in LAYERS:
        x = codes(g, 3)
        x[1].reshape(-1)[::3] = -128  # code 0, which some kernels pass over
        x[2] = -128
        x[2].reshape(-1)[-1] = 5
        for c in candidates(g.ops[0], g):
            if c.decoder:  # tests/codegen/test_generated_c.py has those
                continue
            graph = deepcopy(g)
            graph.name = f"m{len(plans)}"
            plans.append(make_plan(graph, f"{c.encoding}/{c.kernel.name}"))
            chosen = plans[-1].layers[g.ops[0].name]
            assert (chosen.encoding, chosen.kernel) == (c.encoding, c.kernel.name)
            inputs.append(x)
            expected.append(reference.run(g, x).reshape(len(x), -1))
    got = run_c.on(place, plans, inputs, tmp_path)
    for p, want, y in zip(plans, expected, got, strict=True):
        kernel, fc = next(iter(p.layers.values())), p.library.name
        np.testing.assert_array_equal(y, want, err_msg=f"{fc}: {kernel}")


def test_zeros_seen_in_calibration_move_the_choice() -> None:
    """Inputs that are mostly 0 make the planner take a kernel that passes over them."""
    g = layer(400, 100, 16, 0.3, 9)
    busy = make_plan(g, "columns", "latency")
    g.zero_share = {"x": np.full(400, 0.9)}
    idle = make_plan(g, "columns", "latency")
    (name,) = busy.layers
    assert idle.layers[name].instructions < 0.5 * busy.layers[name].instructions
    chosen = make_plan(g, None, "latency").layers[name].kernel
    assert chosen in ("dense_columns", "dense_skip")


def test_shares_are_those_of_the_codes() -> None:
    g = layer(5, 2, 3, 1.0, 0)
    real = (np.array([[0, 9, 0, 200, 255], [0, 0, 3, 4, 5]]) - 128.0) * g.tensors["x"].scale
    g = observe_zeros(g, real)
    np.testing.assert_array_equal(g.zero_share["x"], [1, 0.5, 0.5, 0, 0])


def test_columns_count_what_they_store() -> None:
    g = layer(259, 5, 14, 0.4, 7)
    w = matrix(g.ops[0])
    assert w is not None
    by_value = coding.get("columns").encode(w)
    by_index = coding.get("columns_codebook").encode(w)
    nnz = int(np.count_nonzero(w))
    assert by_value.stored_bytes == 2 * nnz + 259
    assert by_index.stored_bytes == nnz + 259 + 14


def test_strings_are_a_code() -> None:
    """No string begins another, every row is one way of strings, and entries say what they are."""
    rng = np.random.default_rng(2)
    weight = (rng.choice([-1, 1], (7, 53)) * (rng.random((7, 53)) < 0.2)).astype(np.int8)
    strings = book(8)
    assert len(strings) <= 256
    assert not any(a != b and b[: len(a)] == a for a in strings for b in strings)
    codes = list(parse(weight.tobytes(), 53, 8))
    for row in weight:
        got: list[int] = []
        while len(got) < 53:
            string = strings[codes.pop(0)]
            word = entry(string)
            back = np.zeros(word >> 26, int)
            places = [word >> 8 * k & 255 for k in range(3)]
            for place in filter(None, places):
                back[place // 4 - 1] = -1 if place % 4 else 1
            assert sorted(places, key=bool, reverse=True) == places
            assert tuple(back) == string
            got += string
        np.testing.assert_array_equal(got[:53], row)
        assert not any(got[53:])
    assert not codes
    assert 8 * len(parse(weight.tobytes(), 53, 8)) < 1.2 * weight.size
