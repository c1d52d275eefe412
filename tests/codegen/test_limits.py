"""Worst cases by construction: lanes and accumulators at their limits, saturation at both ends."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.geometry import Thrift
from secateur.codegen.plan import make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph, Requant

from . import run_c
from .qgraphs import Chain, codes

PLACES = run_c.PLACES


def run(
    graphs: list[QGraph], inputs: list[np.ndarray], place: str, folder: Path,
    encoding: Mapping[str, str] | str | None = None, optimize: str = "balanced",
    thrift: Mapping[str, Thrift] | None = None,
) -> None:  # fmt: skip
    """Every graph gives the reference's bytes in a place."""
    plans = [
        run_c.plan(g, f"m{i}", encoding, optimize=optimize, thrift=thrift)
        for i, g in enumerate(graphs)
    ]
    got = run_c.on(place, plans, inputs, folder)
    for g, x, y in zip(graphs, inputs, got, strict=True):
        expected = reference.run(g, x).reshape(len(x), -1)
        np.testing.assert_array_equal(y, expected, err_msg=g.name)


def lane_rows(cols: int, most: int) -> np.ndarray:
    """Ternary rows with `most` ones of either sign, together and apart, first or last."""
    w = np.zeros((6, cols), np.int8)
    w[0, :most], w[0, -most:] = 1, -1
    w[1, :most], w[1, -most:] = -1, 1
    w[2, :most], w[3, :most], w[4, -most:] = 1, -1, 1
    return w


def whole(acc: int, multiplier: int = 1, shift: int = 7) -> Requant:
    """Constants for six rows that map 0..acc to codes 0..255 and less to 0, wide rows to 128."""
    c = np.array([0, 0, 0, acc, 0, 0]) * multiplier
    return Requant(np.full(6, multiplier, np.int16), c.astype(np.int32), 0, shift)


