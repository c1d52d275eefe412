"""Serial peers that lie."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from . import Case

INFO = (490, 12, 600, 1000, 3)


class Peer:
    """Answers by a script; honest to commands that it does not name."""

    def __init__(self, lies: dict[int, tuple[bytes, int, int, int]]) -> None:
        self._lies = lies
        self._out = b""

    def write(self, data: bytes) -> None:
        from secateur.targets.wire import frames

        request = frames.decode(data.strip(b"\0"))
        assert request is not None
        honest = {
            frames.INFO: struct.pack("<5I", *INFO) + b"echo",
            frames.LOAD: _end(request.payload),
            frames.RUN: struct.pack("<iIqI", 0, 1, 1000, 0),
            frames.READ: bytes(12),
            frames.MEMORY: struct.pack("<iII", 0, 100, 600),
        }[request.command]
        payload, code, status, version = self._lies.get(request.command, (honest, 0, 0, 1))
        reply = frames.Frame(
            code or request.command | frames.REPLY, request.sequence, status, payload, version
        )
        self._out += frames.encode(reply)

    def read(self, timeout: float) -> bytes:
        data, self._out = self._out, b""
        if not data:
            time.sleep(min(timeout, 0.001))
        return data


def _end(payload: bytes) -> bytes:
    return struct.pack("<I", int.from_bytes(payload[:4], "little") + max(0, len(payload) - 4))


def _talk(
    command: int, payload: bytes, code: int = 0, status: int = 0, version: int = 1
) -> Callable[[Path], None]:
    def run(folder: Path) -> None:
        from secateur.targets.wire.client import Client

        line = Peer({command: (payload, code, status, version)})
        client = Client(line, reply_time=0.02, run_time=0.1, retries=1)
        info = client.info()
        client.load(bytes(info.input_size))
        client.run()
        client.read(info.output_size)
        client.memory()

    return run


def cases() -> Iterator[Case]:
    info = {"input size": 0, "output size": 1, "arena": 2}
    for name, at in info.items():
        for value in (0, 2**29, 2**31, 2**32 - 1):
            fields = list(INFO)
            fields[at] = value
            yield Case(
                "peers",
                f"info, {name} {value}",
                f"frame 'info', field {name}",
                _talk(1, struct.pack("<5I", *fields)),
            )
    yield Case(
        "peers",
        "info, timer_hz 0",
        "frame 'info', field timer_hz",
        _talk(1, struct.pack("<5I", 490, 12, 600, 0, 3)),
    )
    lengths = {
        1: ("info", (0, 1, 19)),
        2: ("load", (0, 3, 5, 224)),
        3: ("run", (0, 4, 19, 21, 224)),
        4: ("read", (0, 1, 11, 13, 224)),
        5: ("memory", (0, 11, 13, 224)),
    }
    for command, (name, sizes) in lengths.items():
        for size in sizes:
            yield Case(
                "peers",
                f"{name} of {size} bytes",
                f"frame '{name}', field length",
                _talk(command, bytes(size)),
            )
        good = {
            1: struct.pack("<5I", *INFO),
            2: bytes(4),
            3: struct.pack("<iIqI", 0, 1, 9, 0),
            4: bytes(12),
            5: bytes(12),
        }[command]
        for version in (0, 2, 255):
            yield Case(
                "peers",
                f"{name}, version {version}",
                f"frame '{name}', field version",
                _talk(command, good, version=version),
            )
        for status in (1, 2, 3, 200):
            yield Case(
                "peers",
                f"{name}, status {status}",
                f"frame '{name}'.*refuses",
                _talk(command, good, status=status),
            )
        yield Case(
            "peers",
            f"{name}: only complaints",
            f"frame '{name}'.*got no answer",
            _talk(command, b"", code=0x15),
        )
        yield Case(
            "peers",
            f"{name}: another command",
            f"frame '{name}'.*got no answer",
            _talk(command, good, code=0x99),
        )
        for size in (0, 7, 57):
            yield Case(
                "peers",
                f"{name}: a fault of {size} bytes",
                "frame 'fault', field registers",
                _talk(command, bytes(size), code=0x7E),
            )
    yield Case(
        "peers",
        "run, more runs",
        "frame 'run', field runs",
        _talk(3, struct.pack("<iIqI", 0, 7, 9, 0)),
    )
    yield Case(
        "peers", "run, backwards", "ran backwards", _talk(3, struct.pack("<iIqI", 0, 1, -9, 0))
    )
    yield Case(
        "peers", "run, damaged weights", "returned -2", _talk(3, struct.pack("<iIqI", -2, 1, 9, 0))
    )
    yield Case("peers", "load, elsewhere", "frame 'load', field end", _talk(2, b"\1\0\0\0"))
    for name, words in (("stack", (2**32 - 1, 1)), ("arena", (1, 601)), ("arena", (1, 2**31))):
        yield Case(
            "peers",
            f"memory, {name} {max(words)}",
            f"frame 'memory', field {name}",
            _talk(5, struct.pack("<iII", 0, *words)),
        )
