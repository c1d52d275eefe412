"""The host's side of the harness: sends requests, repeats what the line lost, reads counters."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..errors import TargetError
from . import frames
from .frames import Frame

_NAMES = {
    frames.INFO: "info", frames.LOAD: "load", frames.RUN: "run", frames.READ: "read",
    frames.MEMORY: "memory",
}  # fmt: skip
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
    """

    def __init__(
        self, line: Transport, reply_time: float = 1.0, run_time: float = 60.0, retries: int = 20
    ) -> None:
        self.line = line
        self.reply_time = reply_time
        self.run_time = run_time
        self.retries = retries
        self.repeated = 0  #: requests that had to be sent again
        self.timed = True  #: the device has a counter that runs; without one ticks mean nothing
        self.silent = False  #: gave up on a device that said nothing at all in time
        self._sequence = 0
        self._buffer = bytearray()

    def info(self) -> Info:
        payload = self._request(frames.INFO)
        if len(payload) < 20:
            raise TargetError("the device answers 'info' with too few bytes: rebuild the firmware")
        name = payload[20:].decode("ascii", errors="replace")
        size_in, size_out, arena, hz, overhead = struct.unpack_from("<5I", payload)
        return Info(size_in, size_out, arena, hz, overhead, name)

    def load(self, data: bytes) -> None:
        """Write the model's input."""
        step = frames.PAYLOAD - 4
        for at in range(0, len(data), step):
            self._request(frames.LOAD, struct.pack("<I", at) + data[at : at + step])

    def run(self, runs: int = 1) -> Run:
        """Run the model `runs` times on the loaded input."""
        payload = self._request(frames.RUN, struct.pack("<I", runs), self.run_time)
        status, done, ticks, wraps = struct.unpack("<iIqI", payload)
        self._model_status(status)
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
            out += self._request(frames.READ, struct.pack("<II", len(out), n))
        return out

    def memory(self) -> tuple[int, int]:
        """High-water marks of stack and arena in bytes; runs the model twice."""
        status, stack, arena = struct.unpack(
            "<iII", self._request(frames.MEMORY, b"", self.run_time)
        )
        self._model_status(status)
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
        memory, so asking again costs nothing but the line's time.
        """
        self._sequence = (self._sequence + 1) & 0xFF
        request = Frame(command, self._sequence, 0, payload)
        coded = frames.encode(request)
        what = f"frame '{_NAMES[command]}' (number {self._sequence})"
        deadline = time.monotonic() + limit
        patience = self.reply_time
        attempts = 0
        while attempts <= self.retries or time.monotonic() < deadline:
            if attempts:
                self.repeated += 1
            attempts += 1
            self.line.write(coded)
            left = deadline - time.monotonic()
            reply = self._reply(request, min(patience, left) if left > 0 else self.reply_time)
            if reply is None:
                patience *= 2 if limit else 1
                continue
            if reply.status:
                why = _STATUS.get(reply.status, f"status {reply.status}")
                raise TargetError(f"{what}: the device refuses it, {why}")
            return reply.payload
        self.silent = True
        raise TargetError(
            f"{what} got no answer in {attempts} attempts: check the serial line and "
            "that the firmware is running"
        )

    def _reply(self, request: Frame, patience: float) -> Frame | None:
        """The answer, or None if the request should be sent again."""
        deadline = time.monotonic() + patience
        while True:
            frame = self._next(deadline)
            if frame is None:
                return None
            if frame.command == frames.FAULT:
                words = struct.unpack(f"<{len(frame.payload) // 4}I", frame.payload)
                raise DeviceFaultError(words)
            if frame.command == frames.NAK:
                return None
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
            left = deadline - time.monotonic()
            data = self.line.read(left) if left > 0 else b""
            if not data:
                return None
            self._buffer += data
