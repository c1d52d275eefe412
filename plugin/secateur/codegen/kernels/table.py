"""Functions of one element."""

from __future__ import annotations

from ...lowering.operators.table import QPrelu, QTable
from ..emit import CArray, CFunction, Emission, render
from ..tables import Table
from .base import Kernel, Layer, register
from .by_element import ByElement, made, runs


@register
class LookUp(ByElement[QTable, Table]):
    """A look-up for each code."""

    name = "table"
    wide = True

    def work(self, layer: Layer[QTable]) -> dict[str, float]:
        work = made(layer)
        return {"instructions": 5.0 * work.pop("elements"), **work}

    def overwrites(self, layer: Layer[QTable]) -> tuple[int, ...]:
        return (0,) if layer.shrinks else ()

    def table(self, layer: Layer[QTable]) -> Table:
        note = f"{layer.c_name}: codes"
        kind = layer.ctype(layer.op.output)
        return Table((CArray(f"{layer.prefix}_codes", kind, layer.op.table, note),))

    def emit(self, layer: Layer[QTable], table: Table) -> Emission:
        kind = layer.ctype(layer.op.output)
        name = "look_up" if kind == "uint8_t" else "look_up_wide"
        text = render("table.c.j2", name=name, kind=kind)
        run = runs(layer)
        args = [*table.names, *run.pointers, str(run.size)]
        call = run.around(f"{name}({', '.join(args)});")
        return Emission(call, [CFunction(name, text)])


@register
class Prelu(Kernel[QPrelu, Table]):
    """A slope for each channel below zero."""

    name = "prelu"

    def cost(self, layer: Layer[QPrelu]) -> float:
        return 9.0 * layer.out_size

    def overwrites(self, layer: Layer[QPrelu]) -> tuple[int, ...]:
        return (0,)

    def table(self, layer: Layer[QPrelu]) -> Table:
        note = f"{layer.c_name}: below zero"
        return Table((CArray(f"{layer.prefix}_slopes", "int32_t", layer.op.below, note),))

    def emit(self, layer: Layer[QPrelu], table: Table) -> Emission:
        op = layer.op
        t = layer.graph.tensors[op.inputs[0]]
        name = f"prelu_{layer.c_name}"
        text = render(
            "prelu.c.j2", name=name, op=op, channels=len(op.below), each=t.size // len(op.below),
            zero=t.zero_point,
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output]
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])
