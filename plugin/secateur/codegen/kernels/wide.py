"""Layers with an end of 16 bits: int8 weights times int16 or uint8, and what has no weights.

Products are added in 32 bits where every partial sum of a row is proven to fit, else stretch by
stretch in 64. On cores with the DSP extension two of them are one instruction. Costs were counted
in the simulator, on single layers.
"""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from ... import names
from ...lowering.operators.wide import EXP2, QInterpolate, QWideArithmetic, QWideSoftmax
from ...lowering.qgraph import DTYPES, QConv, QDense, QTensor
from ...lowering.wide import products
from ..emit import CTYPES, CArray, CFunction, Emission, by_isa, render
from ..geometry import align4
from ..nest import c_loops, element
from ..requant import wide_code
from ..tables import Table
from .base import Kernel, Layer, Plain, register
from .coded import decode_work, is_coded
from .source import StoredTable, index_work, row_bytes, row_source, stored_rows

#: Instructions on a Cortex-M4: a product, what a sum needs beside, a pixel brought under the
#: kernel, and a tap of a depthwise one.
_PRODUCT, _SUM, _GATHERED, _TAP = 3.0, 26.0, 21.0, 17.5

Weighted = TypeVar("Weighted", QConv, QDense)


def _sums(products: float, sums: float) -> float:
    return _PRODUCT * products + _SUM * sums


def run_of(weight: np.ndarray, x: QTensor) -> int:
    """How many products of a row may be added in 32 bits: all, or a multiple of four."""
    w = weight.reshape(len(weight), -1).astype(np.int64)
    low, high = products(w, x)
    if low.min() >= -(2**31) and high.max() < 2**31:
        return w.shape[1]
    most = max(x.top, -x.bottom) * int(np.abs(w).max())
    return (2**31 - 1) // most // 4 * 4


def _wide(layer: Layer[Any]) -> bool:
    t = layer.graph.tensors
    return any(t[name].wide for name in (*layer.op.inputs, layer.op.output))


class _Rows(Kernel[Weighted, StoredTable]):
    """What multiplies stored rows of int8 by wide activations."""

    wide = True
    forms = frozenset({"dense", "indices", "coded dense"})

    def applies(self, layer: Layer[Weighted]) -> bool:
        return _wide(layer)

    def scratch(self, layer: Layer[Weighted]) -> int:
        return row_bytes(stored_rows(layer))

    def table(self, layer: Layer[Weighted]) -> StoredTable:
        return StoredTable.make(layer, stored_rows(layer), layer.op.requant)


def _work(layer: Layer[Any], instructions: float, looked_up: float) -> dict[str, float]:
    """Units of a layer that looks so many weights up, decoding included."""
    decoding = decode_work(layer.encoded) if is_coded(layer.encoded) else {}
    return {"instructions": instructions, **index_work(layer, looked_up), **decoding}


@register
class WideDense(_Rows[QDense]):
    """Fully connected, row by row."""

    name = "wide_dense"
    plain_factor = 2.7

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        size, rows = float(layer.op.weight.size), float(len(layer.op.weight))
        return _work(layer, _sums(size, rows), size)

    def emit(self, layer: Layer[QDense], table: StoredTable) -> Emission:
        op = layer.op
        n, cols = op.weight.shape
        source = row_source(table.stored, "scratch")
        x = layer.graph.tensors[op.inputs[0]]
        function = by_isa(
            f"fc_wide_{layer.c_name}", "wide_dense", "dsp", source=source, q=table.q, n=n,
            cols=cols, run=run_of(op.weight, x), kind=layer.ctype(op.inputs[0]),
            to=layer.ctype(op.output),
            title=f"Fully connected, {cols} inputs, {n} outputs, {x.dtype} times int8.",
        )  # fmt: skip
        args = [*source.arguments, table.q.array.name, *layer.pointers]
        if source.row_buffer:
            args.append(layer.scratch)
        functions = [*wide_code(op.requant), function]
        return Emission(source.call(function.name, args), functions, source.headers)


