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
from .base import Kernel, Layer, register

#: Input codes are below this.
_CODES = 256

#: Of more pixels tiles are as good.
_PIXELS = 8


Weighted = TypeVar("Weighted", QConv, QDense)


def _padded(weight: np.ndarray) -> np.ndarray:
    """int64 weights [rows, cols] with rows and columns of zeros up to multiples of four."""
    flat = weight.reshape(len(weight), -1).astype(np.int64)
    rows, cols = (-n % 4 for n in flat.shape)
    return np.pad(flat, ((0, rows), (0, cols)))


def _lanes(weight: np.ndarray) -> np.ndarray:
    """a + 256 b of rows 2k and 2k + 1: int64 [rows / 2, cols]."""
    w = _padded(weight)
    return w[0::2] + 256 * w[1::2]


def lane_words(weight: np.ndarray) -> np.ndarray:
    """The stored words of int8 weights [rows, ...], uint32 [rows / 4, cols / 4, 2, 2].

    Of each four rows and four columns: columns 0 and 2, then 1 and 3, each of the first two rows,
    then of the other two. The lower column is in the low lane.
    """
    lanes = _lanes(weight) & 0xFFFF
    blocks = lanes.reshape(len(lanes) // 2, 2, -1, 2, 2)  # row pair; column / 4, high lane, odd
    words = blocks[..., 0, :] | blocks[..., 1, :] << 16
    return words.transpose(0, 2, 3, 1)


class _Lanes(Kernel[Weighted, RequantizedTable]):
    """Two rows to a lane: for cores with the DSP extension."""

    forms = frozenset({"dense"})
    plain_factor = 9.0

    def applies(self, layer: Layer[Weighted]) -> bool:
        lanes = _lanes(layer.op.weight)
        fits = np.abs(lanes).sum(axis=1).max(initial=0) * (_CODES - 1) < 2**31
        return bool(fits and lanes.min(initial=0) >= -(2**15) and lanes.max(initial=0) < 2**15)

    def table(self, layer: Layer[Weighted]) -> RequantizedTable:
        words = lane_words(layer.op.weight)
        note = f"{layer.op.name}: int8 weights, two rows to a lane"
        bits = {"value": 8 * layer.op.weight.size}
        array = CArray(f"{layer.prefix}_w", "uint32_t", words, note, bits)
        return RequantizedTable.of(requantization(layer.prefix, layer.op.requant), array)

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

    def scratch(self, layer: Layer[QDense]) -> int:
        return 2 * align4(layer.op.weight.shape[1])

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        w = _padded(layer.op.weight)
        rows = float(len(layer.op.weight))
        return {"weights": float(w.size), "rows": rows, "inputs": float(w.shape[1])}

    def emit(self, layer: Layer[QDense], table: RequantizedTable) -> Emission:
        n, cols = layer.op.weight.shape
        title = f"Fully connected, {cols} inputs, {n} outputs"
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
