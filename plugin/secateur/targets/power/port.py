"""A meter's serial port, read in the background while the board works."""

from __future__ import annotations

import threading
import time
from types import TracebackType

from ..wire.serial_line import SerialLine


class LineReader:
    """Collects everything that comes from a port until stopped."""

    def __init__(self, line: SerialLine) -> None:
        self._line = line
        self._data = bytearray()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            self._data += self._line.read(0.05)

    def stop(self) -> bytes:
        """Everything received."""
        self._stop.set()
        self._thread.join()
        return bytes(self._data)


def read_until(line: SerialLine, end: bytes, timeout: float) -> bytes:
    """Bytes up to `end`, or what came within `timeout` seconds."""
    out = b""
    deadline = time.monotonic() + timeout
    while end not in out and time.monotonic() < deadline:
        out += line.read(0.1)
    return out


class Opened:
    """Closes a port when the block that opens a meter fails."""

    def __init__(self, line: SerialLine) -> None:
        self.line = line

    def __enter__(self) -> SerialLine:
        return self.line

    def __exit__(
        self, kind: type[BaseException] | None, _e: BaseException | None, _t: TracebackType | None
    ) -> None:
        if kind is not None:
            self.line.close()
