"""Powers of two: what a lane may hold, worst cases, and no multiplication before requantization."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secateur import cores
from secateur.codegen.kernels.rows.powers import times
from secateur.codegen.kernels.rows.shift import segments, slots
from secateur.codegen.plan import candidates, make_plan
from secateur.lowering.qgraph import QGraph
from secateur.targets import tools

from . import run_c
from .qgraphs import Chain, codes, weights
from .test_limits import PLACES, run


def powers(seed: int, rows: int, cols: int, most: int) -> np.ndarray:
    """int8 powers of two up to 2^most, or steps of the square root of two."""
    rng = np.random.default_rng(seed)
    w = rng.choice([-1, 1], (rows, cols)) << rng.integers(0, most + 1, (rows, cols))
    if seed % 2 and most <= 2:
        w = w * rng.choice([12, 17], (rows, cols))
    return (w * (rng.random((rows, cols)) < rng.uniform(0.05, 1))).astype(np.int8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 400), st.integers(1, 6))
def test_segments_hold_every_weight_and_fit_a_lane(
    seed: int, rows: int, cols: int, most: int
) -> None:
    w = powers(seed, rows, cols, most).astype(np.int64)
    parts = segments(w.astype(np.int8))
    total = np.zeros_like(w)
    for part in parts:
        here = np.where(w % (part.odd << part.low) == 0, w // (part.odd << part.low), 0)
        size = np.abs(here)
        here[(size & (size - 1) != 0) | (size >> part.groups > 0)] = 0
        for sign in (1, -1):  # all inputs of one sign at the largest code
            assert 255 * np.maximum(sign * here, 0).sum(axis=1).max() <= 32767
        total += here * (part.odd << part.low)
    if parts:
        np.testing.assert_array_equal(total, w)
        values = slots(parts)
        assert len(set(values)) == len(values)
        assert set(np.unique(w[w != 0]).tolist()) <= set(values)


@pytest.mark.parametrize("factor", [1, 2, 3, 12, 17, 64, 68, 96])
def test_constants_become_shifts(factor: int) -> None:
    text = times("x", factor)
    assert "*" not in text
    shifted = re.sub(r"sc_shl\(x, (\d+)\)", r"(7 << \1)", text).replace("x", "7")
    assert eval(shifted) == 7 * factor


@pytest.mark.parametrize("place", PLACES)
def test_lanes_at_their_limits(place: str, tmp_path: Path) -> None:
    """Sums of 32640 in one segment and in several, of either sign, wrapping on the way."""
    graphs: list[QGraph] = []
    inputs = []
    for k, pads in (((1, 1), (0, 0, 0, 0)), ((2, 2), (1, 0, 0, 1))):
        for spread in (2, 64):
            w = np.zeros((6, 256), np.int64)
            size = np.array([1, spread // 2, spread])[np.arange(42) % 3]
            w[0, :42], w[0, -42:] = size, -size
            w[1, :42], w[1, -42:] = -size, size
            w[2, :64], w[3, :64] = 2, -2  # 32640
            w[4, :126] = np.tile([1, -2, spread], 42)
            w[5, : 128 if spread == 64 else 64] = -spread
            weight = w.astype(np.int8).reshape(6, 256 // (k[0] * k[1]), *k)
            c = Chain("lanes", (weight.shape[1], 5, 7), seed=spread, zero=0)
            c.conv(6, k, "", pads=pads, weight=weight)
            c.graph.name = f"lanes{len(graphs)}"
            assert (len(segments(weight.reshape(6, -1))) > 1) == (spread == 64)
            assert make_plan(c.graph, "shift").layers["conv0"].kernel == "conv_shift"
            graphs.append(c.graph)
            inputs.append(codes(c.graph, 4))
    run(graphs, inputs, place, tmp_path / "direct", "shift")
    run(graphs, inputs, place, tmp_path / "unpacked", "power_codes/conv_shift")


def test_the_129th_input_of_a_magnitude_is_refused() -> None:
    w = np.ones((2, 200), np.int8)
    w[:, 128:] = 2
    assert segments(w)
    w[0, 128] = 1
    assert not segments(w)


def test_chosen_where_cheaper_than_sparse_and_dense() -> None:
    c = Chain("powers", (64, 8, 16), 3, zero=0)
    w = (weights(c.rng, "powers", (64, 64)) * (c.rng.random((64, 64)) < 0.5)).astype(np.int8)
    w[0, :2] = 64, 1
    c.conv(64, (1, 1), "", weight=w.reshape(64, 64, 1, 1))
    layer = make_plan(c.graph, None, "latency").layers["conv0"]
    assert (layer.kernel, layer.encoding) == ("conv_shift", "shift")
    by_name = {(o.kernel.name, o.encoding): o for o in candidates(c.graph.ops[0], c.graph)}
    others = [o.cycles for (kernel, _), o in by_name.items() if kernel != "conv_shift"]
    assert by_name["conv_shift", "shift"].cycles < min(others)


def test_nothing_is_multiplied_but_the_sum(tmp_path: Path) -> None:
    """Products occur in requantization alone: by machine code where the rows have a function."""
    c = Chain("powers", (16, 6, 6), 4, zero=0)
    c.conv(8, (3, 3), "", pads=(1, 1, 1, 1), weight=powers(2, 8, 144, 6).reshape(8, 16, 3, 3))
    c.dense(5, "", weight=powers(4, 5, c.top.size, 6))
    for encoding in ("shift", "power_codes"):
        plan = run_c.plan(
            c.graph, "powers", {"conv0": f"{encoding}/conv_shift", "dense1": encoding}
        )
        text = plan.library.files["src/powers.c"]
        body = text.split(f" fc_{encoding}_288x5(")[1].split("\n{\n")[1].split("\n}\n")[0]
        loops = body.split("const int32_t m =")[0]
        assert "a0" in loops
        assert not re.search(r"\w \* \w", loops)
        if tools.missing(cores.get("cortex-m4").compiler) is None:
            folder = tmp_path / encoding
            folder.mkdir()
            run_c.on_core("cortex-m4", [plan], [codes(c.graph, 1)], folder)
            row = run_c.instructions(folder / "cortex-m4.elf", "shift_row")
            assert "uadd16" in row
            assert not [i for i in row if i.startswith(("mul", "mla", "mls", "sm", "um"))]
