"""Fully connected layers of int8 rows, and of rows that are unpacked one by one."""

from __future__ import annotations

from ...coding.base import Encoding
from ...lowering.qgraph import QDense
from ..emit import CFunction, Emission, render
from ..requant import table
from .base import Kernel, Layer, register
from .source import dense_source, index_work
from .unpack import align4, decode_work, is_coded


@register
class DenseRows(Kernel):
    """Dense int8 rows, four at a time; coded ones and packed indices unpacked row by row."""

    name = "dense"
    forms = frozenset({"dense"})
    code_bytes = 230
    plain_factor = 2.0

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense)

    def scratch(self, layer: Layer) -> int:
        return dense_source(layer).row_buffer

    def work(self, layer: Layer) -> dict[str, float]:
        op = layer.op
        assert isinstance(op, QDense)
        e = layer.encoded
        size, rows = float(op.weight.size), float(len(op.weight))
        if e is not None and e.encoding == "codebook":
            return {"single_weights": size, "rows": rows, **index_work(layer, size)}
        if is_coded(e):
            return {"single_weights": size, "rows": rows, **decode_work(e)}
        return {"weights": size, "rows": rows}

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QDense)
        n, cols = op.weight.shape
        q = table(layer.prefix, op.requant)
        source = dense_source(layer, "scratch")
        name = f"dense_{cols}x{n}{source.suffix}"
        title = f"Fully connected, {cols} inputs, {n} outputs, every weight."
        template = "dense.c.j2" if source.row_buffer else "dense_rows.c.j2"
        text = render(template, name=name, title=title, source=source, q=q, n=n, cols=cols)
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output]
        if source.row_buffer:
            args.append(layer.scratch)
        return Emission(
            source.call(name, args), [CFunction(name, text)], [*source.arrays, q.array],
            source.headers, source.constants,
        )  # fmt: skip


@register
class DenseSkip(Kernel):
    """Dense int8 rows over the columns whose input is not 0: they are listed first."""

    name = "dense_skip"
    skips_zeros = True
    forms = frozenset({"dense"})
    code_bytes = 230
    plain_factor = 1.3

    def applies(self, layer: Layer) -> bool:
        return isinstance(layer.op, QDense)

    def takes(self, encoding: Encoding) -> bool:
        """Weights as they are."""
        return encoding.name == "dense"

    def scratch(self, layer: Layer) -> int:
        assert isinstance(layer.op, QDense)
        cols = layer.op.weight.shape[1]
        return align4(cols if cols <= 256 else 2 * cols)

    def work(self, layer: Layer) -> dict[str, float]:
        op = layer.op
        assert isinstance(op, QDense)
        n, cols = op.weight.shape
        live = float(layer.live_inputs().sum())
        return {"inputs": float(cols), "weights": live * n, "rows": float(n)}

    def emit(self, layer: Layer) -> Emission:
        op = layer.op
        assert isinstance(op, QDense)
        n, cols = op.weight.shape
        q = table(layer.prefix, op.requant)
        source = dense_source(layer)
        name = f"dense_skip_{cols}x{n}"
        text = render(
            "dense_skip.c.j2", name=name, q=q, n=n, cols=cols,
            title=f"Fully connected, {cols} inputs, {n} outputs, inputs that are not 0.",
            elem="uint8_t" if cols <= 256 else "uint16_t",
        )  # fmt: skip
        args = [*source.arguments, q.array.name, layer.inputs[0], layer.output, layer.scratch]
        return Emission(
            f"{name}({', '.join(args)});", [CFunction(name, text)], [*source.arrays, q.array]
        )
