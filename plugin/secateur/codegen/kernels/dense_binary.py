"""Fully connected layers on bit planes: XOR and population count, counted by full adders."""

from __future__ import annotations

from dataclasses import dataclass

from ...lowering.qgraph import QConv, QDense, Thresholds
from ..emit import CFunction, Emission, render
from ..packing import is_dense
from ..requant import RequantTable, requantization
from ..tables import Table
from .base import Kernel, Layer, register
from .binary import Counted, CountSteps, counted, plane_array, toggles, words


@dataclass(frozen=True, kw_only=True)
class BinaryTable(Table):
    """Planes, thresholds on their counts (or the count of 0), and a requantization if any."""

    steps: CountSteps
    q: RequantTable | None


@register
class DenseBinary(Kernel[QConv | QDense, BinaryTable]):
    """Rows of few weight planes on few input planes; also windows as large as the image."""

    name = "dense_binary"
    forms = frozenset({"planes"})

    def reads(self, layer: Layer[QConv | QDense]) -> bool:
        return layer.graph.tensors[layer.op.inputs[0]].packed

    def applies(self, layer: Layer[QConv | QDense]) -> bool:
        op = layer.op
        x = layer.graph.tensors[op.inputs[0]]
        return is_dense(op, x)

    def _parts(self, layer: Layer[QConv | QDense]) -> tuple[Counted, int]:
        """The numbers, and words of an input plane of all channels."""
        op = layer.op
        x = layer.graph.tensors[op.inputs[0]]
        return counted(op, x), x.rows[0] * x.pitch // 4

    def scratch(self, layer: Layer[QConv | QDense]) -> int:
        c, n = self._parts(layer)
        return 4 * n * len(c.q) if self._gathers(layer) else 0

    def _gathers(self, layer: Layer[QConv | QDense]) -> bool:
        """Whether the planes have to be brought together first: several, of several channels."""
        x = layer.graph.tensors[layer.op.inputs[0]]
        return x.rows[0] > 1 and len(x.planes) > 1

    plain_factor = 1.6

    def work(self, layer: Layer[QConv | QDense]) -> dict[str, float]:
        c, n = self._parts(layer)
        rows = float(len(c.p))
        return {
            "words": rows * c.pairs * n,
            "pairs": rows * c.pairs,
            "rows": rows,
            "steps": rows * c.steps.shape[1],
            "gathered": float(n * len(c.q)),
        }

    def table(self, layer: Layer[QConv | QDense]) -> BinaryTable:
        op = layer.op
        channels, pixels = layer.graph.tensors[op.inputs[0]].rows
        c, n = self._parts(layer)
        bits = c.bits.reshape(*c.bits.shape[:2], channels, pixels)
        rows = words(bits).reshape(*c.bits.shape[:2], n).transpose(1, 0, 2)
        steps = CountSteps.of(c, layer.prefix, "neuron")
        q = None if steps.thresholds else requantization(layer.prefix, op.requant)
        arrays = (plane_array(layer, c, rows), steps.array, *([q.array] if q else []))
        return BinaryTable(arrays=arrays, steps=steps, q=q)

    def emit(self, layer: Layer[QConv | QDense], table: BinaryTable) -> Emission:
        op = layer.op
        x, y = (layer.graph.tensors[t] for t in (op.inputs[0], op.output))
        c, n = self._parts(layer)
        steps, q = table.steps, table.q
        parameters = f"const {steps.array.ctype} *step"
        if q:
            parameters += f", const {q.ctype} *q"
        name = f"fc_binary_{c.bits.shape[2]}x{len(c.p)}"
        text = render(
            "dense_binary.c.j2", name=name, parameters=parameters, q=q, n=n,
            out=q.out if q else "uint8_t", rows=len(c.p),
            p=len(c.bits), k=len(c.q), weights=c.q, shared=steps.planes,
            thresholds=steps.thresholds, gather=self._gathers(layer), x=x, y=y,
            toggles=toggles(op.requant.planes) if isinstance(op.requant, Thresholds) else [],
            width=steps.array.values.shape[1], channels=x.rows[0],
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output]
        if self._gathers(layer):
            args.append(layer.scratch)
        functions = [CFunction("differ", render("binary_differ.c.j2")), CFunction(name, text)]
        return Emission(f"{name}({', '.join(args)});", functions)
