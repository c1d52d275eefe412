"""One Huffman symbol for a gap and the value behind it."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import numpy as np

from .base import Encoded, Stream, register
from .gaps import FILLER_WORTH, gaps_of, split, walk
from .huffman import CodeTable, code_lengths, coded_bits
from .huffman_sparse import code_work, table_ram
from .levels import Levels, SignLevels, ValueLevels

#: Where fillers may start. The last symbol of the alphabet is the filler.
ESCAPES = (2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128)
#: Alphabets beyond this are not tried: their tables outweigh what they save.
LARGEST = 1024


class Joint(Levels):
    """Symbol = gap << width | level; gap == escape (level 0) is the filler."""

    decoder: ClassVar[str | None] = "sc_huffman_joint.h"
    family: ClassVar[str] = "huffman"
    unpacker: ClassVar[str] = "huffman"

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = self._matrix(weight)
        best: tuple[int, int] | None = None
        for escape in ESCAPES:
            codes, width, _, _ = self.symbols(w, escape)
            alphabet = (escape << width) + 1
            if alphabet > LARGEST and best is not None:
                break
            counts = np.bincount(codes, minlength=alphabet)
            bits = coded_bits(counts, code_lengths(counts)) + 4 * alphabet
            bits += counts[-1] // FILLER_WORTH
            best = min(best, (bits, escape)) if best else (bits, escape)
        assert best is not None
        return self.encode_with(w, best[1])

    def symbols(
        self, weight: np.ndarray, escape: int
    ) -> tuple[np.ndarray, int, int, tuple[Stream, ...]]:
        """(symbols, bits of a level, number of levels, codebook) where gaps end at `escape`."""
        gaps, values = gaps_of(weight)
        levels, size, book = self._levels(values)
        width = (size - 1).bit_length() if size else 0
        codes, last = split(gaps, escape)
        codes <<= width
        codes[last] |= levels
        return codes, width, size, book

    def encode_with(
        self, weight: np.ndarray, escape: int, table: CodeTable | None = None, shared: str = ""
    ) -> Encoded:
        """Encode with a given escape, and a given table if it is shared under a key."""
        codes, width, size, book = self.symbols(weight, escape)
        table = table or CodeTable.of(codes, (escape << width) + 1)
        data, bits = table.encode(codes)
        stored = replace(table.stream("t"), shared=shared)
        streams = (Stream("j", "joint", data, bits), stored, *book)
        return self._encoded(
            weight, streams, escape=escape, width=width, levels=size, symbols=codes.size,
            long=table.long(codes),
        )  # fmt: skip

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        escape, width = encoded.meta["escape"], encoded.meta["width"]
        values = self._table(encoded)
        values += [0] * ((1 << width) - len(values))
        table = CodeTable.read(encoded.stream("t"), (escape << width) + 1)
        symbol = table.reader(encoded.stream("j").data, "stream j").symbol

        def step() -> tuple[int, int]:
            code = symbol()
            return code >> width, values[code & ((1 << width) - 1)]

        return walk(encoded.rows, encoded.cols, encoded.meta["nnz"], step, escape)

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        return code_work(self, encoded)

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        m = encoded.meta
        return (
            f"{{.data = {arrays['j']}, .size = {len(encoded.stream('j').data)}, "
            f".table = {arrays['t']}, .book = {arrays.get('b', '0')}, .nnz = {m['nnz']}, "
            f".rows = {encoded.rows}, .cols = {encoded.cols}, .escape = {m['escape']}, "
            f".width = {m['width']}, .levels = {m['levels']}}}"
        )

    def c_macros(self, encoded: Encoded) -> dict[str, int]:
        """See the base class."""
        return {"SC_HUFFMAN_SYMBOLS": (encoded.meta["escape"] << encoded.meta["width"]) + 1}

    def unpacking(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        return self.work(encoded)

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return table_ram(self.c_macros(encoded)["SC_HUFFMAN_SYMBOLS"]) + 44


@register
class HuffmanJoint(ValueLevels, Joint):
    """Streams "j" (symbols), "t" (table), "b" (codebook). At most 64 non-zero levels.

    Meta: "escape", "width" (bits of the level in a symbol), "levels", "symbols" (fillers included),
    "long" (codes of more than PEEK bits).
    """

    name: ClassVar[str] = "huffman_joint"
    c_name: ClassVar[str] = "huffman_joint"

    def applies(self, weight: np.ndarray) -> bool:
        """At most 64 distinct non-zero values."""
        return np.unique(weight[weight != 0]).size <= 64


@register
class HuffmanTernary(SignLevels, Joint):
    """Streams "j" (symbol = gap << width | negative), "t" (table). Meta: as `huffman_joint`.

    "width" is 0 where no weight is negative.
    """

    name: ClassVar[str] = "huffman_ternary"
    c_name: ClassVar[str] = "huffman_ternary"
