"""Where a kernel that needs every weight of a row gets its rows from."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ...lowering.qgraph import QConv, QDense
from ..emit import CArray, Constant
from .base import Layer
from .unpack import align4, coded, is_coded


@dataclass
class RowSource:
    """C fragments that walk over int8 weight rows."""

    parameters: str  #: of the kernel function
    arguments: list[str]  #: of its call
    rewind: str  #: before the first row
    next_row: str  #: sets `row` to the next row's int8 weights
    arrays: list[CArray] = field(default_factory=list)
    row_buffer: int = 0  #: bytes of scratch for unpacked rows
    suffix: str = ""  #: of the kernel function's name
    headers: list[str] = field(default_factory=list)
    constants: list[Constant] = field(default_factory=list)
    result: str = "void"  #: of the kernel function: int where rows come from a decoder
    start: str = ""  #: once, before everything
    order: str = ""  #: of a row's weights, if not that of the operator: see pairs.py

    def call(self, function: str, arguments: list[str]) -> str:
        """C that calls the kernel function and hands a decoder's failure on."""
        call = f"{function}({', '.join(arguments)})"
        return f"{call};" if self.result == "void" else f"if ({call} != 0) {{\n    return -1;\n}}"


def book_bits(layer: Layer) -> int:
    """Bits of the layer's packed codebook indices; 0 where it has none."""
    e = layer.encoded
    return e.meta["k"] if e is not None and e.encoding == "codebook" else 0


def index_work(layer: Layer, indices: float) -> dict[str, float]:
    """Units of unpacking packed indices one by one; none where there are none."""
    bits = book_bits(layer)
    return {"half_bytes" if bits == 4 else "indices": indices} if bits else {}


def dense_source(layer: Layer, buffer: str = "", again: bool = False) -> RowSource:
    """Rows of `layer` as its encoding stores them: int8, or packed codebook indices.

    buffer: C expression of the scratch that holds one unpacked row (`again`: of all rows, because
    they are walked over more than once).
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
            CArray(
                f"{layer.prefix}_i", "uint8_t", index, f"{op.name}: {bits}-bit indices",
                {"value": e.stream("i").bits},
            ),
            CArray(
                f"{layer.prefix}_book", "int8_t", book, f"{op.name}: codebook",
                {"codebook": 8 * book.size},
            ),
        ]  # fmt: skip
        return RowSource(
            "const uint8_t *index, const int8_t *book",
            [a.name for a in arrays],
            f"int8_t *const row = (int8_t *)({buffer});\nconst uint8_t *index_row = index;",
            f"sc_unpack(row, index_row, {cols}, book, {bits});\nindex_row += {size};",
            arrays,
            (cols + 3) & ~3,
            f"_book{bits}",
        )
    if is_coded(e):
        c = coded(layer)
        size = cols * (weight.shape[0] if again else 1)
        fail = f"if (sc_{c.c_name}_row(&decoder, @) != 0) {{\n    return -1;\n}}"
        start = (
            f"sc_{c.c_name} decoder;\nif (sc_{c.c_name}_open(&decoder, stream) != 0) {{\n"
            "    return -1;\n}"
        )
        if again:
            start += (
                f"\nfor (int i = 0; i < {weight.shape[0]}; i++) {{\n    "
                + fail.replace("@", f"(int8_t *)({buffer}) + i * {cols}").replace("\n", "\n    ")
                + "\n}"
            )
        return RowSource(
            f"const sc_{c.c_name}_stream *stream",
            [f"&{c.name}"],
            f"const int8_t *next = (const int8_t *)({buffer});" if again
            else f"int8_t *const row = (int8_t *)({buffer});\n{start}",
            f"const int8_t *row = next;\nnext += {cols};" if again else fail.replace("@", "row"),
            c.arrays,
            align4(size),
            f"_{c.c_name}",
            [c.header],
            [c.constant],
            "int",
            start if again else "",
        )  # fmt: skip
    array = CArray(f"{layer.prefix}_w", "int8_t", weight, f"{op.name}: int8 weights, row by row")
    return RowSource(
        "const int8_t *weights",
        [array.name],
        "const int8_t *next = weights;",
        f"const int8_t *row = next;\nnext += {cols};",
        [array],
    )
