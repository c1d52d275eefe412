"""Fully connected layers of int8 rows, and of rows that are unpacked one by one."""

from __future__ import annotations

from ...lowering.qgraph import QDense
from ..emit import CFunction, Emission, by_isa, render
from ..geometry import align4
from ..tables import counter_type
from .base import Kernel, Layer, register
from .coded import decode_work, is_coded
from .source import StoredTable, index_work, row_bytes, row_source, stored_rows


@register
class DenseRows(Kernel[QDense, StoredTable]):
    """Dense int8 rows, four at a time; coded ones and packed indices unpacked row by row."""

    name = "dense"
    forms = frozenset({"dense", "indices", "coded dense"})
    plain_factor = 2.0

    def scratch(self, layer: Layer[QDense]) -> int:
        return row_bytes(stored_rows(layer))

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        size, rows = float(layer.op.weight.size), float(len(layer.op.weight))
        if layer.index_bits:
            return {"single_weights": size, "rows": rows, **index_work(layer, size)}
        if is_coded(layer.encoded):
            return {"single_weights": size, "rows": rows, **decode_work(layer.encoded)}
        return {"weights": size, "rows": rows}

    def table(self, layer: Layer[QDense]) -> StoredTable:
        return StoredTable.make(layer, stored_rows(layer), layer.op.requant)

    def emit(self, layer: Layer[QDense], table: StoredTable) -> Emission:
        n, cols = layer.op.weight.shape
        source = row_source(table.stored, "scratch")
        function = by_isa(
            f"fc_dense_{cols}x{n}{source.suffix}", "dense" if source.row_buffer else "dense_rows",
            "dsp", "helium", source=source, q=table.q, n=n, cols=cols,
            title=f"Fully connected, {cols} inputs, {n} outputs, every weight.",
        )  # fmt: skip
        args = [*source.arguments, table.q.array.name, layer.inputs[0], layer.output]
        if source.row_buffer:
            args.append(layer.scratch)
        return Emission(source.call(function.name, args), [function], source.headers)


@register
class DenseSkip(Kernel[QDense, StoredTable]):
    """Dense int8 rows over the columns whose input is not 0: they are listed first."""

    name = "dense_skip"
    skips_zeros = True
    forms = frozenset({"dense"})
    plain_factor = 1.3

    def scratch(self, layer: Layer[QDense]) -> int:
        cols = layer.op.weight.shape[1]
        return align4(cols if cols <= 256 else 2 * cols)

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        n, cols = layer.op.weight.shape
        live = float(layer.live_inputs().sum())
        return {"inputs": float(cols), "weights": live * n, "rows": float(n)}

    def table(self, layer: Layer[QDense]) -> StoredTable:
        return StoredTable.make(layer, stored_rows(layer), layer.op.requant)

    def emit(self, layer: Layer[QDense], table: StoredTable) -> Emission:
        n, cols = layer.op.weight.shape
        name = f"fc_skip_{cols}x{n}"

        def text(together: int) -> str:
            """`together`: rows whose sums are made in one loop, as many as there are registers."""
            return render(
                "dense_skip.c.j2", name=name, q=table.q, n=n, cols=cols, together=together,
                title=f"Fully connected, {cols} inputs, {n} outputs, inputs that are not 0.",
                elem=counter_type(cols - 1),
            )  # fmt: skip

        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        function = CFunction(name, text(2), {"dsp": text(4)})
        return Emission(f"{name}({', '.join(args)});", [function])
