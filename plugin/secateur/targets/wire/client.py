"""The host's side of the harness: sends requests, repeats what the line lost, reads counters.

Nothing that comes back is believed before it was looked at: every reply has the length that its
frame has in this version of the protocol, and every field a value that a microcontroller can have.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ...errors import TargetError
from . import frames
from .frames import Frame

_NAMES = {
    frames.INFO: "info", frames.LOAD: "load", frames.RUN: "run", frames.READ: "read",
    frames.MEMORY: "memory",
}  # fmt: skip
#: Bytes of a reply's payload where it is always the same (harness_main.c).
_LENGTHS = {frames.LOAD: 4, frames.RUN: 20, frames.MEMORY: 12}
_INFO = 20  #: bytes of an info reply before the model's name
_MEMORY = 1 << 28  #: bytes; no microcontroller has more for input, output or arena
_REGISTERS = (3, 14)  #: words of a fault report: RISC-V, Arm
GREETING = b"m-ready"  #: the end of what the firmware says once it listens (harness_text.c)
_SETTLE = 0.05  #: seconds of silence after which a complaint's siblings have all come
_COMPLAINTS = 64  #: requests sent again because the device complained, at most
_STATUS = {1: "unknown command", 2: "address out of range", 3: "protocol version differs"}


class Transport(Protocol):
    """A serial line."""

    def write(self, data: bytes) -> None:
        """Send everything."""

    def read(self, timeout: float) -> bytes:
        """What has come, at least one byte; empty after `timeout` seconds of silence."""


@dataclass(frozen=True)
class Info:
    """What a device says about its image. Sizes in bytes, overhead in ticks."""

    input_size: int
    output_size: int
    arena: int
    timer_hz: int
    overhead: int
    name: str


@dataclass(frozen=True)
class Run:
    """Counters of a run of the model; ticks are without the call's overhead."""

    runs: int
    ticks: int
    wraps: int


class DeviceFaultError(Exception):
    """A device's report of a fault: register words as sent (fault.py puts them in words)."""

    def __init__(self, words: tuple[int, ...]) -> None:
        super().__init__(words)
        self.words = words


