"""Fully connected layers of blocks: two neighbouring columns of four rows that are not all 0.

What `Prune(block_size=(2, 4))` leaves: a byte names two inputs, which are loaded at once for eight
weights, where lists of single weights load an input for each. Any matrix can be stored so, but
zeros within a block are multiplied.
"""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QDense
from ..emit import CArray, Emission
from ..geometry import align4
from ..tables import RequantizedTable
from . import four_rows
from .base import Kernel, Layer, register
from .lanes import lanes, lanes_fit

_PAIRS = 256  #: of columns that a byte names; so many less one are a list's most


def _blocks(weight: np.ndarray) -> np.ndarray:
    """int64 lanes [rows / 4, 2, cols / 2, 2] of four rows: the row pairs, columns by twos."""
    words = lanes(weight)
    return words.reshape(len(words) // 2, 2, -1, 2)


@register
class DenseBlocks(Kernel[QDense, RequantizedTable]):
    """Lists of pairs of columns, by four rows; weights as in `dense_lanes`."""

    name = "dense_blocks"
    forms = frozenset({"sparse"})
    plain_factor = 5.0
    assembler = frozenset({"dsp"})

    def applies(self, layer: Layer[QDense]) -> bool:
        op = layer.op
        return four_rows.fits(op) and op.weight.shape[1] < 2 * _PAIRS and lanes_fit(op.weight)

    def scratch(self, layer: Layer[QDense]) -> int:
        return 2 * align4(layer.op.weight.shape[1])

    def work(self, layer: Layer[QDense]) -> dict[str, float]:
        rows, cols = layer.op.weight.shape
        there = (_blocks(layer.op.weight) != 0).any(axis=(1, 3))
        return {"pairs": float(there.sum()), "blocks": rows / 4, "inputs": float(cols)}

    def table(self, layer: Layer[QDense]) -> RequantizedTable:
        w, prefix = layer.op.weight, layer.prefix
        blocks = _blocks(w)
        there = (blocks != 0).any(axis=(1, 3))  # [rows / 4, cols / 2]
        halves = blocks.transpose(0, 2, 1, 3)[there] & 0xFFFF  # [pairs, row pair, column]
        words = halves[..., 0] | halves[..., 1] << 16
        lists = [np.concatenate([[row.sum()], np.flatnonzero(row)]) for row in there]
        bytes_ = np.concatenate(lists)
        density = np.count_nonzero(w) / w.size
        note = f"{layer.op.name}: two columns of four rows to two words; density {density:.1%}"
        arrays = (
            CArray(f"{prefix}_w", "uint32_t", words, note, {"value": 32 * words.size}),
            CArray(
                f"{prefix}_p", "uint8_t", bytes_, "by four rows: how many, then which columns / 2",
                {"index": 8 * (bytes_.size - len(there)), "count": 8 * len(there)},
            ),
        )  # fmt: skip
        return RequantizedTable.of(four_rows.constants(layer), *arrays)

    def emit(self, layer: Layer[QDense], table: RequantizedTable) -> Emission:
        n, cols = layer.op.weight.shape
        title = f"Fully connected, {cols} inputs, {n} outputs, blocks of 2 columns and 4 rows."
        return four_rows.emission(
            layer, table, f"fc_blocks_{cols}x{n}", title=title, lists=True,
            fours=align4(cols) // 4,
        )  # fmt: skip
