"""Constants that make a requantization a threshold: docs/integer-spec.md, "Sign"."""

from __future__ import annotations

import numpy as np

from secateur.lowering.qgraph import Requant

_STEP = 256  #: codes a unit of the accumulator: the next integer already saturates
_SHIFT = 6  #: 2**14 >> 6 is that step, in constants of ordinary size


def threshold(factor: np.ndarray, beta: np.ndarray, low: np.ndarray, high: np.ndarray) -> Requant:
    """Code 255 where factor * (acc + beta) >= 0, else 0, all arrays [co].

    acc lies in low..high. Where it leaves 16 bits the slope is a quarter: code 128 is the
    threshold, at most 3 units of the accumulator late, and `sharpen(128)` has to follow.
    """
    sign = np.sign(factor)
    # +-acc is an integer, so the real threshold rounds down without changing any answer.
    bound = np.floor(np.where(factor == 0, np.where(beta >= 0, 0, -1), sign * beta))
    reach = max(float(-low.min()), float(high.max()), 1.0)
    bound = np.clip(bound, -reach - 1, reach + 1)
    if low.min() >= -32768 and high.max() <= 32767:
        m, c, pre, shift = sign * 2**14, (bound + 1) * 2**14, 0, _SHIFT
    else:
        m, c, pre, shift = sign * 2**14, np.floor(bound / 4) + 128, 16, 0
    return Requant(m.astype(np.int16), c.astype(np.int32), pre, shift)


def sharpen(zero: int) -> Requant:
    """A Rescale from codes to 255 where u >= zero, else 0."""
    c = np.array([_STEP * (1 - zero)], np.int32)
    return Requant(np.array([_STEP], np.int16), c, 0, 0)


def to_sign() -> Requant:
    """A Rescale from 0 and 255 to the codes 0 and 2 of a sign tensor."""
    return Requant(np.array([2], np.int16), np.array([2], np.int32), 0, 8)
