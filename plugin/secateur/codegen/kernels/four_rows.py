"""Four rows at a time from weights to codes, for cores with the DSP extension: what the fully
connected kernels of lanes.py and blocks.py share.

The whole walk over the rows is one piece of assembler, which has all registers for itself: sums of
four rows, four words of weights, four of inputs; multipliers and offsets of four rows are read by
one instruction, and codes of four rows written by one.
"""

from __future__ import annotations

import numpy as np

from ...lowering.qgraph import QDense, Requant, ShortRequant
from ..emit import CArray, CFunction, Emission, render
from ..requant import RequantTable
from ..tables import RequantizedTable
from .base import Layer


def fits(op: QDense) -> bool:
    """Whether a layer's rows and constants can be taken by fours."""
    return len(op.weight) % 4 == 0 and type(op.requant) in (Requant, ShortRequant)


def constants(layer: Layer[QDense]) -> RequantTable:
    """Of each four rows two words of two multipliers each, then four offsets."""
    r = layer.op.requant
    assert isinstance(r, Requant)
    m = np.asarray(r.multiplier, np.int64).reshape(-1, 2) & 0xFFFF
    c = np.asarray(r.offset, np.int64).reshape(-1, 4) & 0xFFFFFFFF
    words = np.concatenate([(m[:, 0] | m[:, 1] << 16).reshape(-1, 2), c], axis=1)
    note = "per four output channels: multipliers, offsets"
    array = CArray(f"{layer.prefix}_q", "uint32_t", words, note, {"requant": 32 * words.size})
    out = "int16_t" if isinstance(r, ShortRequant) else "uint8_t"
    return RequantTable(array, ("", ""), r.pre_shift, r.shift, 0, out)


def emission(
    layer: Layer[QDense], table: RequantizedTable, name: str, **values: object
) -> Emission:
    """The C of a layer whose `table` ends with `constants`."""
    n, cols = layer.op.weight.shape

    def text(isa: str) -> str:
        return render(
            "four_rows.c.j2", name=name, isa=isa, q=table.q, n=n, cols=cols, **values
        )  # fmt: skip

    args = [*table.names, layer.inputs[0], layer.output, layer.scratch]
    function = CFunction(name, text("plain"), {"dsp": text("dsp")})
    return Emission(f"{name}({', '.join(args)});", [function])
