"""Softmax along an axis of an image."""

from __future__ import annotations

from ...lowering.softmax import QLogSoftmax, QSoftmaxRows
from ..emit import CFunction, Emission, render
from ..tables import Table
from .base import Layer, Plain, register


@register
class SoftmaxRows(Plain[QSoftmaxRows]):
    """Softmax of each of many rows, elements `stride` apart."""

    name = "softmax_rows"

    def work(self, layer: Layer[QSoftmaxRows]) -> dict[str, float]:
        return {"softmax.elements": float(layer.graph.tensors[layer.op.output].size)}

    def scratch(self, layer: Layer[QSoftmaxRows]) -> int:
        return 4 * layer.op.length

    def overwrites(self, layer: Layer[QSoftmaxRows]) -> tuple[int, ...]:
        return (0,)

    def emit(self, layer: Layer[QSoftmaxRows], table: Table) -> Emission:
        op = layer.op
        size = layer.graph.tensors[op.output].size
        name = f"softmax_rows_{op.length}_{op.stride}_{size}"
        text = render("softmax_rows.c.j2", name=name, op=op, size=size)
        call = f"{name}({layer.inputs[0]}, {layer.output}, (uint32_t *)(void *)({layer.scratch}));"
        return Emission(call, [CFunction(name, text)])


@register
class LogSoftmax(Plain[QLogSoftmax]):
    """Logarithm of the softmax of each row."""

    name = "log_softmax"

    def cost(self, layer: Layer[QLogSoftmax]) -> float:
        return 25.0 * layer.out_size

    def overwrites(self, layer: Layer[QLogSoftmax]) -> tuple[int, ...]:
        return (0,)

    def emit(self, layer: Layer[QLogSoftmax], table: Table) -> Emission:
        op = layer.op
        size = layer.graph.tensors[op.output].size
        name = f"log_softmax_{layer.c_name}"
        text = render("log_softmax.c.j2", name=name, op=op, size=size)
        call = f"{name}({layer.inputs[0]}, {layer.output});"
        log = CFunction("log2_16", render("log2.c.j2"))
        return Emission(call, [log, CFunction(name, text)])
