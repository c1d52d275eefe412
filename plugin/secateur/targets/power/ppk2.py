"""Nordic Power Profiler Kit II: 100,000 samples a second over its USB serial port.

Written from the device's protocol: one-byte commands, calibration as text, samples of four bytes
(14 bits of ADC, 3 of range, 6 of counter, 8 of digital inputs). D0 is the trigger.
"""

from __future__ import annotations

import re
from typing import ClassVar

import numpy as np

from ...errors import TargetError
from ..wire.serial_line import SerialLine
from .base import Meter, Recording
from .port import LineReader, Opened, read_until

_START, _STOP, _POWER, _VOLTAGE, _MODE, _CALIBRATION = 0x06, 0x07, 0x0C, 0x0D, 0x11, 0x19
_RATE = 100_000
_ADC = 1.8 / 163840
_USB = (0x1915, 0xC00A)


class Ppk2(Meter):
    """Supplies the board with `voltage` (0.8 to 5 V) and records its current."""

    name: ClassVar[str] = "ppk2"

    def __init__(self, port: str | None, voltage: float) -> None:
        if not 0.8 <= voltage <= 5.0:
            raise TargetError(f"a PPK2 supplies 0.8 to 5 V, not {voltage:g} V")
        self.port = port
        self.voltage = voltage
        self._line: SerialLine | None = None
        self._reader: LineReader | None = None
        self._table: dict[str, list[float]] = {}

    def supply(self) -> None:
        with Opened(SerialLine(self.port or _find(), 115200)) as line:
            self._line = line
            line.write(bytes([_STOP]))
            read_until(line, b"\0" * 64, 0.1)
            line.write(bytes([_CALIBRATION]))
            text = read_until(line, b"END", 2.0).decode("latin-1")
            if "END" not in text:
                raise TargetError(
                    f"{line.name} is no PPK2: it does not answer with its calibration"
                )
            self._table = calibration(text)
            millivolts = round(self.voltage * 1000) - 800 + 32
            line.write(bytes([_MODE, 2]))  # source meter
            line.write(bytes([_VOLTAGE, 3 + millivolts // 256, millivolts % 256]))
            line.write(bytes([_POWER, 1]))

    def start(self) -> None:
        if self._line is None:
            self.supply()
        assert self._line is not None
        self._line.write(bytes([_START]))
        self._reader = LineReader(self._line)

    def stop(self) -> Recording:
        if self._line is None or self._reader is None:
            raise TargetError("the PPK2 was not started")
        self._line.write(bytes([_STOP]))
        data = self._reader.stop()
        self._line.close()
        current, inputs, lost = decode(data, self._table, self.voltage)
        if lost:
            raise TargetError(
                f"the PPK2 lost samples {lost} times: connect it without a hub and close other "
                "programs"
            )
        time = np.arange(len(current)) / _RATE
        volts = np.full(len(current), self.voltage)
        return Recording(time, current, volts, (inputs & 1) == 0, "Nordic PPK2")


def calibration(text: str) -> dict[str, list[float]]:
    """Tables R, GS, GI, O, S, I, UG of five ranges from the device's text."""
    out: dict[str, list[float]] = {
        "R": [1031.64, 101.65, 10.15, 0.94, 0.043], "GS": [1.0] * 5, "GI": [1.0] * 5,
        "O": [0.0] * 5, "S": [0.0] * 5, "I": [0.0] * 5, "UG": [1.0] * 5,
    }  # fmt: skip
    for name, index, value in re.findall(r"^(R|GS|GI|O|S|I|UG)([0-4]):\s*([-+\d.eE]+)", text, re.M):
        out[name][int(index)] = float(value)
    return out


def decode(
    data: bytes, table: dict[str, list[float]], voltage: float
) -> tuple[np.ndarray, np.ndarray, int]:
    """Amperes, digital inputs and the number of gaps of a stream of samples."""
    words = np.frombuffer(data[: len(data) // 4 * 4], dtype="<u4")
    adc = (words & 0x3FFF).astype(np.float64) * 4
    ranges = np.minimum(words >> 14 & 7, 4).astype(np.int64)
    counter = (words >> 18 & 0x3F).astype(np.int64)
    inputs = (words >> 24).astype(np.uint8)
    t = {name: np.array(values)[ranges] for name, values in table.items()}
    raw = (adc - t["O"]) * (_ADC / t["R"])
    current = t["UG"] * (raw * (t["GS"] * raw + t["GI"]) + t["S"] * voltage + t["I"])
    lost = int(np.count_nonzero(np.diff(counter) % 64 != 1))
    return current, inputs, lost


def _find() -> str:
    from serial.tools import list_ports

    ports = sorted(p.device for p in list_ports.comports() if (p.vid, p.pid) == _USB)
    if not ports:
        raise TargetError("no PPK2 is plugged in: connect it, or name its port with ppk2:PORT")
    return str(ports[0])
