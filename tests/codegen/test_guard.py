"""The guard zones between an arena's regions see what reaches from one into another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from secateur.codegen.emit import CFunction, Emission, render_text
from secateur.codegen.kernels import Layer, base
from secateur.codegen.kernels.small import OptionalTable, Rescale
from secateur.lowering import reference
from secateur.lowering.qgraph import QGraph, QRescale, QTensor, Requant

from . import run_c

_SIZE = 200
_COPY = """
/* {{ n }} codes as they are; one more is {{ what }}. */
static void {{ name }}(const uint8_t *in, uint8_t *out)
{
    for (int i = 0; i < {{ n }}; i++) {
        out[i] = in[i];
    }
{% if what == "read" %}
    (void)*(const volatile uint8_t *)(in + {{ at }});
{% elif what == "written" %}
    *(volatile uint8_t *)(out + {{ at }}) = 0;
{% endif %}
}
"""


class TooFar(Rescale):
    """A copy that reads or writes a byte beside its operand; by its cost always chosen."""

    name = "too_far"
    what, at = "", 0

    def cost(self, layer: Layer[QRescale]) -> float:
        return 0.0

    def overwrites(self, layer: Layer[QRescale]) -> tuple[int, ...]:
        return ()

    def emit(self, layer: Layer[QRescale], table: OptionalTable) -> Emission:
        text = render_text(_COPY, name="too_far", n=layer.out_size, what=self.what, at=self.at)
        return Emission(
            f"too_far({layer.inputs[0]}, {layer.output});", [CFunction("too_far", text)]
        )


@pytest.fixture
def kernel() -> Iterator[TooFar]:
    """Registered for this test alone."""
    made = TooFar()
    base.add(made)
    yield made
    base._REGISTRY.pop(made.name)


def copying() -> QGraph:
    """One operator, whose input and output lie side by side."""
    same = Requant(np.ones(1, np.int16), np.zeros(1, np.int32), 0, 0)
    graph = QGraph("g", [QRescale("copy", ("x",), "y", same)], {}, "x", "y")
    for name in ("x", "y"):
        graph.tensors[name] = QTensor(name, (_SIZE, 1, 1), 0.1, 128)
    return graph


@pytest.mark.parametrize("what", ["read", "written", ""])
@pytest.mark.parametrize("guard", [run_c.GUARD, 0])
def test_an_overrun_into_another_region_is_seen(
    kernel: TooFar, what: str, guard: int, tmp_path: Path
) -> None:
    """With zones between the regions; without, the same kernel gives the right bytes."""
    kernel.what = what
    graph = copying()
    at = run_c.plan(graph, "g", guard=guard).memory.tensors
    operand, other = ("x", "y") if what == "read" else ("y", "x")
    kernel.at = _SIZE if at[operand] < at[other] else -1  # towards the other one
    plan = run_c.plan(graph, "g", guard=guard)
    assert {p.kernel for p in plan.layers.values()} == {"too_far"}
    assert plan.memory.tensors == at
    assert abs(at["x"] - at["y"]) == _SIZE + guard
    x = np.random.default_rng(0).integers(-128, 128, (3, _SIZE, 1, 1)).astype(np.int8)
    if guard and what:
        with pytest.raises(AssertionError, match="use-after-poison"):
            run_c.on_host([plan], [x], tmp_path, guard=True)
        return
    (got,) = run_c.on_host([plan], [x], tmp_path, guard=bool(guard))
    np.testing.assert_array_equal(got, reference.run(graph, x).reshape(3, -1))