class Client:
    """Speaks to one device over `line`.

    `reply_time` is how long a reply may take to begin after a request, in seconds, `run_time`
    how long a run of the model may take. Lost frames are repeated up to `retries` times.
    `greeting` is how long to wait for the firmware's greeting at first, see `greet`.
    """

    def __init__(
        self,
        line: Transport,
        reply_time: float = 1.0,
        run_time: float = 60.0,
        retries: int = 20,
        greeting: float = 0.0,
    ) -> None:
        self.line = line
        self.reply_time = reply_time
        self.run_time = run_time
        self.retries = retries
        self.greeting = greeting
        self.repeated = 0  #: requests that had to be sent again
        self.timed = True  #: the device has a counter that runs; without one ticks mean nothing
        self.silent = False  #: gave up on a device that said nothing at all in time
        self._sequence = 0
        self._arena = _MEMORY  # of the model, as soon as the device has said it
        self._buffer = bytearray()

    def greet(self) -> bool:
        """Read up to the end of the greeting, for `greeting` seconds at most; whether it came.

        A request sent before the firmware listens is lost, or worse: Renode's SAMD5_UART lets no
        greeting out while something waits to be read. A device that has been running for longer
        has greeted nobody, so silence is no error. It is waited for once.
        """
        deadline = time.monotonic() + self.greeting
        self.greeting = 0.0
        text = b""
        while (left := deadline - time.monotonic()) > 0:
            data = self.line.read(left)
            if not data:
                return False
            text = text[-len(GREETING) :] + data
            if GREETING in text:
                return True
        return False

    def info(self) -> Info:
        """What the device says of itself. Raises TargetError where that cannot be."""
        payload = self._request(frames.INFO)
        if len(payload) < _INFO:
            raise wrong("info", "length", f"{len(payload)} bytes, not {_INFO} or more")
        fields = struct.unpack_from("<5I", payload)
        for name, value in zip(("input size", "output size", "arena"), fields, strict=False):
            if not 0 < value <= _MEMORY:
                raise wrong("info", name, f"{value} bytes")
        size_in, size_out, arena, hz, overhead = fields
        if hz == 0:
            raise wrong("info", "timer_hz", "0 ticks a second")
        self._arena = arena
        name = "".join(chr(c) if 32 <= c < 127 else "?" for c in payload[_INFO:])
        return Info(size_in, size_out, arena, hz, overhead, name)

    def load(self, data: bytes) -> None:
        """Write the model's input."""
        step = frames.PAYLOAD - 4
        for at in range(0, len(data), step):
            part = data[at : at + step]
            (end,) = struct.unpack("<I", self._request(frames.LOAD, struct.pack("<I", at) + part))
            if end != at + len(part):
                raise wrong("load", "end", f"{end} behind {len(part)} bytes at {at}")

    def run(self, runs: int = 1) -> Run:
        """Run the model `runs` times on the loaded input."""
        payload = self._request(frames.RUN, struct.pack("<I", runs), self.run_time)
        status, done, ticks, wraps = struct.unpack("<iIqI", payload)
        self._model_status(status)
        if done != runs:
            raise wrong("run", "runs", f"{done}, not the {runs} asked for")
        if self.timed and ticks < 0:
            raise TargetError(
                f"frame 'run': the device says that {done} runs took {ticks} ticks: its counter "
                "ran backwards; check timer in the board's manifest"
            )
        return Run(done, ticks, wraps)

    def read(self, size: int) -> bytes:
        """The model's output."""
        out = b""
        while len(out) < size:
            n = min(frames.PAYLOAD, size - len(out))
            part = self._request(frames.READ, struct.pack("<II", len(out), n))
            if len(part) != n:
                raise wrong("read", "length", f"{len(part)} bytes, not the {n} asked for")
            out += part
        return out

    def memory(self) -> tuple[int, int]:
        """High-water marks of stack and arena in bytes; runs the model twice."""
        status, stack, arena = struct.unpack(
            "<iII", self._request(frames.MEMORY, b"", self.run_time)
        )
        self._model_status(status)
        for name, value, most in (("stack", stack, _MEMORY), ("arena", arena, self._arena)):
            if value > most:
                raise wrong("memory", name, f"{value} bytes of {most}")
        return stack, arena

    def infer(self, data: np.ndarray, info: Info) -> tuple[np.ndarray, Run]:
        """Output (int8, flat) and counters of one input (int8, any shape)."""
        flat = np.ascontiguousarray(data, dtype=np.int8).tobytes()
        if len(flat) != info.input_size:
            raise TargetError(
                f"the firmware of model {info.name} takes {info.input_size} bytes, not {len(flat)}"
            )
        self.load(flat)
        run = self.run()
        return np.frombuffer(self.read(info.output_size), dtype=np.int8), run

    @staticmethod
    def _model_status(status: int) -> None:
        if status:
            raise TargetError(
                f"the model returned {status} on the device: its weights are damaged; "
                "flash the image again"
            )

    def _request(self, command: int, payload: bytes = b"", limit: float = 0.0) -> bytes:
        """Ask until answered: up to `retries` times again, and for `limit` seconds at least.

        A device that is still at work does not listen; it answers a repeated request once, from
        memory, so asking again costs nothing but the line's time. A complaint of the device may be
        about something older than the request, so it is no failed attempt.
        """
        self._drain()
        self._sequence = (self._sequence + 1) & 0xFF
        request = Frame(command, self._sequence, 0, payload)
        coded = frames.encode(request)
        what = f"frame '{_NAMES[command]}' (number {self._sequence})"
        deadline = time.monotonic() + limit
        patience = self.reply_time
        attempts = complaints = 0
        while attempts <= self.retries or time.monotonic() < deadline:
            if attempts + complaints:
                self.repeated += 1
            self.line.write(coded)
            left = deadline - time.monotonic()
            reply = self._reply(request, min(patience, left) if left > 0 else self.reply_time)
            if reply is None:
                attempts += 1
                patience *= 2 if limit else 1
            elif reply.command == frames.NAK:
                complaints += 1
                if complaints > _COMPLAINTS:
                    break
            else:
                return self._payload(reply, command)
        self.silent = complaints == 0
        raise TargetError(
            f"{what} got no answer in {attempts + complaints} attempts: check the serial line and "
            "that the firmware is running"
        )

    @staticmethod
    def _payload(reply: Frame, command: int) -> bytes:
        """What an answer says. Raises TargetError if it is a refusal, or no answer to `command`."""
        name = _NAMES[command]
        if reply.version != frames.VERSION:
            raise wrong(name, "version", f"{reply.version}, not {frames.VERSION}")
        if reply.status:
            why = _STATUS.get(reply.status, f"status {reply.status}")
            raise TargetError(
                f"frame '{name}' (number {reply.sequence}): the device refuses it, {why}"
            )
        length = _LENGTHS.get(command)
        if length is not None and len(reply.payload) != length:
            raise wrong(name, "length", f"{len(reply.payload)} bytes, not {length}")
        return reply.payload

    def _drain(self) -> None:
        """Forget what has come before a request was made: noise, or answers to older ones."""
        self._buffer.clear()
        deadline = time.monotonic() + _SETTLE
        while self.line.read(0.0) and time.monotonic() < deadline:
            continue

    def _reply(self, request: Frame, patience: float) -> Frame | None:
        """The answer; a complaint, if nothing but complaints came; None if nothing came."""
        deadline = time.monotonic() + patience
        complaint = None
        until = deadline
        while True:
            frame = self._next(until)
            if frame is None:
                return complaint
            if frame.command == frames.FAULT:
                raise DeviceFaultError(_registers(frame.payload))
            if frame.command == frames.NAK:
                complaint = frame
                until = min(deadline, time.monotonic() + _SETTLE)
            if frame.command == request.command | frames.REPLY and (
                frame.sequence == request.sequence
            ):
                return frame

    def _next(self, deadline: float) -> Frame | None:
        """The next whole frame, damaged ones skipped; None at the deadline."""
        while True:
            end = self._buffer.find(0)
            while end >= 0:
                frame = frames.decode(bytes(self._buffer[:end])) if end else None
                del self._buffer[: end + 1]
                if frame is not None:
                    return frame
                end = self._buffer.find(0)
            if len(self._buffer) > frames.CODED:  # not a frame any more, whatever comes
                del self._buffer[: -frames.CODED]
            left = deadline - time.monotonic()
            data = self.line.read(left) if left > 0 else b""
            if not data:
                return None
            self._buffer += data


def wrong(frame: str, name: str, value: str) -> TargetError:
    """What a user is told of a reply that cannot be right."""
    return TargetError(
        f"frame '{frame}', field {name}: the device says {value}; it runs other firmware, or the "
        "line lies: flash the image again"
    )


def _registers(payload: bytes) -> tuple[int, ...]:
    """The words of a fault report."""
    if len(payload) not in [4 * n for n in _REGISTERS]:
        raise wrong("fault", "registers", f"{len(payload)} bytes, not 12 or 56")
    return struct.unpack(f"<{len(payload) // 4}I", payload)
