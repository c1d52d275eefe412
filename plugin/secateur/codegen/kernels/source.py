"""Where a kernel that needs every weight of a row gets its rows from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...lowering.qgraph import QConv, QDense
from ..emit import CArray
from .base import Layer


@dataclass
class RowSource:
    """C fragments that walk over int8 weight rows."""

    parameters: str  #: of the kernel function
    arguments: list[str]  #: of its call
    rewind: str  #: before the first row
    next_row: str  #: sets `row` to the next row's int8 weights
    arrays: list[CArray] = field(default_factory=list)
    row_buffer: int = 0  #: bytes of scratch for one unpacked row
    suffix: str = ""  #: of the kernel function's name


def dense_source(layer: Layer, buffer: str = "") -> RowSource:
    """Rows of `layer` as its encoding stores them: int8, or packed codebook indices.

    buffer: C expression of the scratch that holds one unpacked row.
    """
    op = layer.op
    assert isinstance(op, (QConv, QDense))
    weight = op.weight.reshape(op.weight.shape[0], -1)
    cols = weight.shape[1]
    e = layer.encoded
    if e is not None and e.encoding == "codebook":
        bits = e.meta["k"]
        book = np.frombuffer(e.stream("b").data, np.int8)
        size = -(-cols * bits // 8)
        index = np.frombuffer(e.stream("i").data, np.uint8)
        arrays = [
            CArray(f"{layer.prefix}_i", "uint8_t", index, f"{op.name}: {bits}-bit indices"),
            CArray(f"{layer.prefix}_book", "int8_t", book, f"{op.name}: codebook"),
        ]
        return RowSource(
            "const uint8_t *index, const int8_t *book",
            [a.name for a in arrays],
            f"int8_t *const row = (int8_t *)({buffer});\nconst uint8_t *index_row = index;",
            f"sc_unpack(row, index_row, {cols}, book, {bits});\nindex_row += {size};",
            arrays,
            (cols + 3) & ~3,
            f"_book{bits}",
        )
    array = CArray(f"{layer.prefix}_w", "int8_t", weight, f"{op.name}: int8 weights, row by row")
    return RowSource(
        "const int8_t *weights",
        [array.name],
        "const int8_t *next = weights;",
        f"const int8_t *row = next;\nnext += {cols};",
        [array],
    )
