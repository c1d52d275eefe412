"""Low-bit activations: the integers of a table, and thresholds on an accumulator.

docs/integer-spec.md, "Low-bit activations".
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from secateur.lowering.line import line
from secateur.lowering.qgraph import QTensor, Thresholds

Levels = tuple[np.ndarray, np.ndarray, np.ndarray]

_FINEST = 255  #: sum of the planes of a basis that no small integers fit
_EXACT = 1e-6  #: of an integer: float32's rounding of a basis that is in whole ratios
_SNAP = 1e-7  #: relative; a threshold this near to an integer is meant to be it


def tensor(name: str, shape: tuple[int, ...], levels: Levels) -> QTensor:
    """The tensor of a quant_activation: values[0] is the code 0, each code a sum of planes."""
    values, _, basis = levels
    planes, scale = whole_planes(basis)
    zero = int(np.rint(-values[0] / scale))
    return QTensor(name, shape, scale, zero, planes)


def whole_planes(basis: np.ndarray) -> tuple[tuple[int, ...], float]:
    """(integers q, scale) with scale * q about `basis` (positive): exact in small whole ratios.

    A learned basis takes integers whose sum is about 255, each rounded to the nearest, none 0.
    A single element is 2 or 1: a sign (basis 2) keeps the code 1 for real zero.
    """
    v = np.sort(np.asarray(basis, np.float64))
    if len(v) == 1:
        q = 2 if v[0] == 2.0 else 1
        return (q,), float(v[0]) / q
    for unit in range(1, 17):
        ratio = v / v[0] * unit
        if np.all(np.abs(ratio - np.rint(ratio)) < _EXACT * ratio) and ratio.sum() <= _FINEST:
            return tuple(int(q) for q in np.rint(ratio)), float(v[0]) / unit
    q = np.maximum(np.rint(v / v.sum() * _FINEST), 1)
    if q.sum() > 255:
        q[-1] -= q.sum() - 255
    return tuple(int(x) for x in q), float(v.sum() / q.sum())


def thresholds(
    levels: Levels,
    planes: tuple[int, ...],
    m: np.ndarray,
    bias: np.ndarray,
    zero_sum: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> Thresholds:
    """Integer thresholds on an accumulator in low..high for real value m * (acc - zero_sum) + bias.

    All arrays [co]. Real threshold t is passed where acc >= ceil((t - bias) / m) + zero_sum, or,
    m < 0, where acc <= floor(...) + zero_sum; m = 0 passes always or never.
    """
    t = levels[1][None, :]
    rising = (m > 0)[:, None]
    real = (t - bias[:, None]) / np.where(m == 0, 1.0, m)[:, None]
    near = np.rint(real)
    real = np.where(np.abs(real - near) <= _SNAP * np.maximum(1.0, np.abs(near)), near, real)
    # acc ^ -1 = -acc - 1 turns acc <= b into (acc ^ -1) >= -b - 1
    bound = np.where(rising, np.ceil(real), np.floor(real)) + zero_sum[:, None]
    bound = np.where(rising, bound, -bound - 1)
    first = np.where(m < 0, -high - 1, low)[:, None]  # the least value acc ^ flip can have
    last = np.where(m < 0, -low - 1, high)[:, None]
    bound = np.clip(bound, first, last + 1)
    constant = np.where(t <= bias[:, None], first, last + 1)
    bound = np.where((m == 0)[:, None], constant, bound)
    flip = np.where(m < 0, -1, 0)
    found = Thresholds(bound.astype(np.int32), flip.astype(np.int32), planes)
    return replace(found, line=line(found, low, high))