@register
class WideConv(_Rows[QConv]):
    """Convolution: the pixels under the kernel in a row, times each row of weights."""

    name = "wide_conv"
    plain_factor = 2.8

    def applies(self, layer: Layer[QConv]) -> bool:
        return _wide(layer) and layer.op.groups == 1

    def _patch(self, layer: Layer[QConv]) -> int:
        x = layer.graph.tensors[layer.op.inputs[0]]
        return align4(layer.op.weight[0].size * DTYPES[x.dtype])

    def scratch(self, layer: Layer[QConv]) -> int:
        return self._patch(layer) + row_bytes(stored_rows(layer), again=True)

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        op = layer.op
        pixels = float(layer.out_size // len(op.weight))
        size = float(op.weight.size)
        sums = _sums(size * pixels, len(op.weight) * pixels)
        gathered = _GATHERED * op.weight[0].size * pixels
        return _work(layer, sums + gathered, size * pixels)

    def emit(self, layer: Layer[QConv], table: StoredTable) -> Emission:
        op = layer.op
        source = row_source(table.stored, f"(scratch + {self._patch(layer)})", again=True)
        x = layer.graph.tensors[op.inputs[0]]
        added = layer.ctype(op.inputs[1]) if op.residual is not None else ""
        n, cols = len(op.weight), op.weight[0].size
        function = by_isa(
            f"conv_wide_{layer.c_name}", "wide_conv", "dsp", source=source, q=table.q,
            g=_geometry(layer), n=n, cols=cols, run=run_of(op.weight, x), padded=any(op.pads),
            zero=x.zero_point, kind=layer.ctype(op.inputs[0]), to=layer.ctype(op.output),
            added=added, factor=op.residual,
            title=f"Convolution, {cols} weights a channel, {n} channels, {x.dtype} times int8.",
        )  # fmt: skip
        args = [*source.arguments, table.q.array.name, *layer.pointers, layer.scratch]
        functions = [*wide_code(op.requant), function]
        return Emission(source.call(function.name, args), functions, source.headers)


@register
class WideDepthwise(_Rows[QConv]):
    """Depthwise convolution, plane by plane."""

    name = "wide_depthwise"
    plain_factor = 2.0

    def applies(self, layer: Layer[QConv]) -> bool:
        op = layer.op
        alone = op.groups == len(op.weight) > 1 and op.weight.shape[1] == 1
        return _wide(layer) and alone and op.residual is None

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        instructions = layer.out_size * (_TAP * layer.op.weight[0].size + 15.0)
        return _work(layer, instructions, float(layer.op.weight.size))

    def emit(self, layer: Layer[QConv], table: StoredTable) -> Emission:
        op = layer.op
        source = row_source(table.stored, "scratch")
        x = layer.graph.tensors[op.inputs[0]]
        n, taps = len(op.weight), op.weight[0].size
        name = f"depthwise_wide_{layer.c_name}"
        text = render(
            "wide_depthwise.c.j2", name=name, source=source, q=table.q, g=_geometry(layer), n=n,
            acc="int32_t" if run_of(op.weight, x) >= taps else "int64_t", padded=any(op.pads),
            zero=x.zero_point, kind=layer.ctype(op.inputs[0]), to=layer.ctype(op.output),
            title=f"Depthwise convolution of {n} planes, {x.dtype} times int8.",
        )  # fmt: skip
        args = [*source.arguments, table.q.array.name, *layer.pointers]
        if source.row_buffer:
            args.append(layer.scratch)
        functions = [*wide_code(op.requant), CFunction(name, text)]
        return Emission(source.call(name, args), functions, source.headers)


def _geometry(layer: Layer[QConv]) -> dict[str, object]:
    op, t = layer.op, layer.graph.tensors
    (ci, h, w), (_, oh, ow) = t[op.inputs[0]].shape, t[op.output].shape
    kh, kw = op.weight.shape[2:]
    sy, sx = op.stride
    return {
        "ci": ci, "h": h, "w": w, "oh": oh, "ow": ow, "kh": kh, "kw": kw, "sy": sy, "sx": sx,
        "pads": op.pads,
    }  # fmt: skip


@register
class WideArithmetic(Plain[QWideArithmetic]):
    """Sum, product, larger or smaller of two tensors."""

    name = "wide_arithmetic"
    wide = True
    plain_factor = 3.5

    def cost(self, layer: Layer[QWideArithmetic]) -> float:
        return 20.0 * layer.out_size

    def overwrites(self, layer: Layer[QWideArithmetic]) -> tuple[int, ...]:
        tensors = layer.graph.tensors
        y = tensors[layer.op.output]
        inputs = [tensors[t] for t in layer.op.inputs]
        return tuple(i for i, t in enumerate(inputs) if (t.size, t.dtype) == (y.size, y.dtype))

    def emit(self, layer: Layer[QWideArithmetic], table: Table) -> Emission:
        op = layer.op
        loops = c_loops(op.loops)
        name = f"{op.function}_{layer.c_name}"
        text = render(
            "wide_arithmetic.c.j2", name=name, op=op, loops=loops, size=layer.out_size,
            zeros=[layer.graph.tensors[t].zero_point for t in op.inputs],
            at=(element(loops, 0), element(loops, 1)),
            kinds=[layer.ctype(t) for t in (*op.inputs, op.output)],
        )  # fmt: skip
        call = f"{name}({', '.join(layer.pointers)});"
        return Emission(call, [CFunction("wide_code", render("wide_code.c.j2")),
                               CFunction(name, text)])  # fmt: skip


@register
class Interpolate(Kernel[QInterpolate, Table]):
    """A function of one 16-bit element."""

    name = "interpolate"
    wide = True
    plain_factor = 1.6

    def cost(self, layer: Layer[QInterpolate]) -> float:
        return 19.0 * layer.out_size

    def overwrites(self, layer: Layer[QInterpolate]) -> tuple[int, ...]:
        return (0,)

    def table(self, layer: Layer[QInterpolate]) -> Table:
        note = f"{layer.c_name}: the function at {len(layer.op.table)} codes"
        kind = CTYPES[layer.op.table.dtype.name]
        return Table((CArray(f"{layer.prefix}_lines", kind, layer.op.table, note),))

    def emit(self, layer: Layer[QInterpolate], table: Table) -> Emission:
        op = layer.op
        name = f"interpolate_{layer.c_name}"
        to = layer.ctype(op.output)
        entry = table.arrays[0].ctype
        text = render("interpolate.c.j2", name=name, op=op, to=to, n=layer.out_size, entry=entry)
        call = f"{name}({', '.join([*table.names, *layer.pointers])});"
        return Emission(call, [CFunction(name, text)])


@register
class WideSoftmax(Kernel[QWideSoftmax, Table]):
    """Softmax along rows."""

    name = "wide_softmax"
    wide = True
    plain_factor = 4.5

    def cost(self, layer: Layer[QWideSoftmax]) -> float:
        return 38.0 * layer.out_size

    def scratch(self, layer: Layer[QWideSoftmax]) -> int:
        return 4 * layer.op.length

    def overwrites(self, layer: Layer[QWideSoftmax]) -> tuple[int, ...]:
        same = layer.ctype(layer.op.inputs[0]) == layer.ctype(layer.op.output)
        return (0,) if same else ()

    def table(self, layer: Layer[QWideSoftmax]) -> Table:
        name = f"{names.model(layer.graph.name)}_exp2"
        return Table((CArray(name, "uint16_t", EXP2, "2^(-i / 128) in units of 2^-16, less 2^15"),))

    def emit(self, layer: Layer[QWideSoftmax], table: Table) -> Emission:
        op = layer.op
        name = f"softmax_{layer.c_name}"
        text = render(
            "wide_softmax.c.j2", name=name, op=op, rows=layer.out_size // op.length,
            kind=layer.ctype(op.inputs[0]), to=layer.ctype(op.output),
        )  # fmt: skip
        scratch = f"(uint32_t *)(void *)({layer.scratch})"
        call = f"{name}({', '.join([*table.names, *layer.pointers, scratch])});"
        return Emission(call, [CFunction(name, text)])
