"""What a concatenation joins is written where it goes: same bytes, nothing moved, no more RAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.plan import Plan
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph
from secateur.lowering import reference as ref
from secateur.lowering.joint_ranges import along_concats
from secateur.lowering.movement import QCopy
from secateur.lowering.qgraph import QGraph
from secateur.lowering.quantize import lower

from . import run_c
from .qgraphs import codes

THERE = "its parts lie there already"


def joining(channels: tuple[int, int] = (8, 8), axis: int = -1, between: str = "") -> Graph:
    """Two convolutions of one input, joined behind `between`, and a third that reads both."""
    rng = np.random.default_rng(3)
    b = Builder("joining")
    x = b.add_input("x", (6, 6, 4))
    kernels = [rng.normal(0, 0.3, (3, 3, 4, c)).astype(np.float32) for c in channels]
    window = {"strides": (1, 1), "pads": (1, 1, 1, 1)}
    made = []
    for i, kernel in enumerate(kernels):
        y = b.emit("conv2d", f"part{i}", [x], None, window, {"kernel": kernel * (1 + i)})
        if between:
            y = b.emit("activation", f"between{i}", [y], None, {"function": between})
        made.append(y)
    y = b.emit("concat", "both", made, None, {"axis": axis % 3})
    kernel = rng.normal(0, 0.3, (1, 1, b.shape(y)[2], 5)).astype(np.float32)
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0)}
    return b.finish(b.emit("conv2d", "last", [y], None, window, {"kernel": kernel}))


def planned(graph: Graph) -> tuple[QGraph, Plan]:
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(16, *graph.node(t).shape)).astype(np.float32) for t in graph.inputs]
    q = lower(graph, x)
    return q, run_c.plan(q, "joined")


def same(q: QGraph, plan: Plan, folder: Path) -> None:
    x = codes(q, 5)
    (got,) = run_c.on_host([plan], [x], folder)
    np.testing.assert_array_equal(got, ref.run(q, x).reshape(5, -1))


def source(plan: Plan) -> str:
    return plan.library.files["src/joined.c"]


@pytest.mark.parametrize("between", ["", "sigmoid", "tanh"])
def test_channels_are_written_where_they_go(between: str, tmp_path: Path) -> None:
    q, plan = planned(joining(between=between))
    at, size = plan.memory.tensors, 8 * 6 * 6
    (copy,) = (op for op in q if isinstance(op, QCopy))
    assert [at[t] - at[copy.output] for t in copy.inputs] == [0, size]
    assert THERE in source(plan)
    assert "copy_" not in source(plan).replace("sc_copy", "")
    assert plan.layers[copy.name].instructions < size / 4
    same(q, plan, tmp_path)


@pytest.mark.parametrize(
    ("channels", "axis"),
    [((8, 8), 0), ((8, 8), 1), ((1, 5), 2), ((3, 6), 2), ((7, 9), 2)],
)
def test_others_are_moved(channels: tuple[int, int], axis: int, tmp_path: Path) -> None:
    """Rows and columns lie apart in storage; 36 elements a channel are whole words."""
    q, plan = planned(joining(channels, axis))
    assert (THERE in source(plan)) == (axis == 2)
    same(q, plan, tmp_path)


def test_a_part_lies_over_the_input_where_that_takes_less_room(tmp_path: Path) -> None:
    q, plan = planned(joining((1, 1), 2))
    assert plan.memory.tensors["part1"] == plan.memory.tensors["x"]
    assert THERE not in source(plan)
    same(q, plan, tmp_path)


def test_a_tensor_that_begins_within_a_word_is_moved(tmp_path: Path) -> None:
    b = Builder("odd")
    x = b.add_input("x", (5, 5, 3))
    parts = [b.activation(f, x, f) for f in ("tanh", "softsign")]
    y = b.emit("concat", "both", parts, None, {"axis": 2})
    q, plan = planned(b.finish(b.activation("y", y, "sigmoid")))
    (copy,) = (op for op in q if isinstance(op, QCopy))
    at = plan.memory.tensors
    assert at[copy.inputs[1]] != at[copy.output] + 75
    same(q, plan, tmp_path)


def test_what_is_read_later_or_twice_has_a_place_of_its_own(tmp_path: Path) -> None:
    b = Builder("later")
    x = b.add_input("x", (4, 4, 4))
    a, c = (b.activation(f, x, f) for f in ("tanh", "softsign"))
    twice = b.emit("concat", "twice", [a, c, c], None, {"axis": 2})
    square = b.activation("square", twice, "sigmoid")
    end = b.emit("concat", "end", [square, a], None, {"axis": 2})
    q, plan = planned(b.finish(end))
    same(q, plan, tmp_path)


def test_joined_parts_of_joined_parts(tmp_path: Path) -> None:
    b = Builder("nested")
    x = b.add_input("x", (4, 4, 4))
    names = ("mish", "gelu", "silu", "softplus")
    a, c, d, e = (b.activation(f, x, f) for f in names)
    left, right = (
        b.emit("concat", n, pair, None, {"axis": 2})
        for n, pair in (("left", [a, c]), ("right", [d, e]))
    )
    whole = b.emit("concat", "whole", [left, right], None, {"axis": 2})
    q, plan = planned(b.finish(b.activation("y", whole, "mish")))
    copies = [op for op in q if isinstance(op, QCopy)]
    at = plan.memory.tensors
    for copy, size in zip(copies, (64, 64, 128), strict=True):
        assert [at[t] - at[copy.output] for t in copy.inputs] == [0, size]
    assert source(plan).count(THERE) == 3
    same(q, plan, tmp_path)


def test_operands_have_the_range_of_the_result() -> None:
    graph = joining()
    ranges = {"part0": (-1.0, 2.0), "part1": (-3.0, 1.0), "both": (-3.0, 2.0), "x": (0.0, 1.0)}
    found = along_concats(graph, ranges | {"last": (0.0, 1.0)})
    assert found["part0"] == found["part1"] == (-3.0, 2.0)
    graph.node("part0").attrs["clamp"] = (0.0, None)  # a ReLU ends its codes at 0
    found = along_concats(graph, ranges)
    assert found["part0"] == (-1.0, 2.0)
    assert found["part1"] == (-3.0, 2.0)
    graph.node("part0").attrs["clamp"] = (0.0, 1.5)
    assert along_concats(graph, ranges | {"both": (0.0, 2.0)})["part0"] == (-1.0, 2.0)
    assert along_concats(graph, ranges | {"both": (0.0, 1.5)})["part0"] == (0.0, 1.5)
    assert along_concats(graph, ranges, {"part1"})["part1"] == (-3.0, 1.0)
