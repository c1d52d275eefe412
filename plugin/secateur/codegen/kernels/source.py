"""Where a kernel that needs every weight of a row gets its rows from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...lowering.qgraph import QConv, QDense, Requant, Thresholds
from ..emit import CArray, checked_call, render
from ..geometry import align4
from ..requant import requantization
from ..tables import RequantizedTable, stream_array
from .base import Layer
from .coded import Coded, coded, is_coded


@dataclass(frozen=True)
class Stored:
    """Every weight of a layer, row by row, as it lies in flash."""

    rows: int
    cols: int
    arrays: tuple[CArray, ...]
    bits: int = 0  #: of packed codebook indices; 0 where there are none
    coded: Coded | None = None
    order: str = ""  #: of a row's weights, if not that of the operator: see pairs.py

    @property
    def stride(self) -> int:
        """Bytes of a stored row."""
        return -(-self.cols * self.bits // 8) if self.bits else self.cols


@dataclass(frozen=True, kw_only=True)
class StoredTable(RequantizedTable):
    """Such weights and one requantization."""

    stored: Stored

    @classmethod
    def make(cls, layer: Layer[Any], stored: Stored, requant: Requant | Thresholds) -> StoredTable:
        """`stored` weights of `layer`."""
        q = requantization(layer.prefix, requant)
        constants = (stored.coded.constant,) if stored.coded else ()
        return cls(arrays=(*stored.arrays, q.array), constants=constants, q=q, stored=stored)


@dataclass
class RowSource:
    """C fragments that walk over int8 weight rows."""

    parameters: str  #: of the kernel function
    arguments: list[str]  #: of its call
    rewind: str  #: before the first row
    next_row: str  #: sets `row` to the next row's int8 weights
    row_buffer: int = 0  #: bytes of scratch for unpacked rows
    suffix: str = ""  #: of the kernel function's name
    headers: list[str] = field(default_factory=list)
    result: str = "void"  #: of the kernel function: int where rows come from a decoder
    start: str = ""  #: once, before everything
    order: str = ""  #: as in `Stored`

    def call(self, function: str, arguments: list[str]) -> str:
        """C that calls the kernel function and hands a decoder's failure on."""
        call = f"{function}({', '.join(arguments)})"
        return f"{call};" if self.result == "void" else checked_call(call)


def index_work(layer: Layer[Any], indices: float) -> dict[str, float]:
    """Units of unpacking packed indices one by one; none where there are none."""
    bits = layer.index_bits
    return {"half_bytes" if bits == 4 else "indices": indices} if bits else {}


def stored_rows(layer: Layer[QConv] | Layer[QDense]) -> Stored:
    """The rows of `layer` as its encoding stores them: int8, packed indices, or coded."""
    op, e = layer.op, layer.encoded
    weight = op.weight.reshape(op.weight.shape[0], -1)
    n, cols = weight.shape
    if bits := layer.index_bits:
        indices, book = layer.weights.stream("i"), layer.weights.stream("b")
        return Stored(
            n, cols,
            (
                stream_array(layer.prefix, indices, f"{op.name}: {bits}-bit indices"),
                stream_array(layer.prefix, book, f"{op.name}: codebook", {"b": "book"}),
            ),
            bits,
        )  # fmt: skip
    if is_coded(e):
        c = coded(layer)
        return Stored(n, cols, c.arrays, coded=c)
    array = CArray(f"{layer.prefix}_w", "int8_t", weight, f"{op.name}: int8 weights, row by row")
    return Stored(n, cols, (array,))


def row_bytes(stored: Stored, again: bool = False) -> int:
    """Scratch of one unpacked row, of all rows where they are walked over `again`."""
    if stored.coded:
        return align4(stored.cols * (stored.rows if again else 1))
    return align4(stored.cols) if stored.bits else 0


def row_source(stored: Stored, buffer: str = "", again: bool = False) -> RowSource:
    """C fragments for `stored` rows.

    buffer: C expression of the scratch that holds one unpacked row (`again`: of all rows, because
    they are walked over more than once).
    """
    names, size = [a.name for a in stored.arrays], row_bytes(stored, again)
    if stored.bits:
        return RowSource(
            "const uint8_t *index, const int8_t *book",
            names,
            f"int8_t *const row = (int8_t *)({buffer});\nconst uint8_t *index_row = index;",
            f"sc_unpack(row, index_row, {stored.cols}, book, {stored.bits});\n"
            f"index_row += {stored.stride};",
            size,
            f"_book{stored.bits}",
            order=stored.order,
        )
    if c := stored.coded:
        start = render("rows_start.c.j2", c=c, stored=stored, buffer=buffer, again=again)
        fail = checked_call(f"sc_{c.c_name}_row(&decoder, row)")
        return RowSource(
            f"const sc_{c.c_name}_stream *stream",
            [f"&{c.name}"],
            f"const int8_t *next = (const int8_t *)({buffer});" if again
            else f"int8_t *const row = (int8_t *)({buffer});\n{start}",
            f"const int8_t *row = next;\nnext += {stored.cols};" if again else fail,
            size,
            f"_{c.c_name}",
            [c.header],
            "int",
            start if again else "",
        )  # fmt: skip
    return RowSource(
        "const int8_t *weights",
        names,
        "const int8_t *next = weights;",
        f"const int8_t *row = next;\nnext += {stored.cols};",
        order=stored.order,
    )
