"""The C of features of sound: NAME_features.c and .h, which make frames for NAME_step."""

from __future__ import annotations

import numpy as np

from ..lowering.mfcc import QMfcc
from ..version import __version__
from .emit import CArray, render
from .geometry import align4
from .tables import counter_type


def _arrays(q: QMfcc) -> list[CArray]:
    first, count, weights = q.mel
    at = np.where(count > 0, first - q.bins[0], 0)
    n = len(q.turns)
    values = {
        "hann": ("int32_t", q.hann, "the window to its middle"),
        "turns": ("int32_t", q.turns, "cos and -sin"),
        "order": (counter_type(n - 1), q.order, "places of the transform's inputs"),
        "first": (counter_type(int(at.max())), at, "first bin of each mel channel"),
        "count": (counter_type(int(count.max())), count, "its bins"),
        "mel": ("uint16_t", weights, "their weights, in units of 2^-15"),
        "log": ("int32_t", q.log, "log2 between 1 and 2, in units of 2^-16"),
        "out": ("int16_t", q.out[0], "from logarithms to codes"),
    }
    return [CArray(f"features_{k}", t, v, note) for k, (t, v, note) in values.items()]


def table_bytes(q: QMfcc) -> int:
    """Bytes of flash that the tables take."""
    return sum(a.size for a in _arrays(q))


def state_bytes(q: QMfcc) -> int:
    """Bytes of what is kept from frame to frame and of scratch."""
    d, (a, b) = q.definition, q.bins
    return align4(2 * (d.window - d.hop)) + 4 * (_area(q) + b - a)


def _area(q: QMfcc) -> int:
    """Words of the transform, and of the logarithms that take its place."""
    return max(q.definition.size, q.definition.channels)


def feature_files(name: str, q: QMfcc) -> dict[str, str]:
    """path -> text of the two files, for the library of the C identifier `name`."""
    d = q.definition
    context = {
        "name": name, "upper": name.upper(), "version": __version__, "d": d, "n": d.size // 2,
        "arrays": _arrays(q), "kept": align4(2 * (d.window - d.hop)), "area": _area(q),
        "state": state_bytes(q), "bins": q.bins, "floor": q.floor, "pieces": len(q.log) - 1,
        "constant": q.constant, "start": 2 * q.zero_point + 1, "shift": q.out[1],
    }  # fmt: skip
    return {
        f"src/{name}_features.h": render("features.h.j2", **context),
        f"src/{name}_features.c": render("features.c.j2", **context),
    }
