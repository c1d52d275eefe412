"""Gaps and values through the adaptive binary range coder: close to the entropy, no tables.

After DeepCABAC (Wiedemann et al., 2020) and ISO/IEC 15938-17, with gaps in place of a bin a weight
so that a non-zero costs a handful of bins however sparse the layer is.

Bins of a non-zero with gap g, in order:
  quotient  q = g >> k in unary (ones, then a zero), context min(i, ...) for the i-th bin; after
            `UNARY` ones the rest of q follows as a raw Elias-gamma code
  low bits  the k low bits of g, highest first: up to `MODELLED` through a tree of contexts (one
            tree for q = 0, one for the others), the rest raw
  value     ternary: one bin, 1 = negative, context by the sign before and whether g = 0
            else: the level's bits, highest first, through a tree of contexts
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from .base import Encoded, Stream, as_matrix, is_ternary, register
from .codebook import width_of
from .gaps import gaps_of, walk
from .levels import value_symbols, value_table
from .range_coder import MOST_BINS, RAW, Coder, RangeCoded, RangeDecoder, ideal_bits

UNARY = 20  #: most bins of a quotient that have contexts of their own
MODELLED = 3  #: low bits of a gap that have contexts
LOW = UNARY  #: first context of the two low-bit trees
VALUE = UNARY + 2 * ((1 << MODELLED) - 1)  #: first context of the value
SIGN_CONTEXTS = 4

Columns = list[tuple[np.ndarray, np.ndarray, np.ndarray]]  # (present, context, bin), one bin each


def gap_bins(gaps: np.ndarray, k: int) -> Columns:
    """Columns of bins for every gap, with `k` low bits."""
    out: Columns = []
    quotient = gaps >> k
    for i in range(min(UNARY, int(quotient.max(initial=0)) + 1)):
        out.append((quotient >= i, np.full(gaps.size, i), (quotient > i).astype(np.int64)))
    rest = quotient - UNARY + 1  # >= 1 where the unary part ran out
    escaped = rest >= 1
    raw = np.full(gaps.size, RAW)
    if escaped.any():
        extra = np.where(escaped, np.frexp(np.maximum(rest, 1).astype(float))[1] - 1, 0)
        top = int(extra.max())
        for i in range(top + 1):  # `extra` ones, a zero
            out.append((escaped & (extra >= i), raw, (extra > i).astype(np.int64)))
        for i in range(top - 1, -1, -1):  # `extra` bits below the leading one
            out.append((escaped & (extra > i), raw, rest >> i & 1))
    everywhere = np.ones(gaps.size, bool)
    node: np.ndarray = np.ones(gaps.size, np.int64)
    tree = LOW + (quotient > 0) * ((1 << MODELLED) - 1) - 1
    for i in range(k - 1, -1, -1):
        one = gaps >> i & 1
        modelled = k - i <= MODELLED
        out.append((everywhere, tree + node if modelled else raw, one))
        node = node << 1 | one
    return out


def tree_bins(symbols: np.ndarray, width: int, base: int) -> Columns:
    """Columns of bins of `width`-bit symbols through a tree of contexts from `base` on."""
    out: Columns = []
    node: np.ndarray = np.ones(symbols.size, np.int64)
    for i in range(width - 1, -1, -1):
        one = symbols >> i & 1
        out.append((np.ones(symbols.size, bool), base - 1 + node, one))
        node = node << 1 | one
    return out


def flatten(columns: Columns) -> tuple[np.ndarray, np.ndarray]:
    """Contexts and bins in coding order: symbol by symbol, column by column."""
    if not columns:
        return np.zeros(0, np.int16), np.zeros(0, np.uint8)
    present = np.stack([c[0] for c in columns], axis=1)
    contexts = np.stack([c[1].astype(np.int16) for c in columns], axis=1)
    bins = np.stack([c[2].astype(np.uint8) for c in columns], axis=1)
    return contexts[present], bins[present]


def _bits(columns: Columns, size: int) -> float:
    if not columns:
        return 0.0
    contexts = np.concatenate([c[1][c[0]] for c in columns])
    return ideal_bits(contexts, np.concatenate([c[2][c[0]] for c in columns]), size)


def _gap_columns(gaps: np.ndarray) -> tuple[float, int, Columns]:
    """(bits, low bits, columns) of the best number of low bits."""
    likely = int(np.log2(max(1.0, 0.7 * gaps.mean()))) if gaps.size else 0
    tried = []
    for k in range(max(0, likely - 1), likely + 2):
        columns = gap_bins(gaps, k)
        tried.append((_bits(columns, VALUE), k, columns))
    return min(tried, key=lambda t: t[:2])


class _Range(RangeCoded):
    decoder: ClassVar[str | None] = "sc_range.h"
    family: ClassVar[str] = "range"

    def _coded(self, weight: np.ndarray, code: Coder) -> Encoded:
        w = self._matrix(weight)
        gaps, values = gaps_of(w)
        _, k, columns = _gap_columns(gaps)
        value_columns, _, streams, meta = self._values(values, gaps)
        contexts, bins = flatten(columns + value_columns)
        data = code(contexts, bins)
        streams = (Stream("r", "joint", data, 8 * len(data)), *streams)
        raw = int(np.count_nonzero(contexts == RAW))
        return self._encoded(w, streams, k=k, bins=bins.size - raw, raw=raw, **meta)

    def estimate(self, weight: np.ndarray) -> float:
        """See the base class."""
        gaps, values = gaps_of(as_matrix(weight))
        columns, size, streams, _ = self._values(values, gaps)
        bits = _gap_columns(gaps)[0] + _bits(columns, VALUE + size)
        return bits / 8 + sum(len(s.data) for s in streams)

    def _values(
        self, values: np.ndarray, gaps: np.ndarray
    ) -> tuple[Columns, int, tuple[Stream, ...], dict[str, int]]:
        """Columns of the values, number of contexts, extra streams, extra meta."""
        raise NotImplementedError

    def _contexts(self, encoded: Encoded) -> int:
        raise NotImplementedError

    def _next_gap(self, coder: RangeDecoder, k: int) -> int:
        quotient = 0
        while quotient < UNARY and coder.bin(quotient):
            quotient += 1
        if quotient == UNARY:
            extra = 0
            while extra < 31 and coder.raw(1):
                extra += 1
            quotient += (1 << extra | coder.raw(extra)) - 1
        base = LOW - 1 + ((1 << MODELLED) - 1 if quotient else 0)
        node = 1
        for _ in range(min(k, MODELLED)):
            node = node << 1 | coder.bin(base + node)
        gap = quotient << k | (node - (1 << min(k, MODELLED))) << max(0, k - MODELLED)
        return gap | coder.raw(max(0, k - MODELLED))

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        m = encoded.meta
        return {
            "contexts": float(self._contexts(encoded)),
            "bins": float(m["bins"]),
            "raw": float(m["raw"]),
            "bytes": float(len(encoded.stream("r").data)),
            "nonzeros": float(m["nnz"]),
            "rows": float(encoded.rows),
        }

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        m = encoded.meta
        return (
            f"{{.data = {arrays['r']}, .size = {len(encoded.stream('r').data)}, "
            f".book = {arrays.get('b', '0')}, .nnz = {m['nnz']}, .rows = {encoded.rows}, "
            f".cols = {encoded.cols}, .k = {m['k']}, "
            f".width = {m.get('width', 0)}, .levels = {m.get('levels', 0)}, "
            f".contexts = {self._contexts(encoded)}}}"
        )

    def c_macros(self, encoded: Encoded) -> dict[str, int]:
        """See the base class."""
        return {"SC_RANGE_CONTEXTS": self._contexts(encoded)}

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return 4 * self._contexts(encoded) + 48


@register
class RangeTernary(_Range):
    """Stream "r". Meta: "k" (low bits of a gap), "bins" with a context and "raw" ones."""

    name: ClassVar[str] = "range_ternary"
    form: ClassVar[str] = "ternary"
    c_name: ClassVar[str] = "range_ternary"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1; up to `MOST_BINS` bins."""
        return is_ternary(weight) and np.count_nonzero(weight) * 5 <= MOST_BINS

    def _values(
        self, values: np.ndarray, gaps: np.ndarray
    ) -> tuple[Columns, int, tuple[Stream, ...], dict[str, int]]:
        negative = (values < 0).astype(np.int64)
        before = np.concatenate([[0], negative[:-1]])[: negative.size]
        context = VALUE + 2 * before + (gaps == 0)
        return [(np.ones(values.size, bool), context, negative)], SIGN_CONTEXTS, (), {}

    def _contexts(self, encoded: Encoded) -> int:
        return VALUE + SIGN_CONTEXTS

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        m = encoded.meta
        coder = RangeDecoder(encoded.stream("r").data, self._contexts(encoded))
        negative = 0

        def step() -> tuple[int, int]:
            nonlocal negative
            gap = self._next_gap(coder, m["k"])
            negative = coder.bin(VALUE + 2 * negative + (gap == 0))
            return gap, 1 - 2 * negative

        return walk(encoded.rows, encoded.cols, m["nnz"], step)


