"""Sparse layers written out: the reference's bytes, to codes and to the 16 bits of a recurrent
layer's sums, wherever the zeros are; and what they are taken for."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np

from secateur.codegen.kernels import Layer, get
from secateur.codegen.kernels.straight import _MOST, assembler
from secateur.codegen.plan import make_plan
from secateur.lowering import reference
from secateur.lowering.qgraph import QDense, QGraph

from . import run_c
from .qgraphs import Chain, codes
from .test_four_rows import SHAPES, sums

KERNEL = "dense_straight"


def layer(cols: int, rows: int, share: float, most: int = 127) -> QGraph:
    """One layer with zeros anywhere, and four rows of nothing but zeros where there are more."""
    rng = np.random.default_rng(cols)
    weight = rng.integers(-most, most + 1, (rows, cols)) * (rng.random((rows, cols)) < share)
    weight[4:8] = 0
    return Chain("fc", (cols,), 3).dense(rows, "", weight=weight.astype(np.int8)).graph


def test_bytes_of_the_reference(tmp_path: Path) -> None:
    for place in run_c.PLACES:
        made = []
        for number, (cols, rows) in enumerate(SHAPES):
            if number % (2 if place == "cortex-m4" else 5) != 0:
                continue
            for share in (0.02, 0.2) if number % 5 == 0 else (0.35,):
                graph = layer(cols, rows, share, 3 if number % 4 == 0 else 127)
                if not get(KERNEL).applies(Layer(graph.ops[0], graph)):
                    assert cols * rows < 100  # all zeros, or more than half are none
                    continue
                for g in (graph, sums(deepcopy(graph))):
                    g = replace(g, name=f"m{len(made)}")
                    name = g.ops[0].name
                    plan = make_plan(g, {name: f"sparse/{KERNEL}"}, "latency", max_slowdown=50.0)
                    assert plan.layers[name].kernel == KERNEL
                    made.append((plan, g))
        inputs = [codes(g, 3) for _, g in made]
        folder = tmp_path / place
        folder.mkdir()
        got = run_c.on(place, [p for p, _ in made], inputs, folder)
        for (plan, g), x, y in zip(made, inputs, got, strict=True):
            want = reference.run(g, x).reshape(len(x), -1)
            np.testing.assert_array_equal(y, want, err_msg=f"{place} {plan.library.name}")


def test_an_instruction_a_weight() -> None:
    """Of four rows of 64 inputs at 80 % zeros: one for each weight, a load for eight of them and
    one for eight inputs."""
    rng = np.random.default_rng(0)
    group = (rng.integers(1, 9, (64, 4)) * (rng.random((64, 4)) < 0.2)).astype(np.int8)
    stored = np.count_nonzero(group)
    lines = assembler(group)
    assert sum(line.startswith(("smla", "smul")) for line in lines) == stored
    assert len(lines) <= stored + -(-stored // 8) + 8 + 4
    assert assembler(np.zeros((64, 4), np.int8)) == [f"mov r{i}, #0" for i in range(2, 6)]


def test_it_is_the_fast_plan_where_zeros_are_anywhere_and_never_the_small_one() -> None:
    graph = layer(64, 256, 0.2)
    name = graph.ops[0].name
    fast, small = (make_plan(graph, None, how, core="cortex-m4") for how in ("latency", "flash"))
    assert fast.layers[name].kernel == KERNEL
    assert small.layers[name].kernel != KERNEL
    tight = make_plan(layer(400, 256, 0.2), None, "latency", core="cortex-m4")
    assert tight.layers[name].kernel != KERNEL  # more than its text may hold
    op = layer(400, 256, 0.2).ops[0]
    assert isinstance(op, QDense)
    assert np.count_nonzero(op.weight) > _MOST
