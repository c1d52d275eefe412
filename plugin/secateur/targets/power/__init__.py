"""Power meters: what they record, and the energy of an inference in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...errors import TargetError
from ..base import DrawnEnergy
from .base import Meter, Recording, integrate

__all__ = ["DrawnEnergy", "Meter", "Recording", "get", "integrate"]


def get(spec: str, voltage: float = 3.3, ready: Callable[[Path], None] | None = None) -> Meter:
    """The meter of a `--power` value: ppk2[:PORT], joulescope, lpm01a:PORT, ina2xx:PORT, csv:FILE.

    `voltage` (V) is what the meter supplies, where it supplies at all; `ready` is called with FILE
    when another meter's recording is wanted. Raises TargetError.
    """
    kind, _, where = spec.partition(":")
    if kind == "csv" and where:
        from .recorded import Csv

        return Csv(where, voltage, ready)
    if kind == "ppk2":
        from .ppk2 import Ppk2

        return Ppk2(where or None, voltage)
    if kind == "joulescope":
        from .joulescope import Joulescope

        return Joulescope()
    if kind == "lpm01a" and where:
        from .lpm01a import Lpm01a

        return Lpm01a(where, voltage)
    if kind == "ina2xx" and where:
        from .ina2xx import Ina2xx

        return Ina2xx(where, voltage)
    raise TargetError(
        f"power meter '{spec}' is unknown: ppk2[:PORT], joulescope, lpm01a:PORT, ina2xx:PORT, "
        "csv:FILE"
    )
