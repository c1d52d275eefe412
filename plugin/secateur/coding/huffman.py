"""Canonical, length-limited Huffman codes, and how their tables are stored.

Codes are written from their first bit on into streams whose bit 0 comes first (as in DEFLATE), so a
decoder looks codes up by the low bits of its buffer. A table is stored as one nibble a symbol: the
length of its code, 0 for a symbol that does not occur, 15 for the only symbol of a stream, which
takes no bits at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import StreamError
from .base import Stream
from .bits import pack, unpack

LIMIT = 12  #: longest code, bits
PEEK = 8  #: bits the device looks up at once
ONLY = 15  #: stored in place of a length: this symbol is the whole alphabet
MAX_SYMBOLS = 4096


def code_lengths(counts: np.ndarray, limit: int = LIMIT) -> np.ndarray:
    """Optimal code lengths under `limit` bits for symbols seen `counts` times: int64, 0 = unused.

    Package-merge (Larmore and Hirschberg, "A fast algorithm for optimal length-limited Huffman
    codes", 1990). A single used symbol gets `ONLY`.
    """
    lengths = np.zeros(counts.size, np.int64)
    used = np.nonzero(counts)[0]
    if used.size <= 1:
        lengths[used] = ONLY
        return lengths
    if used.size > 1 << limit:
        raise ValueError(f"{used.size} symbols do not fit in codes of {limit} bits")
    order = used[np.argsort(counts[used], kind="stable")]
    weights = counts[order].astype(np.int64)
    n = order.size
    # A level holds single symbols and pairs from the level below, sorted by weight. `singles`
    # remembers which items are symbols; taking the 2n - 2 lightest items of the top level takes a
    # prefix of every level, and a symbol's length is in how many prefixes it lies.
    singles: list[np.ndarray] = []
    packages = np.zeros(0, np.int64)
    for _ in range(limit):
        merged = np.concatenate([weights, packages])
        rank = np.argsort(merged, kind="stable")
        singles.append(rank < n)
        merged = merged[rank]
        even = merged.size // 2 * 2
        packages = merged[0:even:2] + merged[1:even:2]
    take = 2 * n - 2
    depth = np.zeros(n, np.int64)
    for single in reversed(singles):
        symbols = int(np.count_nonzero(single[:take]))
        depth[:symbols] += 1
        take = 2 * (take - symbols)
    lengths[order] = depth
    return lengths


def coded_bits(counts: np.ndarray, lengths: np.ndarray) -> int:
    """Bits of a stream with these symbol counts."""
    return int((counts * np.where(lengths == ONLY, 0, lengths)).sum())


def quick_lengths(counts: np.ndarray) -> np.ndarray:
    """As `code_lengths`, but within `PEEK` bits where that costs at most 0.5 % of the stream.

    Longer codes take a device three times as long to decode.
    """
    best = code_lengths(counts)
    if np.count_nonzero(counts) > 1 << PEEK:
        return best
    quick = code_lengths(counts, PEEK)
    return quick if coded_bits(counts, quick) <= 1.005 * coded_bits(counts, best) else best


def canonical_codes(lengths: np.ndarray) -> np.ndarray:
    """Codes, first bit in bit 0, for every symbol (0 where unused)."""
    codes = np.zeros(lengths.size, np.int64)
    code = 0
    for bits in range(1, LIMIT + 1):
        for symbol in np.nonzero(lengths == bits)[0]:
            codes[symbol] = int(f"{code:0{bits}b}"[::-1], 2)
            code += 1
        code <<= 1
    return codes


@dataclass(frozen=True)
class CodeTable:
    """A code: `lengths` as `code_lengths` gives them."""

    lengths: np.ndarray

    @classmethod
    def of(cls, symbols: np.ndarray, size: int) -> CodeTable:
        """A code for `symbols`, of an alphabet of `size`: `quick_lengths`."""
        return cls(quick_lengths(np.bincount(symbols, minlength=size)))

    def stream(self, name: str) -> Stream:
        """The stored table: one nibble a symbol, low nibble first."""
        data, bits = pack(self.lengths, 4)
        return Stream(name, "table", data, bits)

    @classmethod
    def read(cls, stream: Stream, size: int) -> CodeTable:
        """Inverse of `stream`. StreamError unless the code is complete."""
        lengths = unpack(stream.data, 4, size, f"table {stream.name}")
        used = lengths[lengths > 0]
        if used.size == 0 or (used.size == 1 and used[0] == ONLY):
            return cls(lengths)
        if used.max() > LIMIT or (1 << (LIMIT - used)).sum() != 1 << LIMIT:
            raise StreamError(f"table {stream.name} is not a complete code")
        return cls(lengths)

    def encode(self, symbols: np.ndarray) -> tuple[bytes, int]:
        """The packed codes of `symbols`: (bytes, bits)."""
        widths = np.where(self.lengths == ONLY, 0, self.lengths)
        return pack(canonical_codes(self.lengths)[symbols], widths[symbols])

    def long(self, symbols: np.ndarray) -> int:
        """How many of `symbols` have codes that the device does not look up at once; of a stream
        without bits there is nothing to look up by."""
        return int(np.count_nonzero(self.lengths[symbols] > PEEK))

    def reader(self, data: bytes, what: str) -> BitReader:
        """Decode symbols one by one from `data`."""
        return BitReader(self, data, what)


class BitReader:
    """Symbol by symbol decoding of one stream; StreamError past its end."""

    def __init__(self, table: CodeTable, data: bytes, what: str) -> None:
        self._what = what
        self._bits = 8 * len(data)
        # In pieces: shifting one big integer would be quadratic.
        self._pieces = [
            int.from_bytes(data[i : i + 512], "little") for i in range(0, len(data), 512)
        ]
        self._acc, self._have, self._next = 0, 0, 0
        self._lut: list[tuple[int, int]] = [(0, -1)] * (1 << LIMIT)
        codes = canonical_codes(table.lengths)
        for symbol in np.nonzero(table.lengths)[0].tolist():
            length = int(table.lengths[symbol])
            if length == ONLY:
                self._lut = [(symbol, 0)] * (1 << LIMIT)
                break
            for high in range(1 << (LIMIT - length)):
                self._lut[int(codes[symbol]) | high << length] = (symbol, length)

    def symbol(self) -> int:
        """The next symbol."""
        if self._have < LIMIT and self._next < len(self._pieces):
            self._acc |= self._pieces[self._next] << self._have
            self._have += 8 * 512
            self._next += 1
        symbol, length = self._lut[self._acc & ((1 << LIMIT) - 1)]
        self._acc >>= length
        self._have -= length
        self._bits -= length
        if length < 0 or self._bits < 0:
            raise StreamError(f"{self._what} ends too early")
        return symbol
