"""Renode: whole-board emulation, headless, the serial line over a socket.

Renode gives every instruction the same time. The platform's clock is set to one instruction a
tick of the board's counter, so the harness' counters count instructions; cycles come from the
cost tables, never from Renode's clock.
"""

from __future__ import annotations

import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import ClassVar

import numpy as np

from ..errors import TargetError
from . import renode_files, tools
from .base import Image, RunResult, Target
from .boards import Board
from .client import Client
from .session import converse
from .sim import cycles_of


class _Socket:
    """Transport over a connected socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def write(self, data: bytes) -> None:
        self._connection.sendall(data)

    def read(self, timeout: float) -> bytes:
        self._connection.settimeout(timeout)
        try:
            return self._connection.recv(65536)
        except TimeoutError:
            return b""


class Renode(Target):
    """Runs images on the platforms Renode, or `boards/renode/`, describes."""

    name: ClassVar[str] = "renode"

    def __init__(self, run_time: float = 120.0) -> None:
        self.run_time = run_time

    def available(self) -> str | None:
        return tools.missing("renode")

    def supports(self, board: Board) -> bool:
        return board.emulator.renode is not None

    def run(self, image: Image, inputs: np.ndarray) -> RunResult:
        if not self.supports(image.board):
            raise TargetError(
                f"Renode does not know board {image.board.id}: choose another emulator "
                f"({', '.join(image.board.emulators) or 'there is none'})"
            )
        program = tools.need("renode")
        with tempfile.TemporaryDirectory(prefix="secateur-") as folder:
            port = _free_port()
            resc = Path(folder) / "run.resc"
            repl = Path(folder) / "board.repl"
            described = image.board.emulator.renode
            assert described is not None
            if described.platform == "generated":
                repl.write_text(renode_files.platform(image.board), encoding="utf-8")
            else:
                repl = Path(described.platform.lstrip("@"))
            text = renode_files.script(image, repl, port) + "start\n"
            resc.write_text(text, encoding="utf-8")
            log = Path(folder) / "renode.log"
            with log.open("wb") as out:
                child = subprocess.Popen(
                    [program, "--disable-xwt", "--plain", "--port", "-1", str(resc)],
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                )
            try:
                with _connect(child, port, log) as connection:
                    client = Client(_Socket(connection), 10.0, self.run_time, retries=2)
                    talk = converse(image, client, inputs)
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
        cycles = cycles_of(image, inputs)
        return RunResult(talk.outputs, mean, cycles, "estimated", talk.stack, talk.arena, per_run)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