@pytest.mark.parametrize("optimize", ["balanced", "flash"])
@pytest.mark.parametrize("place", PLACES)
def test_sixteen_bit_lanes_hold_128_ones_of_each_sign(
    place: str, optimize: str, tmp_path: Path
) -> None:
    """128 columns of code 255 make 32640, the most a lane is allowed."""
    graphs, inputs = [], []
    for k, pads in (((1, 1), (0, 0, 0, 0)), ((2, 2), (1, 0, 0, 1))):
        cols = 256
        weight = lane_rows(cols, 128).reshape(6, cols // (k[0] * k[1]), *k)
        c = Chain("lanes", (weight.shape[1], 5, 7), zero=0)
        # 32640 * 257 + 8388480 < 2^31; multiplier 257 with shift 15 puts +-32640 at the codes' ends
        c.conv(6, k, "", pads=pads, weight=weight, requant=whole(32640, 257, 15))
        x = codes(c.graph, 6)
        # only the +1 columns, only the -1 columns of rows 0 and 1 at their maximum
        half = x[2:4].reshape(2, 5, 7, -1)
        half[0], half[1] = -128, -128
        half[0][..., : half.shape[-1] // 2] = 127
        half[1][..., half.shape[-1] // 2 :] = 127
        kernel = make_plan(c.graph, "ternary").layers["conv0"].kernel
        assert kernel == "conv_ternary"
        graphs.append(c.graph)
        inputs.append(x)
    y = reference.run(graphs[0], inputs[0])
    assert y.max() == 127
    assert y.min() == -128
    run(graphs, inputs, place, tmp_path, "ternary", optimize)


@pytest.mark.parametrize("place", PLACES)
def test_sums_with_a_residual_that_just_fit_16_bits_and_do_not(place: str, tmp_path: Path) -> None:
    """Lanes of +-32640 by +-32767, an offset and a share of 377: 32,763 may be packed before it is
    clamped, 33,763 may not. Every code is far below or far above both ends."""
    graphs, inputs = [], []
    for offset in (16000, 17000, -16000, -17000):
        c = Chain("sums", (6, 5, 7), zero=0)
        spread = np.zeros((256, 6, 1, 1), np.int8)
        spread[np.arange(256), np.arange(256) * 6 // 256] = 1
        first = Requant(np.full(256, 32767, np.int16), np.zeros(256, np.int32), 0, 7)
        c.conv(256, (1, 1), "", weight=spread, requant=first)  # 255 wherever the input is not 0
        m = np.array([32767, -32767, 32767, -32767, 32767, 15], np.int16)
        last = Requant(m, np.full(6, offset, np.int32), 16, 0)
        weight = lane_rows(256, 128).reshape(6, 256, 1, 1)
        c.conv(6, (1, 1), "", residual="x", weight=weight, requant=last)
        c.graph.ops[-1].residual = 97_000
        x = codes(c.graph, 4)
        x[0], x[1] = -128, 127
        x[2, :, :, :3], x[2, :, :, 3:] = 127, -128
        x[3, :, :, :3], x[3, :, :, 3:] = -128, 127
        graphs.append(c.graph)
        inputs.append(x)
    run(graphs, inputs, place, tmp_path, "ternary")


def test_the_129th_one_of_a_sign_is_refused() -> None:
    """One column more could leave a lane: the 16-bit kernel does not take such a layer."""
    for sign in (1, -1):
        weight = np.zeros((2, 200), np.int8)
        weight[0, :129] = sign
        c = Chain("wide", (200, 4, 4), zero=0)
        c.conv(2, (1, 1), "", weight=weight.reshape(2, 200, 1, 1))
        assert make_plan(c.graph).layers["conv0"].kernel != "conv_ternary"


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("kind", ["dense", "conv", "depthwise"])
def test_large_accumulators_and_saturation(place: str, kind: str, tmp_path: Path) -> None:
    """Weights of +-127 throughout, codes 0 and 255, offsets that push past both ends."""
    graphs, inputs = [], []
    for seed, pre in ((1, 0), (2, 16)):
        c = Chain("big", (64, 6, 6) if kind != "dense" else (4000,), seed, zero=255)
        if kind == "dense":
            weight = np.full((4, 4000), 127, np.int8)
            weight[1] = -127
            weight[2, ::2] = -127
            c.dense(4, "", weight=weight)
        elif kind == "conv":
            weight = np.full((4, 64, 3, 3), 127, np.int8)
            weight[1], weight[2, ::2] = -127, -127
            c.conv(4, (3, 3), "", pads=(1, 1, 1, 1), weight=weight)
        else:
            weight = np.full((64, 1, 3, 3), 127, np.int8)
            weight[::2] = -127
            c.conv(64, (3, 3), "", pads=(1, 1, 1, 1), weight=weight, depthwise=True)
        requant = c.graph.ops[0].requant  # type: ignore[attr-defined]
        n = len(requant.multiplier)
        low = np.where(np.arange(n) % 3 == 0, -(2**20), np.where(np.arange(n) % 3 == 1, 2**20, 0))
        if pre:
            offset = requant.offset.astype(np.int64) + low
            c.graph.ops[0].requant = Requant(  # type: ignore[attr-defined]
                requant.multiplier, offset.astype(np.int32), requant.pre_shift, requant.shift
            )
        graphs.append(c.graph)
        inputs.append(codes(c.graph, 4))
    pairs = zip(graphs, inputs, strict=True)
    y = np.concatenate([reference.run(g, x).reshape(-1) for g, x in pairs])
    assert y.max() == 127
    assert y.min() == -128
    run(graphs, inputs, place, tmp_path)


@pytest.mark.parametrize("place", PLACES)
def test_every_shift(place: str, tmp_path: Path) -> None:
    """Shifts 0 and 30 are legal, also where the shift would be an instruction's operand."""

    def pre0(shift: int) -> Requant:
        m = np.array([1, -1, 1, -1, 1, 1]) * min(2**shift, 30000)
        return Requant(m.astype(np.int16), (np.arange(6) << shift).astype(np.int32), 0, shift)

    def pre16(shift: int) -> Requant:
        m = np.array([300, -300, 150, -150, 20, 32767])
        return Requant(m.astype(np.int16), (np.arange(6) << shift).astype(np.int32), 16, shift)

    rng = np.random.default_rng(0)
    makers: list[tuple[str, Callable[[int], Requant], tuple[int, ...]]] = [
        ("ternary", pre0, (0, 1, 8, 15)),
        ("int8", pre16, (0, 1, 9)),
    ]
    graphs, inputs = [], []
    for kind, make, shifts in makers:
        for shift in shifts:
            c = Chain("shift", (9, 5, 4), 1, zero=0)
            weight = rng.integers(-1, 2, (6, 9, 1, 1)).astype(np.int8)
            if kind == "int8":
                weight = rng.integers(-127, 128, (6, 9, 1, 1)).astype(np.int8)
            c.conv(6, (1, 1), "", weight=weight, requant=make(shift))
            graphs.append(c.graph)
            inputs.append(codes(c.graph, 3))
    run(graphs, inputs, place, tmp_path)
