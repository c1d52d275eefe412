"""Huffman-coded gaps and values in streams of their own.

Han, Mao, Dally, "Deep Compression" (2016), section 4.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .base import Encoded, Encoding, Stream, as_matrix, register
from .gaps import ESCAPES, FILLER_WORTH, gaps_of, split, walk
from .huffman import CodeTable, code_lengths, coded_bits
from .levels import value_symbols, value_table


@register
class HuffmanSparse(Encoding):
    """Streams "g" (gaps), "v" (values), "tg", "tv" (tables), "b" (codebook, if any).

    Meta: "escape", "levels" (256: no codebook, symbol = value + 128), "symbols" (of the gaps),
    "long" (codes of more than PEEK bits).
    """

    name: ClassVar[str] = "huffman_sparse"
    form: ClassVar[str] = "sparse"
    decoder: ClassVar[str | None] = "sc_huffman_sparse.h"
    family: ClassVar[str] = "huffman"
    unpacker: ClassVar[str] = "huffman"
    c_name: ClassVar[str] = "huffman_sparse"

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        gaps, values = gaps_of(w)
        symbols, levels, book = value_symbols(values)
        sizes = {}
        for escape in ESCAPES:
            counts = np.bincount(split(gaps, escape)[0], minlength=escape + 1)
            bits = coded_bits(counts, code_lengths(counts)) + 4 * (escape + 1)
            sizes[escape] = bits + counts[-1] // FILLER_WORTH
        escape = min(ESCAPES, key=lambda e: sizes[e])
        codes, _ = split(gaps, escape)
        gap_table, value_code = CodeTable.of(codes, escape + 1), CodeTable.of(symbols, levels)
        gap_data, gap_bits = gap_table.encode(codes)
        value_data, value_bits = value_code.encode(symbols)
        streams = (
            Stream("g", "gap", gap_data, gap_bits),
            Stream("v", "value", value_data, value_bits),
            gap_table.stream("tg"),
            value_code.stream("tv"),
            *book,
        )
        long = gap_table.long(codes) + value_code.long(symbols)
        return self._encoded(
            w, streams, escape=escape, levels=levels, symbols=codes.size, long=long
        )

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        escape, levels = encoded.meta["escape"], encoded.meta["levels"]
        values = value_table(encoded, levels)
        gap = CodeTable.read(encoded.stream("tg"), escape + 1)
        value = CodeTable.read(encoded.stream("tv"), levels)
        gap_symbol = gap.reader(encoded.stream("g").data, "stream g").symbol
        value_symbol = value.reader(encoded.stream("v").data, "stream v").symbol

        def step() -> tuple[int, int]:
            zeros = gap_symbol()
            return zeros, 0 if zeros == escape else values[value_symbol()]

        return walk(encoded.rows, encoded.cols, encoded.meta["nnz"], step, escape)

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        m = encoded.meta
        return code_work(self, encoded) | {"alphabet": float(m["escape"] + 1 + m["levels"])}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        m = encoded.meta
        sizes = {n: len(encoded.stream(n).data) for n in ("g", "v")}
        return (
            f"{{.gaps = {arrays['g']}, .gaps_size = {sizes['g']}, "
            f".values = {arrays['v']}, .values_size = {sizes['v']}, "
            f".gap_table = {arrays['tg']}, .value_table = {arrays['tv']}, "
            f".book = {arrays.get('b', '0')}, .nnz = {m['nnz']}, .rows = {encoded.rows}, "
            f".cols = {encoded.cols}, .escape = {m['escape']}, .levels = {m['levels']}}}"
        )

    def c_macros(self, encoded: Encoded) -> dict[str, int]:
        """See the base class."""
        return {"SC_HUFFMAN_SYMBOLS": max(encoded.meta["escape"] + 1, encoded.meta["levels"])}

    def unpacking(self, encoded: Encoded) -> dict[str, float]:
        """See the base class: two tables, and a symbol more for each value."""
        more = {"tables": 2.0, "second_symbols": float(encoded.meta["nnz"])}
        return self.work(encoded) | more

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 2 * table_ram(self.c_macros(encoded)["SC_HUFFMAN_SYMBOLS"]) + 60


def code_work(encoding: Encoding, encoded: Encoded) -> dict[str, float]:
    """`Encoding.work` of gaps and values in Huffman codes; "long": codes that the look-up does not
    tell."""
    m = encoded.meta
    return {
        "tables": 1.0,
        "alphabet": float(encoding.c_macros(encoded)["SC_HUFFMAN_SYMBOLS"]),
        "symbols": float(m["symbols"]),
        "long": float(m["long"]),
        "nonzeros": float(m["nnz"]),
        "rows": float(encoded.rows),
    }


def table_ram(symbols: int) -> int:
    """sizeof(sc_huffman) for an alphabet of `symbols`."""
    return 4 * 256 + -(-(2 * symbols + 2 * 15) // 4) * 4
