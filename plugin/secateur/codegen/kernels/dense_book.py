"""Fully connected layers of packed codebook indices, executed without unpacking them."""

from __future__ import annotations

from ...coding.base import Encoded
from ...lowering.qgraph import QDense
from ..emit import CFunction, Emission, render
from ..geometry import align4
from .base import Kernel, Layer, register
from .indices import field, load
from .source import StoredTable, stored_rows


class _Book(Kernel[QDense, StoredTable]):
    forms = frozenset({"indices"})
    widths = frozenset(range(1, 7))  #: bits of an index

    def applies(self, layer: Layer[QDense]) -> bool:
        return layer.encoded is None or layer.index_bits in self.widths

    def table(self, layer: Layer[QDense]) -> StoredTable:
        return StoredTable.make(layer, stored_rows(layer), layer.op.requant)

    def _emit(
        self, layer: Layer[QDense], table: StoredTable, template: str, title: str, pairs: bool
    ) -> Emission:
        n, cols = layer.op.weight.shape
        bits, stride = table.stored.bits, table.stored.stride
        name = f"fc_{self.name.removeprefix('dense_')}{bits}_{cols}x{n}"
        width = 2 * bits if pairs else bits
        text = render(
            template, name=name, q=table.q, n=n, cols=cols, bits=bits, stride=stride,
            title=f"Fully connected, {cols} inputs, {n} outputs, {bits}-bit indices: {title}.",
            entries=1 << bits, levels=_levels(layer.weights), rows=_rows(n, stride, layer.small),
            load=lambda count, row=0: load(count, bits, stride, row),
            field=lambda i, row=0: field(i * width, width, row),
        )  # fmt: skip
        args = [*table.names, layer.inputs[0], layer.output]
        if self.scratch(layer):
            args.append(layer.scratch)
        return Emission(f"{name}({', '.join(args)});", [CFunction(name, text)])


def _levels(e: Encoded) -> int:
    return len(e.stream("b").data)


def _rows(n: int, stride: int, small: bool) -> int:
    """How many of `n` rows at a time are the fewest instructions: three a pair and row, five a
    pair."""

    def turns(rows: int) -> int:
        return n // rows * (3 * rows + 5) + (3 * (n % rows) + 5 if n % rows else 0)

    reach = max(1, 4095 // stride + 1)  # rows that one load instruction reaches
    return min((r for r in (1, 2, 4, 5, 6) if r <= min(reach, 4 if small else 6)), key=turns)


@register
class DenseBook(_Book):
    """Each index looks its weight up; eight of them are a whole number of bytes."""

    name = "dense_book"
    plain_factor = 1.6

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        op, e = layer.op, layer.weights
        if op.weight.shape[1] == 1:  # no loop over a row
            return {"lone_rows": float(len(op.weight))}
        return {
            "weights": float(op.weight.size),
            "bytes": float(len(e.stream("i").data)),
            "rows": float(len(op.weight)),
        }

    def emit(self, layer: Layer[QDense], table: StoredTable) -> Emission:
        return self._emit(layer, table, "dense_book.c.j2", "looked up one by one", False)


@register
class DensePairs(_Book):
    """Two indices look a pair of weights up, in a table made in RAM; one multiplication for both.

    The table has 4**bits words: 4 kB for 5 bits.
    """

    name = "dense_pairs"
    widths = frozenset({1, 2, 3, 5})
    plain_factor = 3.0

    def scratch(self, layer: Layer[QDense]) -> int:
        cols = layer.op.weight.shape[1]
        return align4(4 * 4**layer.index_bits + 2 * (cols + cols % 2))

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        op = layer.op
        return {
            "weights": float(op.weight.size),
            "rows": float(len(op.weight)),
            "inputs": float(op.weight.shape[1]),
            "pairs": float(4**layer.index_bits),
        }

    def emit(self, layer: Layer[QDense], table: StoredTable) -> Emission:
        return self._emit(layer, table, "dense_pairs.c.j2", "two to a table look-up", True)


@register
class DenseLive(_Book):
    """4-bit indices: a byte of them looks a pair of weights up, for pairs of inputs not both 0."""

    name = "dense_live"
    skips_zeros = True
    widths = frozenset({4})
    plain_factor = 2.5

    def scratch(self, layer: Layer[QDense]) -> int:
        return 1024 + 4 * ((layer.op.weight.shape[1] + 1) // 2)

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        op = layer.op
        n, cols = op.weight.shape
        zero = 1.0 - layer.live_inputs()
        last = zero[-1:] if cols % 2 else zero[:0]
        live = float((1.0 - zero[: cols // 2 * 2 : 2] * zero[1::2]).sum()) + last.size
        return {"inputs": float(cols), "pairs": live * n, "rows": float(n), "table": 1.0}

    def emit(self, layer: Layer[QDense], table: StoredTable) -> Emission:
        return self._emit(layer, table, "dense_live.c.j2", "pairs of inputs that are not 0", True)
