"""Choose requantization constants and prove that no value leaves its integer type.

docs/integer-spec.md, "Requantization". All arithmetic here is exact in int64 or float64.
"""

from __future__ import annotations

import numpy as np

from secateur.lowering.qgraph import Requant

_INT16 = 32767
_INT32 = 2**31 - 1
_FINE = 1 / 64  #: an error in codes that is not worth more arithmetic


class DoesNotFitError(ValueError):
    """No shift satisfies the bounds. `growth`: how much larger the output scale must be, or 0."""

    def __init__(self, growth: float = 0.0) -> None:
        super().__init__(f"no shift fits (growth {growth:.3g})")
        self.growth = growth


def requantize(
    m: np.ndarray,
    target: np.ndarray,
    zero_sum: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    residual: tuple[float, int] | None = None,
) -> tuple[Requant, int | None]:
    """Constants for u = clamp(((acc * M >> S) + (r * R >> 16) + C) >> f), all arrays [co].

    m: real multiplier; target: z_out + bias / s_out in codes; zero_sum: z_in * sum(w); low, high:
    bounds of every partial accumulator; residual: (s_r / s_out, z_r). Returns the constants and
    R (None without residual). Raises DoesNotFitError.
    """
    # a channel without weights has no use for its multiplier, however large batch norm made it
    m = np.where((low == 0) & (high == 0), 0.0, m)
    args = (m, target, zero_sum, low, high, residual)
    if low.min() < -(2**31) or high.max() > _INT32:
        raise DoesNotFitError
    reach = float(max(-low.min(), high.max(), 1))
    narrow = low.min() >= -32768 and high.max() <= _INT16
    found = _search(0, *args) if narrow else None
    # Beside a residual, a 16-bit accumulator can leave too few bits to M: then keep 48.
    if found is None or reach / 2 ** (found[0].shift + 1) > _FINE:
        wide = _search(16, *args)
        if found is None or (wide is not None and wide[0].shift + 16 > found[0].shift):
            found = wide
    if found is None:
        raise DoesNotFitError(float(np.abs(m).max()) * 2**16 / _INT16)
    return found


def _search(
    pre: int,
    m: np.ndarray,
    target: np.ndarray,
    zero_sum: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    residual: tuple[float, int] | None,
) -> tuple[Requant, int | None] | None:
    low, high = low.astype(np.int64), high.astype(np.int64)
    for f in range(30, -1, -1):
        real = np.rint(m * 2.0 ** (pre + f))
        if np.abs(real).max() > _INT16:
            continue
        mult = real.astype(np.int64)
        ratio, z_r = residual or (0.0, 0)
        r = round(ratio * 2.0 ** (16 + f))
        offset = 2.0**f * (target + 0.5) - mult * zero_sum / 2.0**pre - r * z_r / 2.0**16
        if r > _INT32 or np.abs(offset).max() > _INT32:
            continue
        c = store16(np.rint(offset).astype(np.int64), f)
        ends = np.abs(np.stack([(low * mult) >> pre, (high * mult) >> pre])).max(axis=0)
        if (ends + ((255 * r) >> 16) + np.abs(c)).max() <= _INT32:
            requant = Requant(mult.astype(np.int16), c.astype(np.int32), pre, f)
            return requant, (r if residual else None)
    return None


def store16(offset: np.ndarray, shift: int) -> np.ndarray:
    """`offset` as o16 << k with o16 in int16 and the smallest k, if that costs <= 1/64 code."""
    for k in range(max(shift - 5, 0) + 1):
        o16 = (offset + (1 << k >> 1)) >> k
        if o16.min() >= -32768 and o16.max() <= _INT16:
            return o16 << k
    return offset


def storage_shift(requant: Requant) -> int | None:
    """The smallest k with every offset = o16 << k, o16 in int16; None if there is none."""
    c = requant.offset.astype(np.int64)
    for k in range(32):
        o16 = c >> k
        if (o16 << k != c).any():
            return None
        if o16.min() >= -32768 and o16.max() <= _INT16:
            return k
    return None


def add_constants(
    scales: tuple[float, float], zeros: tuple[int, int], z_out: int
) -> tuple[tuple[int, int], int, int]:
    """((Ma, Mb), C, f) of an Add; `scales` are s_a / s_out and s_b / s_out."""
    for f in range(30, -1, -1):
        ma, mb = (round(s * 2.0 ** (16 + f)) for s in scales)
        c = round(2.0**f * (z_out + 0.5) - (ma * zeros[0] + mb * zeros[1]) / 2.0**16)
        total = ((255 * ma) >> 16) + ((255 * mb) >> 16) + abs(c)
        if max(ma, mb, total) <= _INT32:
            return (ma, mb), c, f
    raise DoesNotFitError(max(scales) * 2**16 / _INT32)
