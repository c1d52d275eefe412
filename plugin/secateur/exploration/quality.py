"""One number that ranks combinations of methods."""

from __future__ import annotations

import math

from secateur.errors import DataError

#: Points of accuracy that are worth one halving.
TAU = 1.0
#: Stated wherever a quality is shown.
FORMULA = "quality = log2(float32 bytes / stored bytes) - max(0, accuracy points lost) / tau"


def quality(before: float, after: float, points_lost: float, tau: float = TAU) -> float:
    """Halvings, net of accuracy: log2(before / after) - max(0, points_lost) / tau.

    Ishtiaq et al., "Model Compression", arXiv 2105.10059, rank levels of pruning x levels of
    quantization by one number that weighs accuracy lost against size gained; this formula is ours.

    Args:
        before, after: bytes of all parameters in float32 and as stored; or milliseconds, or
            microjoules, of the int8 network and of the compressed one.
        points_lost: percent points of accuracy against the float network; a gain counts as 0.
        tau: points that are worth one halving.

    Raises:
        DataError: a figure that is not above 0.
    """
    for name, value in (("before", before), ("after", after), ("tau", tau)):
        if not value > 0:
            raise DataError(f"quality: {name}={value!r} is not above 0")
    return math.log2(before / after) - max(0.0, points_lost) / tau


def formula(tau: float = TAU) -> str:
    """The formula with its tau, for people."""
    return f"{FORMULA}, tau = {tau:g} point{'' if tau == 1 else 's'} ('halvings, net of accuracy')"
