"""QEMU: system emulation with virtual time that counts instructions."""

from __future__ import annotations

import re
import socket
import time

import numpy as np

from ...errors import TargetError
from .. import tools
from ..base import Image, RunResult, Target
from ..boards import Board
from ..builders import elf
from ..wire.client import Client, Run
from ..wire.process import ProcessLine
from ..wire.session import converse
from . import qemu_trace
from .sim import cycles_of

#: Seconds that a machine may take to start and to say that it listens.
GREETING = 10.0

#: Instructions of SysTick_Handler in firmware/src/harness_timer_systick.c.
_WRAP_COST = 5


class Qemu(Target):
    """Runs images on the machines QEMU knows.

    With `-icount shift=N` an instruction takes 2^N ns of virtual time, on every run the same, so
    the board's timer counts instructions.
    """

    name = "qemu"

    def __init__(
        self, run_time: float = 300.0, reply_time: float = 20.0, estimate: bool = True
    ) -> None:
        self.run_time = run_time
        self.reply_time = reply_time
        self.estimate = estimate  #: cycles too, by running the first input once more

    def available(self) -> str | None:
        return tools.missing("qemu-system-arm")

    def supports(self, board: Board) -> bool:
        return board.emulator.qemu is not None

    def run(self, image: Image, inputs: np.ndarray) -> RunResult:
        machine = image.board.emulator.qemu
        if machine is None:
            raise TargetError(
                f"QEMU does not know board {image.board.id}: choose another emulator "
                f"({', '.join(image.board.emulators) or 'there is none'})"
            )
        program = tools.need(f"qemu-system-{machine.system}")
        ours, theirs = socket.socketpair()
        line = ProcessLine(
            [
                program, "-M", machine.machine, *machine.args, "-display", "none",
                "-serial", "stdio", "-kernel", str(image.elf),
                "-icount", f"shift={machine.icount_shift},sleep=off",
                "-chardev", f"socket,id=monitor,fd={theirs.fileno()}", "-mon", "monitor",
            ],
            pass_fds=[theirs.fileno()],
        )  # fmt: skip
        theirs.close()
        try:
            client = Client(line, self.reply_time, self.run_time, retries=1, greeting=GREETING)
            talk = converse(image, client, inputs)
        except TargetError as error:
            if line.ended() is None:
                where = f" (the program is {_place(image, ours)})" if client.silent else ""
                raise TargetError(f"{error}{where}") from error
            raise TargetError(
                f"{program} ended early on {image.board.id}: {line.complaint() or error}"
            ) from error
        finally:
            line.close()
            ours.close()
        ns = 1 << machine.icount_shift
        # RISC-V's cycle counter is virtual time itself; a timer has its own rate.
        hz = 10**9 if image.board.timer.kind == "mcycle" else talk.info.timer_hz
        per_run = [instructions(run, hz, ns) for run in talk.runs]
        mean = round(sum(per_run) / len(per_run)) if per_run else None
        found = None
        if self.estimate:
            found = cycles_of(image, inputs, mean) or qemu_trace.cycles_of(image, inputs, mean)
        return RunResult(
            talk.outputs, mean, found.cycles if found else None, "estimated", talk.stack,
            talk.arena, per_run, notes=found.note if found else (),
            between=found.between if found else None,
        )  # fmt: skip


def instructions(run: Run, hz: int, ns: int) -> int:
    """Instructions of one run from its ticks: `ns` nanoseconds each, the timer's interrupts out."""
    return round(run.ticks * 1e9 / (hz * ns)) - _WRAP_COST * run.wraps


def _place(image: Image, monitor: socket.socket) -> str:
    """Where the processor is, asked of QEMU's monitor."""
    monitor.settimeout(2.0)
    text = b""
    deadline = time.monotonic() + 4
    try:
        monitor.sendall(b"info registers\n")
        while time.monotonic() < deadline:
            text += monitor.recv(65536)
            if found := re.search(rb"(?:R15=|\bpc\s+)([0-9a-f]{8})", text):
                pc = int(found[1], 16)
                return f"at {elf.locate(image.elf, pc)}, PC {pc:#010x}"
    except OSError:
        return "where QEMU's monitor does not say"
    return "where QEMU's monitor does not say"
