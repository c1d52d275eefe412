"""Layers stored at a fixed rate: base 3, two bits, bitmaps, decoded by every kernel that can."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from secateur.codegen.plan import make_plan
from secateur.lowering import reference

from . import run_c
from .qgraphs import Chain, codes


def test_layers_at_a_fixed_rate_give_the_references_bytes(tmp_path: Path) -> None:
    """Pointwise, 3x3 and fully connected layers; for "bitmap", of two levels."""
    plans, inputs, expected = [], [], []
    for name in ("base3", "ternary_packed2", "bitmap_ternary", "bitmap"):
        c = Chain(name, (7, 6, 10), 5, 0)
        levels = [-1, 0, 1] if name != "bitmap" else [-3, 5]
        shapes = [(9, 7, 1, 1), (6, 9, 3, 3)]
        for shape in shapes:
            weight = c.rng.choice(levels, shape).astype(np.int8)
            pads = (1, 1, 1, 1) if shape[2] == 3 else (0, 0, 0, 0)
            c.conv(shape[0], shape[2:], "ternary", pads=pads, weight=weight)
        c.dense(5, "ternary" if name != "bitmap" else "extreme")
        p = make_plan(c.graph, name)
        assert [layer.encoding for layer in p.layers.values()] == [name] * 3
        plans.append(p)
        inputs.append(codes(c.graph, 4))
        expected.append(reference.run(c.graph, inputs[-1]).reshape(4, -1))
    for got, want in zip(run_c.on_host(plans, inputs, tmp_path), expected, strict=True):
        np.testing.assert_array_equal(got, want)


def test_full_ternary_layers_are_stored_in_base_three_where_size_counts() -> None:
    """A third of zeros: 1.6 bits a weight is near the entropy, and no table is needed."""
    c = Chain("net", (128, 4, 4), 1, 0)
    weight = c.rng.choice([-1, 0, 1], (128, 128, 1, 1)).astype(np.int8)
    p = make_plan(c.conv(128, (1, 1), "ternary", weight=weight).graph, optimize="flash")
    assert p.layers["conv0"].encoding == "base3"
    assert p.library.bits_of("conv0")["value"] <= 1.63 * 128 * 128
