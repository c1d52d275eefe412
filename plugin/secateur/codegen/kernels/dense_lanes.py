"""Fully connected layers of int8 rows for dual 16-bit multiplications, four rows at a time.

A 16-bit lane holds the weights of two rows for one input, a + 256 b. The product of a word (two
inputs) with the inputs' lanes adds up a + 256 b; the sign extension of its even bytes gives a's
part alone, so that four weights take one extension and two multiplications, where rows of bytes
take two of each. b's sum is the difference over 256, exact as long as no sum leaves 32 bits.
"""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QDense
from ..emit import CArray, CFunction, Emission, render
from ..geometry import align4
from ..requant import requantization
from ..tables import RequantizedTable
from .base import Kernel, Layer, register

#: Input codes are below this.
_CODES = 256


def _padded(weight: np.ndarray) -> np.ndarray:
    """int64 weights with rows and columns of zeros up to multiples of four."""
    rows, cols = (-n % 4 for n in weight.shape)
    return np.pad(weight.astype(np.int64), ((0, rows), (0, cols)))


def _lanes(weight: np.ndarray) -> np.ndarray:
    """a + 256 b of rows 2k and 2k + 1: int64 [rows / 2, cols]."""
    w = _padded(weight)
    return w[0::2] + 256 * w[1::2]


def lane_words(weight: np.ndarray) -> np.ndarray:
    """The stored words of int8 weights [rows, cols], uint32 [rows / 4, cols / 4, 2, 2].

    Of each four rows and four columns: columns 0 and 2, then 1 and 3, each of the first two rows,
    then of the other two. The lower column is in the low lane.
    """
    lanes = _lanes(weight) & 0xFFFF
    blocks = lanes.reshape(len(lanes) // 2, 2, -1, 2, 2)  # row pair; column / 4, high lane, odd
    words = blocks[..., 0, :] | blocks[..., 1, :] << 16
    return words.transpose(0, 2, 3, 1)


@register
class DenseLanes(Kernel[QDense, RequantizedTable]):
    """Two rows to a lane: for cores with the DSP extension."""

    name = "dense_lanes"
    forms = frozenset({"dense"})
    code_bytes = 420
    plain_factor = 9.0

    def applies(self, layer: Layer[QDense]) -> bool:
        lanes = _lanes(layer.op.weight)
        fits = np.abs(lanes).sum(axis=1).max(initial=0) * (_CODES - 1) < 2**31
        return bool(fits and lanes.min(initial=0) >= -(2**15) and lanes.max(initial=0) < 2**15)

    def scratch(self, layer: Layer[QDense]) -> int:
        return 2 * align4(layer.op.weight.shape[1])

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        w = _padded(layer.op.weight)
        return {"weights": float(w.size), "rows": float(len(w)), "inputs": float(w.shape[1])}

    def table(self, layer: Layer[QDense]) -> RequantizedTable:
        words = lane_words(layer.op.weight)
        note = f"{layer.op.name}: int8 weights, two rows to a lane"
        bits = {"value": 8 * layer.op.weight.size}
        array = CArray(f"{layer.prefix}_w", "uint32_t", words, note, bits)
        return RequantizedTable.of(requantization(layer.prefix, layer.op.requant), array)

    def emit(self, layer: Layer[QDense], table: RequantizedTable) -> Emission:
        n, cols = layer.op.weight.shape
        fours = align4(cols) // 4
        unroll = 1 if layer.small else next(u for u in (4, 3, 2, 1) if fours % u == 0)
        name = f"fc_lanes_{cols}x{n}"

        def text(isa: str) -> str:
            return render(
                "dense_lanes.c.j2", name=name, isa=isa, q=table.q, n=n, cols=cols, fours=fours,
                unroll=unroll,
                title=f"Fully connected, {cols} inputs, {n} outputs: two rows to a lane.",
            )  # fmt: skip

        args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
        function = CFunction(name, text("plain"), {"dsp": text("dsp")})
        return Emission(f"{name}({', '.join(args)});", [function])
