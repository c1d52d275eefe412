"""INA219, INA226, INA228 behind any microcontroller that prints what it reads.

A line is `microseconds,microamperes[,millivolts[,trigger]]`; lines that begin with # are remarks.
"""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from ...errors import TargetError
from ..wire.serial_line import SerialLine
from .base import Meter, Recording
from .port import LineReader


class Ina2xx(Meter):
    """Reads the lines; `voltage` where the sensor does not print it."""

    name: ClassVar[str] = "ina2xx"

    def __init__(self, port: str, voltage: float) -> None:
        self.port = port
        self.voltage = voltage
        self._line: SerialLine | None = None
        self._reader: LineReader | None = None

    def start(self) -> None:
        self._line = SerialLine(self.port, 115200)
        self._reader = LineReader(self._line)

    def stop(self) -> Recording:
        if self._line is None or self._reader is None:
            raise TargetError("the INA2xx was not started")
        data = self._reader.stop()
        self._line.close()
        rows = []
        # The first and the last line may be cut.
        for line in data.decode("ascii", "replace").split("\n")[1:-1]:
            fields = line.strip().split(",")
            if not line.strip() or line.startswith("#"):
                continue
            try:
                rows.append([float(x) for x in fields])
            except ValueError:
                raise TargetError(
                    f"{self.port} sends '{line.strip()[:40]}', which is not "
                    "'microseconds,microamperes[,millivolts[,trigger]]'"
                ) from None
        width = min((len(row) for row in rows), default=0)
        if width < 2:
            raise TargetError(f"{self.port} sends no measurements: check the sensor's program")
        table = np.array([row[:width] for row in rows])
        # Microcontrollers count microseconds in 32 bits.
        time = np.unwrap(table[:, 0], period=2.0**32) * 1e-6
        volts = table[:, 2] * 1e-3 if width > 2 else np.full(len(table), self.voltage)
        active = table[:, 3] < 0.5 if width > 3 else None
        return Recording(time, table[:, 1] * 1e-6, volts, active, "INA2xx")
