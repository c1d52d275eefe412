"""ST X-NUCLEO-LPM01A: text over its USB serial port, started by the trigger pin on D7.

Every command is answered with `ack`; samples come as `mantissa-exponent` lines in amperes
(format ascii_dec), among them time stamps and remarks.
"""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np

from ...errors import TargetError
from ..wire.serial_line import SerialLine
from .base import Meter, Recording
from .port import LineReader, Opened, read_until

_RATE = 10_000  #: the fastest with text
_SAMPLE = re.compile(rb"^(\d+)([-+]\d+)\r?$", re.M)


class Lpm01a(Meter):
    """Supplies the board with `voltage` (1.8 to 3.3 V); the recording begins with the runs."""

    name: ClassVar[str] = "lpm01a"
    armed: ClassVar[bool] = True

    def __init__(self, port: str, voltage: float) -> None:
        if not 1.8 <= voltage <= 3.3:
            raise TargetError(f"an LPM01A supplies 1.8 to 3.3 V, not {voltage:g} V")
        self.port = port
        self.voltage = voltage
        self._line: SerialLine | None = None
        self._reader: LineReader | None = None
        self._early = b""

    def supply(self) -> None:
        with Opened(SerialLine(self.port, 3_686_400)) as line:
            self._line = line
            for command in (
                "htc", "format ascii_dec", f"freq {_RATE // 1000}k", "acqtime inf",
                f"volt {round(self.voltage * 1000)}m", "output current", "trigdelay 0",
                "trigsrc d7", "pwr on nostatus",
            ):  # fmt: skip
                self._ask(command)

    def start(self) -> None:
        if self._line is None:
            self.supply()
        assert self._line is not None
        with Opened(self._line):
            self._early = self._ask("start")  # the first samples may come with the answer
        self._reader = LineReader(self._line)

    def _ask(self, command: str) -> bytes:
        assert self._line is not None
        self._line.write(f"{command}\n".encode())
        answer = read_until(self._line, b"ack", 2.0)
        if b"ack" not in answer:
            said = answer.decode("ascii", "replace").strip() or "nothing"
            raise TargetError(f"the LPM01A at {self.port} refuses '{command}': {said}")
        return answer

    def stop(self) -> Recording:
        if self._line is None or self._reader is None:
            raise TargetError("the LPM01A was not started")
        self._line.write(b"stop\n")
        data = self._early + self._reader.stop()
        self._line.write(b"hrc\n")
        self._line.close()
        if re.search(rb"(?i)overrun|buffer full", data):
            raise TargetError("the LPM01A lost samples: connect it without a hub")
        current = np.array([int(m) * 10.0 ** int(e) for m, e in _SAMPLE.findall(data)])
        time = np.arange(len(current)) / _RATE
        return Recording(time, current, np.full(len(current), self.voltage), None, "ST LPM01A")
