"""Renode: whole-board emulation, headless, the serial line over a socket.

Renode gives every instruction the same time. The platform's clock is set to one instruction a
tick of the board's counter, so the harness' counters count instructions; cycles come from the
cost tables, never from Renode's clock.
"""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...errors import TargetError
from .. import tools
from ..base import Image, RunResult, Target
from ..boards import Board
from ..wire.client import Client
from ..wire.session import converse
from . import renode_files
from .sim import cycles_of

#: Seconds from the start of the machine to the end of the firmware's greeting.
GREETING = 30.0

#: Seconds the monitor may take to answer.
_ANSWER = 30.0

#: What Renode's monitor says, whole: it comes in pieces, so something must follow each number.
_EXECUTED = r"\b0x([0-9A-Fa-f]{16})(?![0-9A-Fa-f])(?=.)"
_ELAPSED = r"Virtual Time: (\d+):(\d+):(\d+\.\d+)(?=[^\d])"


class _Socket:
    """Transport over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)

    def read(self, timeout: float) -> bytes:
        self._connection.settimeout(timeout)
        try:
            data = self._connection.recv(65536)
        except (TimeoutError, BlockingIOError):  # the latter where there is no time at all
            return b""
        if not data:
            raise TargetError("renode has closed the line")
        return data


@dataclass(frozen=True)
class Totals:
    """Renode's own counters since the machine started: instructions, seconds of virtual time."""

    instructions: int
    seconds: float


class Renode(Target):
    """Runs images on a platform written from the manifest, or on top of Renode's own.

    After a run `totals` holds what Renode's monitor counted.
    """

    name: ClassVar[str] = "renode"

    def __init__(self, run_time: float = 120.0) -> None:
        self.run_time = run_time
        self.totals: Totals | None = None

    def available(self) -> str | None:
        return tools.missing("renode")

    def supports(self, board: Board) -> bool:
        return "renode" in board.emulators

    def run(self, image: Image, inputs: np.ndarray) -> RunResult:
        if not self.supports(image.board):
            raise renode_files.unknown(image.board)
        program = tools.need("renode")
        with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
            port, monitor = _free_ports(2)
            repl = Path(folder) / "board.repl"
            resc = Path(folder) / "run.resc"
            log = Path(folder) / "renode.log"
            repl.write_text(renode_files.choose(image.board), encoding="utf-8")
            text = renode_files.script(image, repl, port) + "start\n"
            resc.write_text(text, encoding="utf-8")
            with log.open("wb") as out:
                child = subprocess.Popen(
                    [program, "--disable-xwt", "--plain", "--port", str(monitor), str(resc)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                )
            try:
                with _connect(child, port, log) as connection:
                    client = Client(
                        _Socket(connection), 10.0, self.run_time, retries=2, greeting=GREETING
                    )
                    talk = converse(image, client, inputs)
                self.totals = read_totals(monitor, image.board)
            finally:
                child.terminate()
                try:
                    child.wait(5)
                except subprocess.TimeoutExpired:
                    child.kill()
                    child.wait()
        hz = talk.info.timer_hz
        rate = renode_files.mips(image.board) * 1e6
        per_run = [round(run.ticks * rate / hz) for run in talk.runs]
        mean = round(sum(per_run) / len(per_run)) if per_run else None
        found = cycles_of(image, inputs, mean)
        return RunResult(
            talk.outputs, mean, found.cycles if found else None, "estimated", talk.stack,
            talk.arena, per_run, notes=found.note if found else (),
            between=found.between if found else None,
        )  # fmt: skip


def read_totals(port: int, board: Board) -> Totals | None:
    """Pause the machine and ask Renode's monitor for its counters; None if it does not say."""
    assert board.emulator.renode is not None
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            line = _Socket(connection)
            line.read(0.5)  # the greeting
            _ask(line, "pause", r".+")
            count = _ask(
                line, f"sysbus.{board.emulator.renode.cpu} ExecutedInstructions", _EXECUTED
            )
            clock = _ask(line, "machine ElapsedVirtualTime", _ELAPSED)
    except (OSError, TargetError):
        return None
    if count is None or clock is None:
        return None
    hours, minutes, seconds = (float(x) for x in clock.groups())
    return Totals(int(count[1], 16), 3600 * hours + 60 * minutes + seconds)


def _ask(line: _Socket, command: str, pattern: str) -> re.Match[str] | None:
    """What the monitor answers to a command, its colours taken off; None if nothing like it."""
    line.write(f"{command}\n".encode())
    text = ""
    deadline = time.monotonic() + _ANSWER
    while time.monotonic() < deadline:
        text += line.read(0.5).decode("ascii", "replace")
        if found := re.search(pattern, re.sub(r"\x1b\[[0-9;]*m", "", text), re.DOTALL):
            return found
    return None


def _free_ports(count: int) -> list[int]:
    """Ports nobody listens on now, all different."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def _connect(child: subprocess.Popen[bytes], port: int, log: Path) -> socket.socket:
    """The harness' line, as soon as Renode offers it."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if child.poll() is not None:
            break
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1)
        except OSError:
            time.sleep(0.1)
    lines = log.read_text(errors="replace").splitlines()
    telling = [x for x in lines if "error" in x.lower()] or lines[-1:] or ["it says nothing"]
    raise TargetError(f"renode did not start the machine: {telling[0].strip()}")
