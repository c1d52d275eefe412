"""Fully connected layers of packed codebook indices, executed without unpacking them."""

from __future__ import annotations

from ...coding.base import Encoded, Encoding
from ...lowering.qgraph import QDense
from ..emit import CFunction, Emission, render
from ..requant import table
from .base import Kernel, Layer, register
from .source import dense_source
from .unpack import align4


def load(count: int, bits: int, stride: int, row: int) -> str:
    """C that loads `count` packed indices at `index` of the row `row` rows ahead: lo, and hi."""
    n = (count * bits + 7) // 8
    start = f" + {row * stride}" if row else ""

    def at(byte: int) -> str:
        return f"index[{row * stride + byte}]"

    lo = {
        1: at(0),
        2: f"sc_load2(index{start})",
        3: f"sc_load2(index{start}) | (uint32_t){at(2)} << 16",
    }.get(n, f"sc_load(index{start})")
    text = f"const uint32_t lo{row} = {lo};"
    if n == 5:
        text += f"\nconst uint32_t hi{row} = {at(4)};"
    elif n == 6:
        text += f"\nconst uint32_t hi{row} = sc_load2(index + {row * stride + 4});"
    return text


def field(at: int, width: int, row: int) -> str:
    """C expression for `width` bits from bit `at` of what `load` loaded."""
    mask = f"{(1 << width) - 1}u"
    if at >= 32:
        return f"hi{row} >> {at - 32} & {mask}" if at > 32 else f"hi{row} & {mask}"
    if at + width > 32:
        return f"(lo{row} >> {at} | hi{row} << {32 - at}) & {mask}"
    if at + width == 32:
        return f"lo{row} >> {at}"
    return f"lo{row} >> {at} & {mask}" if at else f"lo{row} & {mask}"


class _Book(Kernel):
    forms = frozenset({"dense"})
    most_bits = 6

    def applies(self, layer: Layer) -> bool:
        e = layer.encoded
        return isinstance(layer.op, QDense) and (e is None or e.meta["k"] <= self.most_bits)

    def takes(self, encoding: Encoding) -> bool:
        """Packed indices."""
        return encoding.name == "codebook"

    def _emit(self, layer: Layer, template: str, title: str, pairs: bool) -> Emission:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        n, cols = op.weight.shape
        bits = e.meta["k"]
        stride = (cols * bits + 7) // 8
        q = table(layer.prefix, op.requant)
        source = dense_source(layer)
        name = f"{self.name[6:]}{bits}_{cols}x{n}"
        width = 2 * bits if pairs else bits
        text = render(
            template, name=name, q=q, n=n, cols=cols, bits=bits, stride=stride,
            title=f"Fully connected, {cols} inputs, {n} outputs, {bits}-bit indices: {title}.",
            entries=1 << bits, levels=_levels(e),
            load=lambda count, row=0: load(count, bits, stride, row),
            field=lambda i, row=0: field(i * width, width, row),
        )  # fmt: skip
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output]
        if self.scratch(layer):
            args.append(layer.scratch)
        return Emission(
            f"{name}({', '.join(args)});", [CFunction(name, text)], [*source.arrays, q.array]
        )


def _levels(e: Encoded) -> int:
    return len(e.stream("b").data)


@register
class DenseBook(_Book):
    """Each index looks its weight up; eight of them are a whole number of bytes."""

    name = "dense_book"
    code_bytes = 250
    plain_factor = 1.6

    def work(self, layer: Layer) -> dict[str, float]:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        return {
            "weights": float(op.weight.size),
            "bytes": float(len(e.stream("i").data)),
            "rows": float(len(op.weight)),
        }

    def emit(self, layer: Layer) -> Emission:
        return self._emit(layer, "dense_book.c.j2", "looked up one by one", False)


@register
class DensePairs(_Book):
    """Two indices look a pair of weights up, in a table made in RAM; one multiplication for both.

    The table has 4**bits words: 1 kB for 4 bits, 4 kB for 5.
    """

    name = "dense_pairs"
    most_bits = 5
    code_bytes = 450
    plain_factor = 3.0

    def scratch(self, layer: Layer) -> int:
        assert isinstance(layer.op, QDense)
        assert layer.encoded is not None
        cols = layer.op.weight.shape[1]
        return align4(4 * 4 ** layer.encoded.meta["k"] + 2 * (cols + cols % 2))

    def work(self, layer: Layer) -> dict[str, float]:
        op, e = layer.op, layer.encoded
        assert isinstance(op, QDense)
        assert e is not None
        return {
            "weights": float(op.weight.size),
            "rows": float(len(op.weight)),
            "inputs": float(op.weight.shape[1]),
            "pairs": float(4 ** e.meta["k"]),
        }

    def emit(self, layer: Layer) -> Emission:
        return self._emit(layer, "dense_pairs.c.j2", "two to a table look-up", True)
