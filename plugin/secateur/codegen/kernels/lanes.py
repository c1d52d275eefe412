"""Rows of int8 for dual 16-bit multiplications, four rows at a time: fully connected layers, and
convolutions, pixel by pixel.

A 16-bit lane holds the weights of two rows for one input, a + 256 b. The product of a word (two
inputs) with the inputs' lanes adds up a + 256 b; the sign extension of its even bytes gives a's
part alone, so that four weights take one extension and two multiplications, where rows of bytes
take two of each. b's sum is the difference over 256, exact as long as no sum leaves 32 bits.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

from ...lowering.qgraph import QConv, QDense
from ..emit import CArray, CFunction, Emission, render
from ..geometry import align4, conv_geometry
from ..requant import requantization
from ..tables import RequantizedTable
from . import four_rows
from .base import Kernel, Layer, register

#: Input codes are below this.
_CODES = 256

#: Eights of columns of four rows that are written out: at most; where there are fewer rows.
_WRITTEN_OUT, _FEW, _MANY_ROWS = 8, 4, 64

#: Of more pixels tiles are as good.
_PIXELS = 8


Weighted = TypeVar("Weighted", QConv, QDense)


def _padded(weight: np.ndarray) -> np.ndarray:
    """int64 weights [rows, cols] with rows and columns of zeros up to multiples of four."""
    flat = weight.reshape(len(weight), -1).astype(np.int64)
    rows, cols = (-n % 4 for n in flat.shape)
    return np.pad(flat, ((0, rows), (0, cols)))


def lanes(weight: np.ndarray) -> np.ndarray:
    """a + 256 b of rows 2k and 2k + 1: int64 [rows / 2, cols]."""
    w = _padded(weight)
    return w[0::2] + 256 * w[1::2]


def lanes_fit(weight: np.ndarray) -> bool:
    """Whether two rows fit a lane, and their sums 32 bits."""
    both = lanes(weight)
    sums = np.abs(both).sum(axis=1).max(initial=0) * (_CODES - 1)
    return bool(sums < 2**31 and both.min(initial=0) >= -(2**15) and both.max(initial=0) < 2**15)


def lane_words(weight: np.ndarray) -> np.ndarray:
    """The stored words of int8 weights [rows, ...], uint32 [rows / 4, cols / 4, 2, 2].

    Of each four rows and four columns: columns 0 and 2, then 1 and 3, each of the first two rows,
    then of the other two. The lower column is in the low lane.
    """
    halves = lanes(weight) & 0xFFFF
    blocks = halves.reshape(len(halves) // 2, 2, -1, 2, 2)  # row pair; column / 4, high lane, odd
    words = blocks[..., 0, :] | blocks[..., 1, :] << 16
    return words.transpose(0, 2, 3, 1)


def _array(layer: Layer[QConv] | Layer[QDense]) -> CArray:
    """The stored words of a layer."""
    note = f"{layer.op.name}: int8 weights, two rows to a lane"
    bits = {"value": 8 * layer.op.weight.size}
    return CArray(f"{layer.prefix}_w", "uint32_t", lane_words(layer.op.weight), note, bits)


def _turns(layer: Layer[QDense]) -> tuple[int, int]:
    """(turns, eights of columns a turn) in which a row's columns are walked over; what is left,
    four columns at most, follows."""
    rows, cols = layer.op.weight.shape
    eights = align4(cols) // 8
    if layer.small:
        return eights, min(1, eights)
    most = _WRITTEN_OUT if rows >= _MANY_ROWS else _FEW
    unroll = next((u for u in range(min(most, eights), 0, -1) if eights % u == 0), 0)
    return (eights // unroll if unroll else 0), unroll


class _Lanes(Kernel[Weighted, RequantizedTable]):
    """Two rows to a lane: for cores with the DSP extension."""

    forms = frozenset({"dense"})
    plain_factor = 9.0

    def applies(self, layer: Layer[Weighted]) -> bool:
        return lanes_fit(layer.op.weight)

    def table(self, layer: Layer[Weighted]) -> RequantizedTable:
        q = requantization(layer.prefix, layer.op.requant)
        return RequantizedTable.of(q, _array(layer))

    def _emission(
        self, layer: Layer[Weighted], table: RequantizedTable, name: str, title: str, pixels: int,
        geometry: dict[str, object] | None,
    ) -> Emission:  # fmt: skip
        n, cols = len(layer.op.weight), layer.op.weight[0].size
        fours = align4(cols) // 4
        unroll = 1 if layer.small else next(u for u in (4, 3, 2, 1) if fours % u == 0)

        def text(isa: str) -> str:
            return render(
                "lanes.c.j2", name=name, isa=isa, q=table.q, n=n, cols=cols, fours=fours,
                unroll=unroll, title=f"{title}: two rows to a lane.", pixels=pixels, g=geometry,
            )  # fmt: skip

        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        function = CFunction(name, text("plain"), {"dsp": text("dsp")})
        return Emission(f"{name}({', '.join(args)});", [function])


@register
class DenseLanes(_Lanes[QDense], Kernel[QDense, RequantizedTable]):
    """Fully connected."""

    name = "dense_lanes"
    assembler = frozenset({"dsp"})

    def scratch(self, layer: Layer[QDense]) -> int:
        return 2 * align4(layer.op.weight.shape[1])

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        w = _padded(layer.op.weight)
        rows, cols = (float(n) for n in w.shape)
        if not four_rows.fits(layer.op):
            return {"weights": float(w.size), "rows": float(len(layer.op.weight)), "inputs": cols}
        turns, _ = _turns(layer)
        return {
            "block_weights": rows * cols,
            "blocks": rows / 4,
            "block_turns": rows / 4 * turns if turns > 1 else 0.0,
            "block_inputs": cols,
        }

    def table(self, layer: Layer[QDense]) -> RequantizedTable:
        if not four_rows.fits(layer.op):
            return super().table(layer)
        return RequantizedTable.of(four_rows.constants(layer), _array(layer))

    def emit(self, layer: Layer[QDense], table: RequantizedTable) -> Emission:
        n, cols = layer.op.weight.shape
        title = f"Fully connected, {cols} inputs, {n} outputs"
        if four_rows.fits(layer.op):
            turns, unroll = _turns(layer)
            return four_rows.emission(
                layer, table, f"fc_lanes4_{cols}x{n}", title=f"{title}: two rows to a lane.",
                fours=align4(cols) // 4, turns=turns, unroll=unroll, looped=4 * turns * unroll,
                lists=False,
            )  # fmt: skip
        return self._emission(layer, table, f"fc_lanes_{cols}x{n}", title, 1, None)


@register
class ConvLanes(_Lanes[QConv], Kernel[QConv, RequantizedTable]):
    """Convolution of few pixels, where tiles of neighbours would be half empty."""

    name = "conv_lanes"

    def applies(self, layer: Layer[QConv]) -> bool:
        op = layer.op
        _, h, w = layer.graph.tensors[op.output].shape
        few = h * w <= _PIXELS and op.groups == 1 and op.residual is None
        return few and super().applies(layer)

    def scratch(self, layer: Layer[QConv]) -> int:
        return 3 * align4(layer.op.weight[0].size)

    def work(self, layer: Layer[QConv]) -> dict[str, float]:
        w = _padded(layer.op.weight)
        g = conv_geometry(layer.op, layer.graph, 4)
        pixels = float(g.oh * g.ow)
        return {
            "dense_lanes.weights": pixels * w.size,
            "dense_lanes.rows": pixels * len(layer.op.weight),
            "dense_lanes.inputs": pixels * w.shape[1],
            "gathered" if g.pointwise else "gathered_windows": pixels * layer.op.weight[0].size,
        }

    def emit(self, layer: Layer[QConv], table: RequantizedTable) -> Emission:
        op = layer.op
        g = conv_geometry(op, layer.graph, 4)
        x = layer.graph.tensors[op.inputs[0]]
        kh, kw = op.weight.shape[2:]
        shape: dict[str, object] = {
            "pointwise": g.pointwise, "ci": g.ci, "h": x.shape[1], "w": x.shape[2], "kh": kh,
            "kw": kw, "sy": op.stride[0], "sx": op.stride[1], "pads": op.pads, "ow": g.ow,
            "padded": any(op.pads), "zero": x.zero_point,
        }  # fmt: skip
        title = f"Convolution, {op.weight[0].size} weights a channel, {len(op.weight)} channels"
        name = f"conv_lanes_{layer.c_name}"
        return self._emission(layer, table, name, title, g.oh * g.ow, shape)
