"""A recording of current, and the energy of the inferences in it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ...errors import TargetError
from ..base import DrawnEnergy


@dataclass(frozen=True)
class Recording:
    """What a meter saw: float64 [n] seconds, amperes and volts; bool [n] "the model runs", or None.

    The firmware holds its trigger pin low while the model runs; meters give that as True.
    """

    time: np.ndarray
    current: np.ndarray
    voltage: np.ndarray
    active: np.ndarray | None
    source: str


class Meter(ABC):
    """Records while something runs."""

    name: ClassVar[str]
    #: A recording begins with the runs, because their edge started it; it has no trigger channel.
    armed: ClassVar[bool] = False

    def supply(self) -> None:  # noqa: B027 - most meters do not
        """Power the board, where the meter does; called before flashing. Raises TargetError."""

    @abstractmethod
    def start(self) -> None:
        """Begin to record. Raises TargetError if the meter is not there."""

    @abstractmethod
    def stop(self) -> Recording:
        """End, and give what was recorded."""


def _windows(active: np.ndarray) -> list[tuple[int, int]]:
    """First and one-past-last sample of every stretch of True that begins and ends inside."""
    edges = np.flatnonzero(np.diff(active.astype(np.int8)))
    starts = [int(e) + 1 for e in edges if active[e + 1]]
    ends = [int(e) + 1 for e in edges if not active[e + 1]]
    if ends and (not starts or ends[0] < starts[0]):
        ends = ends[1:]
    return list(zip(starts, ends, strict=False))


def integrate(
    recording: Recording,
    runs: int = 1,
    seconds: float | None = None,
    windows: int | None = None,
) -> DrawnEnergy:
    """Energy of one inference, `runs` of which are in every active window.

    `windows` is how many the runs made; only so many, the last ones, are looked at (a recording
    of somebody else's may have begun earlier). Raises TargetError if there are fewer.

    Without a trigger channel the recording must begin with the runs, and `seconds` say how long
    they took. A window's energy is its mean power times its length; idle is the median current
    outside. Raises TargetError if nothing was recorded or nothing ran.
    """
    time, current, voltage = recording.time, recording.current, recording.voltage
    if len(time) < 4:
        raise TargetError(f"{recording.source} recorded {len(time)} samples: check its connection")
    if not (np.all(np.isfinite(current)) and np.all(np.isfinite(time))):
        raise TargetError(f"{recording.source} recorded values that are no numbers")
    if np.any(np.diff(time) <= 0):
        raise TargetError(f"{recording.source}: the times do not increase")
    active = recording.active
    if active is None:
        if seconds is None or seconds <= 0:
            raise TargetError(
                f"{recording.source} has no trigger channel, and the duration of the runs is not "
                "known: connect the board's trigger pin, and record it"
            )
        if time[-1] - time[0] < seconds:
            covered = time[-1] - time[0]
            raise TargetError(
                f"{recording.source} covers {covered:.3g} s, the runs took {seconds:.3g} s"
            )
        end = int(np.searchsorted(time, time[0] + seconds))
        spans = [(0, end)]
        active = np.arange(len(time)) < end
    else:
        spans = _windows(active)
    if not spans:
        raise TargetError(
            f"{recording.source} saw no complete run: connect the board's trigger pin to the "
            "meter's digital input"
        )
    if windows is not None and len(spans) < windows:
        raise TargetError(
            f"{recording.source} saw {len(spans)} of {windows} windows of runs: record all, with "
            "the board's trigger pin on the meter's digital input"
        )
    spans = spans[-windows:] if windows else spans
    outside = current[~active]
    if not len(outside):
        raise TargetError(f"{recording.source} saw no idle time: record longer than the runs take")
    idle = float(np.median(outside))
    power = current * voltage
    step = float(np.median(np.diff(time)))
    per_window, total, lengths = [], [], []
    for first, last in spans:
        # An edge lies half a sample before the first sample that shows it.
        length = float(time[last - 1] - time[first]) + step
        inside = float(np.mean(power[first:last])) * length
        volts = float(np.mean(voltage[first:last]))
        total.append(inside / runs)
        per_window.append((inside - idle * volts * length) / runs)
        lengths.append(length / runs)
    mean_ma = float(np.mean([np.mean(current[a:b]) for a, b in spans])) * 1e3
    return DrawnEnergy(
        uj=float(np.mean(per_window)) * 1e6,
        spread_uj=float(np.std(per_window, ddof=1)) * 1e6 if len(per_window) > 1 else 0.0,
        total_uj=float(np.mean(total)) * 1e6,
        idle_ma=idle * 1e3,
        active_ma=mean_ma,
        seconds=float(np.mean(lengths)),
        windows=len(spans),
        source=recording.source,
    )
