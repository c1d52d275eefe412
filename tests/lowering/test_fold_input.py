"""Preprocessing at the start: another scale of the input's codes, or part of the first layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from secateur.frontend import execute
from secateur.frontend.build import Builder
from secateur.frontend.ir import Graph
from secateur.lowering import passes
from secateur.lowering import reference as ref
from secateur.lowering.qgraph import QConv, QGraph
from secateur.lowering.quantize import lower
from secateur.lowering.simplify import simplify
from tests.codegen import run_c

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 6, 7, 3)).astype(np.float32)
SAME, VALID = (1, 1, 1, 1), (0, 0, 0, 0)


def network(
    scale: Any, shift: Any, pads: tuple[int, int, int, int], op: str = "conv2d",
    ternary: bool = False, crop: bool = False,
) -> Graph:  # fmt: skip
    """Pixels, (a crop,) a Rescaling or Normalization, a first layer and a Dense one."""
    rng = np.random.default_rng(1)
    b = Builder("pixels")
    y = b.add_input("x", (6, 7, 3))
    if crop:
        attrs: dict[str, Any] = {"begin": (1, 1, 0), "size": (4, 5, 3), "strides": (1, 1, 1)}
        y = b.emit("slice", "crop", [y], None, attrs)
    whole = {"scale": np.full(3, scale, np.float32), "shift": np.full(3, shift, np.float32)}
    whole["scale"][:] = scale
    y = b.emit("batch_norm", "norm", [y], b.shape(y), {}, whole)
    shape = {"conv2d": (3, 3, 3, 5), "depthwise_conv2d": (3, 3, 3, 2), "dense": (3, 5)}[op]
    kernel = rng.normal(0, 0.4, shape)
    if ternary:
        kernel = np.sign(kernel) * (np.abs(kernel) > 0.2) * 0.5
    params = {"kernel": kernel.astype(np.float32)}
    attrs = {} if op == "dense" else {"strides": (1, 1), "pads": pads}
    y = b.emit(op, "first", [y], None, attrs, params)
    y = b.emit("relu", "relu", [y], None, {"max_value": None})
    y = b.emit("flatten", "flat", [y])
    head = {"kernel": rng.normal(0, 0.1, (b.shape(y)[0], 3)).astype(np.float32)}
    graph = b.finish(b.emit("dense", "head", [y], None, {}, head))
    graph.node("x").attrs["range"] = (0.0, 255.0)
    return graph


def lowered(graph: Graph) -> QGraph:
    q = passes.run(passes.INTEGER, lower(graph, PIXELS))
    q.interface = {q.input: "uint8"}
    return q


def near(graph: Graph, q: QGraph) -> None:
    want = execute.run(graph, PIXELS)
    got = ref.dequantize_output(q, ref.run(q, ref.quantize_input(q, PIXELS)))
    noise = np.square(got.reshape(want.shape) - want).sum()
    assert np.square(want).sum() > 1000 * noise  # 30 dB


@pytest.mark.parametrize("crop", [False, True])
@pytest.mark.parametrize(("scale", "shift"), [(1 / 255, 0.0), (1 / 128, -1.0)])
def test_one_scale_is_another_scale_of_the_same_codes(
    scale: float, shift: float, crop: bool, tmp_path: Path
) -> None:
    graph = network(scale, shift, SAME, crop=crop)
    q = lowered(graph)
    assert [op.kind for op in q if op.name == "norm"] == ["alias"]
    near(graph, q)
    plan = run_c.plan(q, "pixels")
    x = ref.quantize_input(q, PIXELS[:4])
    (got,) = run_c.on_host([plan], [x.view(np.int8)], tmp_path)
    assert np.array_equal(got, ref.run(q, x).reshape(4, -1))
    if not crop:  # no code and no RAM
        assert "the same bytes" in plan.library.files["src/pixels.c"]


@pytest.mark.parametrize("op", ["conv2d", "depthwise_conv2d", "dense"])
def test_a_shift_goes_into_a_layer_that_pads_nothing(op: str) -> None:
    graph = network(1 / 127.5, -1.0, VALID, op)
    simple = simplify(graph)
    assert "batch_norm" not in {n.op for n in simple.nodes}
    np.testing.assert_allclose(
        execute.run(simple, PIXELS), execute.run(graph, PIXELS), rtol=1e-4, atol=1e-4
    )
    near(graph, lowered(graph))


def test_a_padded_layer_keeps_it() -> None:
    """Its padding is real 0, which is no code of the pixels."""
    graph = network(1 / 127.5, -1.0, SAME)
    q = lowered(graph)
    assert [op.kind for op in q if op.name == "norm"] == ["conv"]
    near(graph, q)


def test_features_of_their_own_scale_go_in_but_not_into_compressed_weights() -> None:
    scales = [0.01, 0.02, 0.015]
    graph = network(scales, [0.5, -1, 0.2], VALID)
    assert "batch_norm" not in {n.op for n in simplify(graph).nodes}
    near(graph, lowered(graph))
    ternary = network(scales, [0.5, -1, 0.2], VALID, ternary=True)
    assert "batch_norm" in {n.op for n in simplify(ternary).nodes}
    alike = network(0.01, 0.3, VALID, ternary=True)
    assert "batch_norm" not in {n.op for n in simplify(alike).nodes}
    first = lowered(alike).op("first")
    assert isinstance(first, QConv)
    assert set(np.unique(first.weight)) == {-1, 0, 1}
