"""Fixed-width gaps and values: Deep Compression's relative index before Huffman coding."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Stream, register
from .bits import pack, unpack
from .codebook import width_of
from .gaps import gaps_of, split, walk
from .levels import Levels, SignLevels, ValueLevels


class _PackedGaps(Levels):
    decoder: ClassVar[str | None] = "sc_packed_gaps.h"
    family: ClassVar[str] = "gap"

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = self._matrix(weight)
        gaps, values = gaps_of(w)
        levels, size, book = self._levels(values)
        bits = {g: g * split(gaps, (1 << g) - 1)[0].size for g in range(1, 13)}
        gap_bits = min(bits, key=lambda g: bits[g])
        codes, _ = split(gaps, (1 << gap_bits) - 1)
        width = width_of(size) if size > 1 else 0
        kind = "sign" if self.form == "ternary" else "value"
        streams = (
            Stream("g", "gap", *pack(codes, gap_bits)),
            Stream("v", kind, *pack(levels, width)),
            *book,
        )
        return self._encoded(w, streams, gap_bits=gap_bits, width=width, levels=size)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        m = encoded.meta
        gaps, at = encoded.stream("g").data, 0
        count = 8 * len(gaps) // m["gap_bits"]
        codes = unpack(gaps, m["gap_bits"], count, "stream g").tolist()
        levels = unpack(encoded.stream("v").data, m["width"], m["nnz"], "stream v").tolist()
        values = self._table(encoded)
        values += [0] * ((1 << m["width"]) - len(values))
        levels.reverse()
        filler = (1 << m["gap_bits"]) - 1

        def step() -> tuple[int, int]:
            nonlocal at
            code = codes[at] if at < count else 0
            at += 1
            return code, 0 if code == filler else values[levels.pop()]

        out = walk(encoded.rows, encoded.cols, m["nnz"], step, filler)
        if at > count:
            raise StreamError(f"stream g is truncated: {at} gaps expected, {count} there")
        return out

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        m = encoded.meta
        gaps = float(encoded.stream("g").bits // m["gap_bits"])
        return {"gaps": gaps, "nonzeros": float(m["nnz"]), "rows": float(encoded.rows)}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        m = encoded.meta
        sizes = {n: len(encoded.stream(n).data) for n in ("g", "v")}
        return (
            f"{{.gaps = {arrays['g']}, .gaps_size = {sizes['g']}, "
            f".values = {arrays['v']}, .values_size = {sizes['v']}, "
            f".book = {arrays.get('b', '0')}, .nnz = {m['nnz']}, .rows = {encoded.rows}, "
            f".cols = {encoded.cols}, .gap_bits = {m['gap_bits']}, .width = {m['width']}, "
            f".levels = {m['levels']}}}"
        )

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 60


@register
class GapSparse(ValueLevels, _PackedGaps):
    """Streams "g" (gaps of "gap_bits" bits, all ones = filler), "v" (levels), "b" (codebook).

    Meta: "gap_bits", "width" (bits of a level), "levels" (256: no codebook, value + 128).
    """

    name: ClassVar[str] = "gap_sparse"
    c_name: ClassVar[str] = "gap_sparse"


@register
class GapTernary(SignLevels, _PackedGaps):
    """Streams "g" (as in `gap_sparse`), "v" (signs, 1 = negative; empty where none is).

    Meta: "gap_bits", "width" (bits of a sign: 1, or 0 where all weights are 0 or 1).
    """

    name: ClassVar[str] = "gap_ternary"
    c_name: ClassVar[str] = "gap_ternary"
