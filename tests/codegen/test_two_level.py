"""Rows of two values: the split into the frequent and the rarer one, and worst cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur.codegen.plan import make_plan
from secateur.coding.two_level import two_levels
from secateur.lowering import reference

from .qgraphs import Chain, codes
from .test_limits import PLACES, run


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 60))
def test_the_split_makes_the_weights(seed: int, rows: int, cols: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.integers(-2, 3, (2, rows, 1))
    w = np.where(rng.random((rows, cols)) < rng.random(), a, b).astype(np.int8)
    split = two_levels(w)
    frequent = [np.bincount(row.astype(int) + 2).argmax() - 2 for row in w]
    if split is None:
        assert all(np.sum(row == 0) * 2 >= cols for row in w)
        return
    made = np.where(split.mask != 0, split.rare[:, None], split.base[:, None])
    np.testing.assert_array_equal(made, w)
    assert (2 * split.mask.sum(axis=1) <= cols).all()
    assert all(
        f == base or 2 * np.sum(row == base) == cols
        for f, base, row in zip(frequent, split.base, w, strict=True)
    )


def test_three_values_or_only_zeros_and_one_more_are_refused() -> None:
    assert two_levels(np.array([[1, 2, 3]], np.int8)) is None
    assert two_levels(np.array([[0, 0, 5], [0, 7, 0]], np.int8)) is None
    assert two_levels(np.array([[0, 0, 5], [7, 7, 0]], np.int8)) is not None


@pytest.mark.parametrize("place", PLACES)
def test_lanes_at_their_limits(place: str, tmp_path: Path) -> None:
    """128 rarer values (32640 in a lane), 127 against -127, more inputs than a lane holds."""
    graphs, inputs = [], []
    for k, pads in (((1, 1), (0, 0, 0, 0)), ((2, 2), (1, 0, 0, 1))):
        for cols in (256, 600):
            w = np.full((6, cols), -127, np.int8)
            w[0, :128], w[1, -128:], w[2, ::5] = 127, 127, 127
            w[3], w[4, 3], w[5] = 127, 127, -1
            c = Chain(f"two{len(graphs)}", (cols // (k[0] * k[1]), 5, 7), seed=cols, zero=0)
            c.conv(6, k, "", pads=pads, weight=w.reshape(6, -1, *k))
            assert make_plan(c.graph, "two_level").layers["conv0"].kernel == "conv_two_level"
            graphs.append(c.graph)
            inputs.append(codes(c.graph, 4))
    y = np.concatenate([reference.run(g, x).ravel() for g, x in zip(graphs, inputs, strict=True)])
    assert len(np.unique(y)) > 50
    run(graphs, inputs, place, tmp_path, "two_level")


def test_the_129th_rarer_value_is_refused() -> None:
    w = np.full((2, 300), -1, np.int8)
    w[0, :128] = 3
    for more, kernel in ((0, True), (1, False)):
        w[0, 128] = 3 if more else -1
        c = Chain("two", (300, 4, 4), zero=0)
        c.conv(2, (1, 1), "", weight=w.reshape(2, 300, 1, 1))
        found = make_plan(c.graph, "two_level").layers["conv0"].kernel
        assert (found == "conv_two_level") == kernel
