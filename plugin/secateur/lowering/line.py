"""Even thresholds as a multiplication: floor((acc * m + c) / 2**shift), clamped, the same code.

A low-bit activation of even levels has its thresholds on an accumulator nearly evenly apart; they
are integers, so that a line through them has some play. For each channel a multiplier and an offset
are looked for with which no accumulator that can occur gets another code. With the multiplier m,
threshold t_k asks for

    k 2**shift - m t_k <= c < k 2**shift - m (t_k - 1)

and all of them together for an interval of offsets, which may be empty: then there is no line, and
codes are counted threshold by threshold.
"""

from __future__ import annotations

import numpy as np

from secateur.lowering.qgraph import Requant, Thresholds

#: Shifts in the order in which they are tried: at 16 codes are the upper halves of sums.
SHIFTS = (16, 17, 18, 19, 20, 21, 22, 15, 14, 13, 12, 11, 10, 9, 8)

#: Multipliers of a channel that are tried at a time.
TRIED = 256

_INT16, _INT32 = 2**15 - 1, 2**31 - 1


def line(steps: Thresholds, low: np.ndarray, high: np.ndarray) -> Requant | None:
    """The line of thresholds on accumulators in low..high (int64 [co]); None where there is none.

    Offsets are the roundest that do, since they are stored in units of what divides them all.
    """
    n = steps.values.shape[1]
    fits = low.min() >= -_INT16 - 1 and high.max() <= _INT16
    if n < 3 or steps.codes != tuple(range(n + 1)) or not fits:
        return None
    widest = None
    for shift in SHIFTS:
        found = _all(steps, low, high, shift)
        if found is not None and _narrow(found.offset):
            return found
        widest = widest or found
    return widest


def _all(steps: Thresholds, low: np.ndarray, high: np.ndarray, shift: int) -> Requant | None:
    lines = []
    for i in range(len(low)):
        found = _channel(steps, i, int(low[i]), int(high[i]), shift)
        if found is None:
            return None
        lines.append(found)
    m, c = np.array(lines, np.int64).T
    return Requant(m.astype(np.int16), c.astype(np.int32), 0, shift)


def _narrow(offset: np.ndarray) -> bool:
    """Whether offsets take two bytes in units of a power of two."""
    both = int(np.bitwise_or.reduce(np.abs(offset.astype(np.int64))))
    return int(np.abs(offset.astype(np.int64)).max()) // max(1, both & -both) <= _INT16


def holds(steps: Thresholds, low: np.ndarray, high: np.ndarray) -> bool:
    """Whether the line gives the thresholds' code for every accumulator in low..high: both rise
    or fall, so that it does if it does on either side of each threshold."""
    r = steps.line
    assert r is not None
    turned = steps.flip.astype(np.int64)[:, None]
    ends = np.sort(np.stack([low ^ turned[:, 0], high ^ turned[:, 0]], axis=1), axis=1)
    t = steps.values.astype(np.int64)
    at = np.clip(np.concatenate([t, t - 1, ends], axis=1), ends[:, :1], ends[:, 1:])
    passed = (at[:, :, None] >= t[:, None]).sum(axis=2)
    m, c = (v.astype(np.int64)[:, None] for v in (r.multiplier, r.offset))
    code = ((at ^ turned) * m + c) >> r.shift
    return bool((np.clip(code, 0, t.shape[1]) == passed).all())


def _channel(steps: Thresholds, i: int, low: int, high: int, shift: int) -> tuple[int, int] | None:
    """(multiplier, offset) of channel i; None if no multiplier of 16 bits does."""
    flipped = bool(steps.flip[i])
    first, last = (-high - 1, -low - 1) if flipped else (low, high)
    t = steps.values[i].astype(np.int64)
    k = np.arange(1, len(t) + 1, dtype=np.int64) << shift
    # what has to be reached, and what must not be
    reach, miss = t <= last, t > first
    at, below = np.maximum(t, first)[reach], (np.minimum(t, last + 1) - 1)[miss]
    m = _multipliers(at, k[reach], below, k[miss])
    if not m.size:
        return None
    least = (k[reach] - m[:, None] * at).max(axis=1, initial=-_INT32)
    most = (k[miss] - 1 - m[:, None] * below).min(axis=1, initial=_INT32)
    if flipped:  # acc ^ -1 is -acc - 1
        least, most, m = least - m, most - m, -m
    reaches = np.maximum(np.abs(m * low), np.abs(m * high))
    least, most = np.maximum(least, reaches - _INT32), np.minimum(most, _INT32 - reaches)
    there = least <= most
    if not there.any():
        return None
    m, least, most = m[there], least[there], most[there]
    c, zeros = _roundest(least, most)
    best = np.lexsort((least - most, -zeros))[0]
    return int(m[best]), int(c[best])


def _multipliers(
    at: np.ndarray, reached: np.ndarray, below: np.ndarray, missed: np.ndarray
) -> np.ndarray:
    """Multipliers 0 .. 2**15 - 1 for which there are offsets, TRIED of them at most.

    Between accumulators a that reaches level j and b that misses level k, the line rises by less
    than k - j: m (b - a) < (k - j) 2**shift.
    """
    rise = (missed[None, :] - reached[:, None]).reshape(-1)
    run = (below[None, :] - at[:, None]).reshape(-1)
    least, most = 0, _INT16
    right, left, flat = run > 0, run < 0, run == 0
    if np.any(rise[flat] <= 0):
        return np.empty(0, np.int64)
    if right.any():
        most = min(most, int(((rise[right] - 1) // run[right]).min()))
    if left.any():
        least = max(least, int((rise[left] // run[left]).max()) + 1)
    if least > most:
        return np.empty(0, np.int64)
    return np.unique(np.linspace(least, most, TRIED).astype(np.int64))


def _roundest(least: np.ndarray, most: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each interval the number that most powers of two divide, and how many do; 0 if it is in
    there."""
    out, zeros = least.copy(), np.zeros_like(least)
    for n in range(31):
        up, down = -(-least >> n) << n, most >> n << n  # the first and the last multiple
        there = up <= most
        near = np.where(least > 0, up, np.where(most < 0, down, 0))
        out, zeros = np.where(there, near, out), np.where(there, n, zeros)
    return out, zeros