@register
class RangeSparse(_Range):
    """Streams "r", "b" (codebook, if any). Meta: "k", "bins", "raw", "levels", "width" (of one)."""

    name: ClassVar[str] = "range_sparse"
    form: ClassVar[str] = "sparse"
    c_name: ClassVar[str] = "range_sparse"

    def applies(self, weight: np.ndarray) -> bool:
        """Up to `MOST_BINS` bins."""
        width = min(8, (np.unique(weight).size - 1).bit_length())
        return np.count_nonzero(weight) * (4 + width) <= MOST_BINS

    def _values(
        self, values: np.ndarray, gaps: np.ndarray
    ) -> tuple[Columns, int, tuple[Stream, ...], dict[str, int]]:
        symbols, levels, book = value_symbols(values)
        width = width_of(levels) if levels > 1 else 0
        columns = tree_bins(symbols, width, VALUE)
        return columns, (1 << width) - 1, book, {"levels": levels, "width": width}

    def _contexts(self, encoded: Encoded) -> int:
        return VALUE + (1 << encoded.meta["width"]) - 1

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        m = encoded.meta
        values = value_table(encoded, m["levels"])
        values += [0] * ((1 << m["width"]) - len(values))
        coder = RangeDecoder(encoded.stream("r").data, self._contexts(encoded))

        def step() -> tuple[int, int]:
            gap = self._next_gap(coder, m["k"])
            node = 1
            for _ in range(m["width"]):
                node = node << 1 | coder.bin(VALUE - 1 + node)
            return gap, values[node - (1 << m["width"])]

        return walk(encoded.rows, encoded.cols, m["nnz"], step)
