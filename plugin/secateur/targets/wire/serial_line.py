"""A serial port of this computer, as boards and meters use it."""

from __future__ import annotations

from ...errors import TargetError

WRITE = 10.0  #: seconds that a frame may take to leave the host; at 9600 baud it takes 0.3


class SerialLine:
    """Transport over a serial port. Raises TargetError in one sentence."""

    def __init__(self, port: str, baud: int) -> None:
        import serial

        try:
            self._port = serial.Serial(port, baud, timeout=0, write_timeout=WRITE, exclusive=True)
        except (serial.SerialException, ValueError) as error:
            raise TargetError(f"serial port {port} does not open: {_why(str(error))}") from None
        self.name = port

    def write(self, data: bytes) -> None:
        import serial

        try:
            self._port.write(data)
        except serial.SerialTimeoutException:
            raise TargetError(
                f"serial port {self.name} takes no bytes: is something else than the board "
                "connected, or flow control on?"
            ) from None
        except (serial.SerialException, OSError):
            raise TargetError(
                f"serial port {self.name} is gone: was the board unplugged?"
            ) from None

    def read(self, timeout: float) -> bytes:
        import serial

        try:
            self._port.timeout = timeout
            first = self._port.read(1)
            return bytes(first + self._port.read(self._port.in_waiting)) if first else b""
        except (serial.SerialException, OSError):
            raise TargetError(
                f"serial port {self.name} is gone: was the board unplugged?"
            ) from None

    def close(self) -> None:
        self._port.close()


def _why(text: str) -> str:
    lower = text.lower()
    if "busy" in lower or "lock" in lower:
        return "another program uses it; close that first"
    if "permission" in lower:
        return "you may not open it; join the group that owns it (dialout)"
    if "no such file" in lower or "could not find" in lower or "filenotfound" in lower:
        return "it does not exist; list ports with 'python -m serial.tools.list_ports'"
    return text
