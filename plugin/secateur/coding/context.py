"""Every weight a bin with a context: the smallest encoding where zeros are not spread evenly.

A trained first layer is a stack of pictures: where a weight's left and upper neighbours live, it
lives more often, and with their sign. Columns differ too, since some inputs matter and some never
do. Contexts made from both, after CABAC's significance maps (Marpe, Schwarz, Wiegand, 2003) and
DeepCABAC (Wiedemann et al., 2020), beat the entropy of gaps; the price is a bin for every weight.

In order: one bin a column (1 = dead: zero in all rows); then by row one bin (1 = the row is all
zero) and, unless it is, for every live column
  significant?   context by neighbours * `CLASSES` + class of the column
  negative?      context by the neighbours' signs
  magnitude - 1  its rank among the levels of that sign, highest bit first, through a tree for each
                 sign and for few or many neighbours
Neighbours of column c are the columns of the same row at distance 1, 2, s - 1, s, s + 1 and 2s; the
encoder picks the stride s, e.g. a picture's width. s = 0: neighbours are not looked at. A column's
class compares its non-zeros so far with the average column's.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ..errors import StreamError
from .base import Encoded, Stream, as_matrix, is_ternary, register
from .range_coder import MOST_BINS, Coder, RangeCoded, RangeDecoder, ideal_bits

CLASSES = 6
NEAR = 7  #: classes of neighbourhoods, 0 (nobody) to 6
SIGNS = 9  #: sums of neighbours' signs, -4..4
MANY = 3  #: a neighbourhood from here on has its own magnitudes
DEAD = CLASSES * NEAR + SIGNS  #: 4 contexts: how many of c - 1 and c - s are dead, s = 0: c - 1
EMPTY = DEAD + 3
MAGNITUDE = EMPTY + 1  #: 4 trees follow
MOST_LEVELS = 64
FARTHEST = 64  #: largest stride

_WEIGHTS = (2, 1, 1, 2, 1, 1)


def _lags(stride: int) -> tuple[int, ...]:
    return (1, 2, stride - 1, stride, stride + 1, 2 * stride) if stride else ()


def _shifted(a: np.ndarray, lag: int) -> np.ndarray:
    out = np.zeros_like(a)
    if lag < a.shape[-1]:
        out[..., lag:] = a[..., : a.shape[-1] - lag]
    return out


def _strides(significant: np.ndarray) -> list[int]:
    """Strides worth a trial: none, and the two at which columns agree most."""
    f = significant - significant.mean()
    far = min(FARTHEST, f.shape[1] - 1)
    spectrum = np.abs(np.fft.rfft(f, 2 * f.shape[1], axis=1)) ** 2
    agreement = np.fft.irfft(spectrum.sum(axis=0))[: far + 1]
    agreement[:2] = -np.inf
    return [0, *sorted(range(2, far + 1), key=lambda s: -agreement[s])[:2]]


def _growth(nnz: int, live: int, rows: int) -> int:
    """Non-zeros a row adds to the average live column, in 1/65536."""
    return nnz * 65536 // max(1, live * rows)


class _Context(RangeCoded):
    decoder: ClassVar[str | None] = "sc_context.h"
    family: ClassVar[str] = "context"

    def _coded(self, weight: np.ndarray, code: Coder) -> Encoded:
        w = self._matrix(weight)
        ranks, book, meta = self._ranks(w)
        _, stride, contexts, bins = self._best(w, ranks, meta["width"])
        meta |= {"stride": stride, "growth": self._growth_of(w)}
        meta["cells"] = int(w.any(axis=0).sum()) * int(w.any(axis=1).sum())
        data = code(contexts, bins)
        return self._encoded(w, (Stream("r", "joint", data, 8 * len(data)), *book), **meta)

    def _best(
        self, w: np.ndarray, ranks: np.ndarray, width: int
    ) -> tuple[float, int, np.ndarray, np.ndarray]:
        """(bits, stride, contexts, bins) with the best stride."""
        trials = []
        for stride in _strides((w != 0).astype(np.float64)):
            contexts, bins = self._bins(w, ranks, stride, width)
            trials.append((ideal_bits(contexts, bins, self._size(width)), stride, contexts, bins))
        return min(trials, key=lambda t: t[:2])

    def estimate(self, weight: np.ndarray) -> float:
        """See the base class."""
        w = as_matrix(weight)
        ranks, book, meta = self._ranks(w)
        bits = self._best(w, ranks, meta["width"])[0]
        return bits / 8 + sum(len(s.data) for s in book)

    @staticmethod
    def _growth_of(w: np.ndarray) -> int:
        live = int(w.any(axis=0).sum())
        return _growth(int(np.count_nonzero(w)), live, int(w.any(axis=1).sum()))

    @staticmethod
    def _size(width: int) -> int:
        return MAGNITUDE + 4 * ((1 << width) - 1)

    def _ranks(self, w: np.ndarray) -> tuple[np.ndarray, tuple[Stream, ...], dict[str, int]]:
        """Rank of every weight among its sign's levels, the codebook, and meta with "width"."""
        raise NotImplementedError

    def _levels(self, encoded: Encoded) -> tuple[list[int], list[int]]:
        """Positive and negative values by rank, filled up with zeros to 1 << width."""
        raise NotImplementedError

    def _bins(
        self, w: np.ndarray, ranks: np.ndarray, stride: int, width: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """Contexts and bins in coding order."""
        signs = np.sign(w, dtype=np.int32)
        present: np.ndarray = np.abs(signs)
        dead: np.ndarray = np.logical_not(w.any(axis=0))
        occupied: np.ndarray = np.asarray(w.any(axis=1))  # rows
        rows = np.nonzero(occupied)[0]
        near, pull = np.zeros_like(signs), np.zeros_like(signs)
        for lag, factor in zip(_lags(stride), _WEIGHTS, strict=False):
            near += factor * _shifted(present, lag)
            pull += factor * _shifted(signs, lag)
        before = np.minimum(np.cumsum(present, axis=0) - present, 254)
        order = np.zeros(w.shape[0], np.int64)  # of a row among those that are not empty
        order[rows] = np.arange(rows.size)
        expected = order[:, None] * self._growth_of(w)
        column = sum((before > expected >> shift).astype(np.int32) for shift in range(14, 19))

        # One column of bins after the other; `live` weights have the first, `hit` ones all.
        live: np.ndarray = np.logical_and(~dead[None, :], occupied[:, None])
        hit = present[live] != 0
        position = np.cumsum(1 + hit * (1 + width)) - (1 + hit * (1 + width))
        contexts: np.ndarray = np.empty(int(live.sum() + hit.sum() * (1 + width)), np.int32)
        bins: np.ndarray = np.zeros(contexts.size, np.uint8)
        contexts[position] = (np.minimum(near, NEAR - 1) * CLASSES + column)[live]
        bins[position] = hit
        position = position[hit] + 1
        nonzero = present != 0  # no non-zero is outside `live`
        near, pull, minus, ranks = near[nonzero], pull[nonzero], signs[nonzero] < 0, ranks[nonzero]
        contexts[position] = CLASSES * NEAR + 4 + np.clip(pull, -4, 4)
        bins[position] = minus
        base = MAGNITUDE - 1 + (2 * (near >= MANY) + minus) * ((1 << width) - 1)
        node = np.ones_like(ranks)
        for i in range(width):
            position += 1
            bins[position] = ranks >> (width - 1 - i) & 1
            contexts[position] = base + node
            node = node << 1 | bins[position]

        dead_context = DEAD + _shifted(dead.astype(np.int32), 1)
        if stride:
            dead_context += _shifted(dead.astype(np.int32), stride)
        # A row's flag goes in front of its first bin.
        per_row = np.where(occupied, live.sum(axis=1) + present.sum(axis=1) * (1 + width), 0)
        starts = np.cumsum(per_row) - per_row
        contexts = np.insert(contexts, starts, EMPTY)
        bins = np.insert(bins, starts, np.logical_not(occupied))
        return np.concatenate([dead_context, contexts]), np.concatenate([dead, bins])

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        m = encoded.meta
        width, stride = m["width"], m["stride"]
        positive, negative = self._levels(encoded)
        coder = RangeDecoder(encoded.stream("r").data, self._size(width))
        pad = 2 * stride
        dead = [0] * (pad + 1)
        for c in range(encoded.cols):
            at = pad + 1 + c
            context = DEAD + dead[at - 1] + (dead[at - stride] if stride else 0)
            dead.append(coder.bin(context))
        live = [c for c in range(encoded.cols) if not dead[pad + 1 + c]]
        near_of = list(zip(_lags(stride), _WEIGHTS, strict=False))
        seen = [0] * encoded.cols
        expected = 0
        out = np.zeros((encoded.rows, encoded.cols), np.int8)
        for r in range(encoded.rows):
            if coder.bin(EMPTY):
                continue
            signs = [0] * (pad + 2 + encoded.cols)
            limits = [expected >> shift for shift in range(14, 19)]
            for c in live:
                near = pull = 0
                for lag, factor in near_of:
                    sign = signs[pad + c - lag]
                    if sign:
                        near += factor
                        pull += factor * sign
                column = sum(seen[c] > limit for limit in limits)
                if coder.bin(min(near, NEAR - 1) * CLASSES + column):
                    minus = coder.bin(CLASSES * NEAR + 4 + max(-4, min(4, pull)))
                    base = MAGNITUDE - 1 + (2 * (near >= MANY) + minus) * ((1 << width) - 1)
                    node = 1
                    for _ in range(width):
                        node = node << 1 | coder.bin(base + node)
                    value = (negative if minus else positive)[node - (1 << width)]
                    if value == 0:
                        raise StreamError("a level that the codebook does not have")
                    out[r, c] = value
                    signs[pad + c] = -1 if minus else 1
                    seen[c] = min(254, seen[c] + 1)
            expected += m["growth"]
        return out

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        m = encoded.meta
        return {
            "cells": float(m["cells"]),
            "weights": float(encoded.rows * encoded.cols),
            "columns": float(encoded.cols),
            "bins": m["nnz"] * (1.0 + m["width"]),
            "nonzeros": float(m["nnz"]),
        }

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class."""
        m = encoded.meta
        return (
            f"{{.data = {arrays['r']}, .size = {len(encoded.stream('r').data)}, "
            f".book = {arrays.get('b', '0')}, .growth = {m['growth']}, .rows = {encoded.rows}, "
            f".cols = {encoded.cols}, .stride = {m['stride']}, "
            f".width = {m['width']}, .positive = {m.get('positive', 0)}, "
            f".negative = {m.get('negative', 0)}}}"
        )

    def c_macros(self, encoded: Encoded) -> dict[str, int]:
        """See the base class."""
        return {
            "SC_RANGE_CONTEXTS": self._size(encoded.meta["width"]),
            "SC_CONTEXT_COLS": encoded.cols,
        }

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        contexts = 4 * self._size(encoded.meta["width"])
        return -(-(contexts + 2 * encoded.cols + 2 * FARTHEST + 28) // 4) * 4


@register
class ContextTernary(_Context):
    """Stream "r". Meta: "stride", "growth", "cells" (weights with a bin), "width" = 0."""

    name: ClassVar[str] = "context_ternary"
    form: ClassVar[str] = "ternary"
    c_name: ClassVar[str] = "context_ternary"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -1, 0, 1; up to `MOST_BINS` bins."""
        return is_ternary(weight) and 2 * weight.size <= MOST_BINS

    def _ranks(self, w: np.ndarray) -> tuple[np.ndarray, tuple[Stream, ...], dict[str, int]]:
        return np.zeros(w.shape, np.int64), (), {"width": 0}

    def _levels(self, encoded: Encoded) -> tuple[list[int], list[int]]:
        return [1], [-1]


@register
class ContextSparse(_Context):
    """Streams "r", "b" (positive levels ascending, then negative ones by magnitude).

    Meta: "stride", "growth", "cells" (weights with a bin), "width", "positive" and "negative"
    (numbers of levels; both 0: no codebook, a rank is the magnitude - 1).
    """

    name: ClassVar[str] = "context_sparse"
    form: ClassVar[str] = "sparse"
    c_name: ClassVar[str] = "context_sparse"

    def applies(self, weight: np.ndarray) -> bool:
        """Weights in -127..127; up to `MOST_BINS` bins."""
        width = min(7, (np.unique(weight).size - 1).bit_length())
        bins = weight.size + np.count_nonzero(weight) * (1 + width)
        return bool(weight.min() >= -127) and bins <= MOST_BINS

    def _ranks(self, w: np.ndarray) -> tuple[np.ndarray, tuple[Stream, ...], dict[str, int]]:
        levels = np.unique(w)
        positive, negative = levels[levels > 0], levels[levels < 0][::-1]
        magnitude = np.abs(w.astype(np.int64))
        if positive.size + negative.size > MOST_LEVELS:
            return np.maximum(magnitude - 1, 0), (), {"width": 7, "positive": 0, "negative": 0}
        rank = np.where(
            w > 0,
            np.searchsorted(positive, w),
            np.searchsorted(-negative.astype(np.int64), magnitude),
        )
        width = max(0, int(max(positive.size, negative.size)) - 1).bit_length()
        book = np.concatenate([positive, negative]).astype(np.int8)
        stream = Stream("b", "codebook", book.tobytes(), 8 * book.size, "int8_t")
        meta = {"width": width, "positive": int(positive.size), "negative": int(negative.size)}
        return rank * (w != 0), (stream,), meta

    def _levels(self, encoded: Encoded) -> tuple[list[int], list[int]]:
        m = encoded.meta
        room = 1 << m["width"]
        if m["width"] == 7 and not m["positive"] and not m["negative"]:
            return [*range(1, 128), 0], [*range(-1, -128, -1), 0]
        book = np.frombuffer(encoded.stream("b").data, np.int8).tolist()
        if len(book) != m["positive"] + m["negative"]:
            raise StreamError(f"codebook of {len(book)} levels")
        positive, negative = book[: m["positive"]], book[m["positive"] :]
        return positive + [0] * (room - len(positive)), negative + [0] * (room - len(negative))
