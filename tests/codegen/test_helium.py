"""The vector forms for Cortex-M55, on an emulated one: the reference's bytes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur import targets
from secateur.codegen.plan import make_plan
from secateur.lowering import reference
from secateur.targets import tools

from .qgraphs import Chain, codes

pytestmark = pytest.mark.emulator


@pytest.mark.parametrize("side", [(1, 3), (4, 5), (6, 16)])
def test_vectors_give_the_references_bytes(side: tuple[int, int], tmp_path: Path) -> None:
    """Planes below, above and at multiples of sixteen pixels; channels that are no multiple."""
    target = targets.get("qemu")
    if why := tools.missing("arm-none-eabi-gcc") or target.available():
        pytest.skip(why)
    c = Chain("helium", (13, *side), seed=sum(side), zero=3)
    c.conv(33, (1, 1), "int8", zero=128).conv(33, (1, 1), "int8", residual="t0")
    c.conv(16, (1, 1), "ternary", zero=7).conv(16, (1, 1), "ternary", residual="t2")
    c.conv(16, (1, 3), "ternary", pads=(0, 1, 0, 1)).conv(9, (3, 3), "ternary", pads=(1, 1, 1, 1))
    c.dense(19, "int8").dense(7, "ternary")
    graph = c.graph
    plan = make_plan(graph, {op.name: "dense" for op in graph.ops[:2]}, "latency")
    kernels = {layer.kernel for layer in plan.layers.values()}
    assert {"conv_dense", "conv_ternary", "dense"} <= kernels
    x = codes(graph, 5)
    image = targets.build(plan.library.save(tmp_path / "library"), "mps3_an547", tmp_path / "build")
    got = target.run(image, x).outputs.reshape(len(x), -1)
    np.testing.assert_array_equal(got, reference.run(graph, x).reshape(len(x), -1))
