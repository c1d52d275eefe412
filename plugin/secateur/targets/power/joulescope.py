"""Joulescope JS110 and JS220 through the maker's driver, pyjoulescope_driver (Apache-2.0).

Current and voltage are measured, the general-purpose input 0 is the trigger.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from ... import extras
from ...errors import TargetError, ToolError
from .base import Meter, Recording

_STREAMS = {"i": "s/i", "v": "s/v", "0": "s/gpi/0"}


def _driver() -> Any:
    try:
        from pyjoulescope_driver import Driver
    except ImportError:
        raise ToolError(
            f"pyjoulescope_driver is not installed: {extras.install('meters')}"
        ) from None
    return Driver()


class Joulescope(Meter):
    """The first Joulescope that is plugged in. `driver` makes the maker's Driver object."""

    name: ClassVar[str] = "joulescope"

    def __init__(self, driver: Callable[[], Any] = _driver) -> None:
        self._make = driver
        self._driver: Any = None
        self._device = ""
        self._rate = 0.0
        self._parts: dict[str, list[np.ndarray]] = {}
        self._expected: dict[str, int] = {}
        self._lost = 0

    def start(self) -> None:
        driver = self._make()
        devices = driver.device_paths()
        if not devices:
            raise TargetError("no Joulescope is plugged in")
        self._driver, self._device = driver, devices[0]
        driver.open(self._device)
        self._parts = {key: [] for key in _STREAMS}
        driver.publish(f"{self._device}/s/i/range/mode", "auto")
        for key, topic in _STREAMS.items():
            driver.subscribe(f"{self._device}/{topic}/!data", "pub", self._receive(key))
            driver.publish(f"{self._device}/{topic}/ctrl", 1)

    def _receive(self, key: str) -> Callable[[str, Any], None]:
        def take(topic: str, value: Any) -> None:
            data = np.asarray(value["data"])
            step = int(value.get("decimate_factor", 1))
            first = int(value["sample_id"])
            if self._expected.get(key, first) != first:
                self._lost += 1
            self._expected[key] = first + step * len(data)
            self._rate = float(value["sample_rate"]) / step
            self._parts[key].append(data)

        return take

    def stop(self) -> Recording:
        if self._driver is None:
            raise TargetError("the Joulescope was not started")
        for topic in _STREAMS.values():
            self._driver.publish(f"{self._device}/{topic}/ctrl", 0)
        self._driver.close(self._device)
        if self._lost:
            raise TargetError("the Joulescope lost samples: connect it without a hub")
        joined = {
            key: np.concatenate(parts) if parts else np.zeros(0)
            for key, parts in self._parts.items()
        }
        n = min(len(x) for x in joined.values())
        if n == 0:
            raise TargetError("the Joulescope sent no samples on current, voltage and input 0")
        return Recording(
            np.arange(n) / self._rate,
            joined["i"][:n].astype(np.float64),
            joined["v"][:n].astype(np.float64),
            joined["0"][:n] == 0,
            "Joulescope",
        )
