"""Float weights to int8, keeping the set training promised: ternary, codebook, grid, or free.

Detection is by value. A set is taken as promised only if every weight lies in it, so a free layer
is never forced into one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

_TOLERANCE = 1e-4  #: of an integer step; float32 noise is far below, chance hits far above
_CODEBOOK = 256
_SHORTEST = 8  #: a row of fewer weights easily has but two values


@dataclass(frozen=True)
class QWeights:
    """`values` int8 [rows, cols] * `scale` float64 [rows] approximates the float matrix.

    Where every row of a ternary matrix has weights of one sign only ("sparse binary": present or
    absent), the sign is the scale's and all values are 0 or 1.

    `bits` is log2 of the number of levels the layer (or, with "codebooks", a channel) holds, 8.0
    for free int8; `kind` is "ternary", "two levels", "codebook", "codebooks" or "int8".
    """

    values: np.ndarray
    scale: np.ndarray
    bits: float
    kind: str


def quantize_weights(w: np.ndarray) -> QWeights:
    """Quantize float [rows, cols], one row an output channel.

    In this order: ternary rows {-a, 0, a}; rows of two values; steps of the square root of two; one
    integer grid for the layer (levels in exact ratios up to 127, powers of two among them); an
    integer grid for each row; a codebook (values that repeat, at most 256 levels), which takes one
    scale for the layer;
    else int8 per row, which keeps a codebook that a row has for itself.
    """
    w = np.asarray(w, np.float64)
    peak = np.abs(w).max(axis=1, initial=0.0)
    safe = np.where(peak > 0, peak, 1.0)
    unit = w / safe[:, None]
    ternary = np.rint(unit)
    if np.all(np.abs(unit - ternary) < _TOLERANCE):
        negative: np.ndarray = np.asarray((ternary < 0).any(axis=1))
        if not np.any(negative & (ternary > 0).any(axis=1)):  # present or absent
            sign = np.where(negative, -1.0, 1.0)
            return _pack(np.abs(ternary), safe * sign, "ternary")
        return _pack(ternary, safe, "ternary")

    if (two := _two_levels(unit)) is not None:
        return _pack(np.rint(unit * two[:, None]), safe / two, "two levels")

    top = float(peak.max())
    levels, counts = np.unique(w, return_counts=True)
    levels, counts = levels[levels != 0], counts[levels != 0]
    if 2 * len(levels) <= counts.sum():  # values repeat: somebody made a set of them
        sizes: np.ndarray = np.unique(np.abs(levels)) / top
        if (roots := _root_two(sizes)) is not None:
            q = roots[np.searchsorted(sizes, np.abs(w) / top * (1 - _TOLERANCE))] * np.sign(w)
            scale = float((q * w).sum() / np.square(q).sum())
            return _pack(q, np.full(len(w), scale), "codebook")
        n = _grid(sizes)
        if n:
            return _pack(np.rint(w / top * n), np.full(len(w), top / n), "codebook")
        grids = _row_grids(unit)
        if grids is not None:
            return _pack(np.rint(unit * grids[:, None]), safe / grids, "codebook")
        if len(levels) < _CODEBOOK:
            n = _least_squares(levels / top, counts)
            return _pack(np.rint(w / top * n), np.full(len(w), top / n), "codebook")
    free = _pack(np.rint(unit * 127), safe / 127, "int8")
    most = max((len(np.unique(row)) for row in w), default=0)
    if 2 * most <= w.shape[1] and most < _CODEBOOK:  # a codebook of its own in every channel
        return replace(free, bits=float(np.log2(max(2, most))), kind="codebooks")
    return free


def _pack(values: np.ndarray, scale: np.ndarray, kind: str) -> QWeights:
    q = values.astype(np.int8)
    bits = 8.0 if kind == "int8" else float(np.log2(max(2, len(np.unique(q)))))
    if kind == "ternary" and (q == 0).any() and (q < 0).any():
        bits = float(np.log2(3))
    return QWeights(q, scale.astype(np.float64), bits, kind)


def _grid(levels: np.ndarray) -> int:
    """The smallest n <= 127 with every level (in 0..1, the largest 1) a multiple of 1/n, or 0."""
    if len(levels) > 127:
        return 0
    for n in range(1, 128):
        scaled = levels * n
        if np.all(np.abs(scaled - np.rint(scaled)) < _TOLERANCE):
            return n
    return 0


def _two_levels(unit: np.ndarray) -> np.ndarray | None:
    """For rows of two values, the larger +-1: the integer each row's larger value becomes.

    The least that holds the other exactly, else that of 64..127 which rounds it best. None where
    a row has more values, or is too short to call that a set.
    """
    if unit.shape[1] < _SHORTEST:
        return None
    low, high = unit.min(axis=1), unit.max(axis=1)
    if not np.all((unit == low[:, None]) | (unit == high[:, None])):
        return None
    other = np.where(np.abs(low) < np.abs(high), low, high)
    n = np.arange(1, 128)
    error = np.abs(other[:, None] * n - np.rint(other[:, None] * n)) / n
    exact = error * n < _TOLERANCE
    best = 64 + np.argmin(error[:, 63:], axis=1)
    return np.where(exact.any(axis=1), 1 + np.argmax(exact, axis=1), best).astype(np.float64)


def _root_two(sizes: np.ndarray) -> np.ndarray | None:
    """12 * 2^p and 17 * 2^p, ascending, for sizes (ascending, the largest 1) 2^(-i/2), i <= 6.

    17/12 is the square root of two within 0.2 %. None where some size is none of these, or all are
    whole powers of two.
    """
    place = -2 * np.log2(sizes)
    i = np.rint(place).astype(int)
    if np.abs(place - i).max() > 2 * _TOLERANCE or i.max() > 6 or not (i % 2).any():
        return None
    return np.array([96, 68, 48, 34, 24, 17, 12])[i]


def _row_grids(unit: np.ndarray) -> np.ndarray | None:
    """`_grid` of every row, or None as soon as one has none."""
    grids = np.ones(len(unit))
    for i, row in enumerate(unit):
        n = _grid(np.unique(np.abs(row)))
        if not n:
            return None
        grids[i] = n
    return grids


def _least_squares(levels: np.ndarray, counts: np.ndarray) -> int:
    """The code of the largest level that rounds the codebook with the least squared error."""

    def error(n: int) -> float:
        return float((counts * np.square(np.rint(levels * n) / n - levels)).sum())

    return min(range(127, 63, -1), key=error)
