"""QEMU: system emulation with virtual time that counts instructions."""

from __future__ import annotations

import numpy as np

from ..errors import TargetError
from . import tools
from .base import Image, RunResult, Target
from .boards import Board
from .client import Client, Run
from .process import ProcessLine
from .session import converse

#: Instructions of SysTick_Handler in firmware/src/harness_timer_systick.c.
_WRAP_COST = 5


class Qemu(Target):
    """Runs images on the machines QEMU knows.

    With `-icount shift=N` an instruction takes 2^N ns of virtual time, on every run the same, so
    the board's timer counts instructions.
    """

    name = "qemu"

    def __init__(self, run_time: float = 60.0) -> None:
        self.run_time = run_time

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
        line = ProcessLine(
            [
                program, "-M", machine.machine, *machine.args, "-display", "none",
                "-monitor", "none", "-serial", "stdio",
                "-icount", f"shift={machine.icount_shift},sleep=off", "-kernel", str(image.elf),
            ]  # fmt: skip
        )
        try:
            try:
                client = Client(line, reply_time=5.0, run_time=self.run_time, retries=2)
                talk = converse(image, client, inputs)
            except TargetError as error:
                if line.ended() is None:
                    raise
                raise TargetError(
                    f"{program} ended early on {image.board.id}: {line.complaint() or error}"
                ) from error
        finally:
            line.close()
        ns = 1 << machine.icount_shift
        per_run = [instructions(run, talk.info.timer_hz, ns) for run in talk.runs]
        mean = round(sum(per_run) / len(per_run)) if per_run else None
        return RunResult(
            talk.outputs, mean, None, "estimated", talk.stack, talk.arena, per_run
        )


def instructions(run: Run, hz: int, ns: int) -> int:
    """Instructions of one run from its ticks: `ns` nanoseconds each, the timer's interrupts out."""
    return round(run.ticks * 1e9 / (hz * ns)) - _WRAP_COST * run.wraps
