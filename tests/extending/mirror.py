"""A layer that the package does not know, y = -x, from its reader to its kernel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.codegen.emit import CFunction, Emission, render_text
from secateur.codegen.kernels import Layer, Plain, register
from secateur.codegen.tables import Table
from secateur.frontend.build import Builder
from secateur.frontend.ir import Node
from secateur.frontend.layers.base import SourceLayer, handles
from secateur.frontend.ops import declare
from secateur.frontend.ops.base import same
from secateur.lowering.lowerer import Lowering
from secateur.lowering.qgraph import QGraph, QOp, QTensor
from secateur.lowering.registry import executes, lowers


@declare("mirror", same, pointwise=True)
def _mirror(node: Node, inputs: list[np.ndarray]) -> np.ndarray:
    """-x."""
    return -inputs[0]


@handles("toys>Mirror")  # @keras.saving.register_keras_serializable("toys")
def _read(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    """A Keras layer; weights and configuration would be in `layer`."""
    return b.emit("mirror", layer.name, [inputs[0]])


@dataclass
class QMirror(QOp):
    """u = 255 - x: exact, with the zero point mirrored, too."""

    kind: ClassVar[str] = "mirror"
    turns: ClassVar[bool] = True  # elements may lie in any order


@lowers("mirror")
def _lower(lo: Lowering, node: Node) -> None:
    x = lo.source(node)
    y = lo.elementwise(node, QTensor(node.output, x.shape, x.scale, 255 - x.zero_point))
    lo.emit(QMirror(node.name, (x.name,), y.name))


@executes(QMirror)
def _execute(qgraph: QGraph, op: QMirror, inputs: list[np.ndarray]) -> np.ndarray:
    return 255 - inputs[0]


MIRROR = """
/* Codes {{ n }} from the other end. */
static void {{ name }}(const uint8_t *in, uint8_t *out)
{
    for (int i = 0; i < {{ n }}; i++) {
        out[i] = (uint8_t)(255 - in[i]);
    }
}
"""


@register
class Mirror(Plain[QMirror]):
    """One subtraction an element."""

    name = "mirror"

    def cost(self, layer: Layer[QMirror]) -> float:
        return 4.0 * layer.out_size

    def overwrites(self, layer: Layer[QMirror]) -> tuple[int, ...]:
        return (0,)

    def emit(self, layer: Layer[QMirror], table: Table) -> Emission:
        name = f"mirror_{layer.out_size}"
        text = render_text(MIRROR, name=name, n=layer.out_size)
        return Emission(f"{name}({layer.inputs[0]}, {layer.output});", [CFunction(name, text)])
