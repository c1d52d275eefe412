"""Huffman over every weight, several weights to a symbol where there are few levels."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .base import Encoded, Encoding, Stream, as_matrix, register
from .huffman import CodeTable, code_lengths, coded_bits
from .huffman_sparse import table_ram
from .levels import value_symbols, value_table

LARGEST = 1024  #: largest alphabet of blocks


@register
class HuffmanDense(Encoding):
    """Streams "v" (blocks), "t" (table), "b" (codebook, if any).

    A symbol holds "block" weights, the first in the lowest digit of base "levels"; blocks run on
    from row to row, and the last one is filled up with digit 0. Meta: "block", "levels",
    "long" (codes of more than PEEK bits).
    """

    name: ClassVar[str] = "huffman_dense"
    form: ClassVar[str] = "dense"
    decoder: ClassVar[str | None] = "sc_huffman_dense.h"
    family: ClassVar[str] = "huffman"
    c_name: ClassVar[str] = "huffman_dense"

    def applies(self, weight: np.ndarray) -> bool:
        """Always."""
        return True

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        index, levels, book = value_symbols(w.ravel())
        best: tuple[int, int, np.ndarray] | None = None
        for block in range(1, 9):
            alphabet = levels**block
            if alphabet > LARGEST and best is not None:
                break
            digits = np.zeros(-(-index.size // block) * block, np.int64)
            digits[: index.size] = index
            symbols = digits.reshape(-1, block) @ (levels ** np.arange(block))
            counts = np.bincount(symbols, minlength=alphabet)
            bits = coded_bits(counts, code_lengths(counts)) + 4 * alphabet
            if best is None or bits < best[0]:
                best = bits, block, symbols
        assert best is not None
        _, block, symbols = best
        table = CodeTable.of(symbols, levels**block)
        data, bits = table.encode(symbols)
        streams = (Stream("v", "value", data, bits), table.stream("t"), *book)
        long = table.long(symbols)
        return self._encoded(w, streams, block=block, levels=levels, long=long)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        block, levels = encoded.meta["block"], encoded.meta["levels"]
        values = np.array(value_table(encoded, levels), np.int8)
        table = CodeTable.read(encoded.stream("t"), levels**block)
        symbol = table.reader(encoded.stream("v").data, "stream v").symbol
        total = encoded.rows * encoded.cols
        symbols = np.array([symbol() for _ in range(-(-total // block))], np.int64)
        digits = symbols[:, None] // levels ** np.arange(block) % levels
        return values[digits.ravel()[:total]].reshape(encoded.rows, encoded.cols)

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        m, size = encoded.meta, float(encoded.rows * encoded.cols)
        alphabet = float(self.c_macros(encoded)["SC_HUFFMAN_SYMBOLS"])
        symbols = float(-(-encoded.rows * encoded.cols // m["block"]))
        common = {"alphabet": alphabet, "long": float(m["long"]), "rows": float(encoded.rows)}
        if m["block"] > 3:  # digit by digit, not in batches
            return {"tables": 1.0, "digits": size, "symbols": symbols, **common}
        bits = float(encoded.stream("v").bits)  # several symbols to a look-up where codes are short
        return {"batch_tables": 1.0, "weights": size, "bits": bits, **common}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        m = encoded.meta
        return (
            f"{{.data = {arrays['v']}, .size = {len(encoded.stream('v').data)}, "
            f".table = {arrays['t']}, .book = {arrays.get('b', '0')}, .rows = {encoded.rows}, "
            f".cols = {encoded.cols}, .block = {m['block']}, .levels = {m['levels']}, "
            f".symbols = {m['levels'] ** m['block']}, .inverse = {-(-65536 // m['levels'])}}}"
        )

    def c_macros(self, encoded: Encoded) -> dict[str, int]:
        """See the base class."""
        return {"SC_HUFFMAN_SYMBOLS": encoded.meta["levels"] ** encoded.meta["block"]}

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return table_ram(self.c_macros(encoded)["SC_HUFFMAN_SYMBOLS"]) + 40
