"""The simulator: unicorn runs the very image that is flashed, from pip packages alone.

The functions of firmware/src/port.h are replaced by name, so no peripheral is modelled and any
board's image runs. Instructions are counted by basic block (trace.py); by default only the first
inputs are counted and the rest run bare.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...errors import TargetError
from ...progress import tell
from ..base import Image, RunResult, Target
from ..boards import Board
from ..builders import elf
from ..estimates.blocks import Decoder, Instruction
from ..estimates.cycles import NOTHING, Block, Span, estimate
from ..wire import fault
from ..wire.client import Client, DeviceFaultError
from ..wire.session import converse
from .trace import BlockCounter, Counts, clear_it, counter

_REPLACED = ("port_init", "port_getc", "port_putc", "port_flush", "timer_init", "timer_now",
             "timer_wraps", "port_mark")  # fmt: skip
_PAGE = 0x1000
_FIRST_RUN = 5  #: reads of the clock when the model is first run: two around each empty model


#: Seconds after which counting for an estimate of cycles is left at what was counted.
ESTIMATE_TIME = 60.0


class SlowError(TargetError):
    """The firmware has not answered in time; `machine` stands where it was stopped."""

    def __init__(self, sentence: str, machine: Machine) -> None:
        super().__init__(sentence)
        self.machine = machine


class Machine:
    """One simulated microcontroller, and the serial line to it (a `Transport`)."""

    def __init__(self, image: Image, run_time: float = 300.0) -> None:
        import unicorn
        from unicorn import arm_const, riscv_const

        self._image = image
        self._run_time = run_time
        self._riscv = image.board.cpu.riscv
        self._uc: Any
        self._epsr: int | None = None
        if self._riscv:
            self._uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
            self._pc, self._link = riscv_const.UC_RISCV_REG_PC, riscv_const.UC_RISCV_REG_RA
            self._results = (riscv_const.UC_RISCV_REG_A0, riscv_const.UC_RISCV_REG_A1)
            self._sp = riscv_const.UC_RISCV_REG_SP
        else:
            self._uc = unicorn.Uc(
                unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB | unicorn.UC_MODE_MCLASS
            )
            sim = image.board.emulator.sim
            model = (sim and sim.cpu) or image.board.cpu.unicorn or ""
            model = model.replace("-", "_").upper()
            self._uc.ctl_set_cpu_model(getattr(arm_const, f"UC_CPU_ARM_{model}"))
            self._pc, self._link = arm_const.UC_ARM_REG_PC, arm_const.UC_ARM_REG_LR
            self._results = (arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R1)
            self._sp = arm_const.UC_ARM_REG_SP
            self._epsr = arm_const.UC_ARM_REG_EPSR
        self._error: type[Exception] = unicorn.UcError
        self._map()
        symbols = elf.symbols(image.elf)
        self._names = {symbols[n][0]: n for n in _REPLACED if n in symbols}
        for address in self._names:
            self._uc.hook_add(unicorn.UC_HOOK_CODE, self._replaced, begin=address, end=address)
        self._start()
        self._started = False
        self._received = bytearray()
        self._sent = bytearray()
        self._counting = False
        self._counter = self._make_counter()
        self._intervals: list[Counts] = []
        self._decoder = Decoder(image.board.core)
        self.decoded: dict[Block, list[Instruction]] = {}
        self._clock = 0
        #: Levels of the trigger pin, and the clock at each change (while instructions are counted).
        self.marks: list[tuple[int, int]] = []

    def _map(self) -> None:
        memory = self._image.board.memory
        for region in (memory.flash, memory.ram):
            start = region.origin & -_PAGE
            end = (region.origin + region.length + _PAGE - 1) & -_PAGE
            self._uc.mem_map(start, end - start)
        if not self._riscv:
            self._uc.mem_map(0xE0000000, 0x100000)
        for address, data in elf.segments(self._image.elf):
            self._uc.mem_write(address, data)

    def _start(self) -> None:
        if self._riscv:
            self._resume = elf.entry(self._image.elf)
            return
        table = self._uc.mem_read(elf.symbols(self._image.elf)["vectors"][0], 8)
        self._uc.reg_write(self._sp, int.from_bytes(table[:4], "little"))
        self._resume = int.from_bytes(table[4:], "little")

    # --- the firmware's port, in Python -------------------------------------------------------

    def _replaced(self, uc: Any, address: int, size: int, data: object) -> None:
        name = self._names[address]
        if name == "port_getc":
            if not self._received:
                self._resume = address | (0 if self._riscv else 1)
                uc.emu_stop()
                return
            uc.reg_write(self._results[0], self._received[0])
            del self._received[0]
        elif name == "port_putc":
            self._sent.append(uc.reg_read(self._results[0]) & 0xFF)
        elif name == "timer_now":
            self._clock += self._close_interval()
            if self._counting and len(self._intervals) == _FIRST_RUN:
                self._counter.watch(uc)
            uc.reg_write(self._results[0], self._clock & 0xFFFFFFFF)
            uc.reg_write(self._results[1], self._clock >> 32)
        elif name == "port_mark":
            self.marks.append((uc.reg_read(self._results[0]), self._clock + self._pending()))
        elif name == "timer_wraps":
            uc.reg_write(self._results[0], 0)
        uc.reg_write(self._pc, uc.reg_read(self._link))

    # --- counting ----------------------------------------------------------------------------

    def _make_counter(self) -> BlockCounter:
        return counter(self._image.board, self._epsr)

    def count(self, on: bool) -> None:
        """Count instructions from here on, or stop counting."""
        if on and not self._counting:
            self._counter.attach(self._uc)
        elif not on and self._counting:
            self._counter.detach(self._uc)
        self._counting = on
        self._counter.take()

    def count_accesses(self) -> None:
        """Count data accesses too (slow: about a million a second), by `_access`."""
        import unicorn

        memory = self._image.board.memory
        read, write = unicorn.UC_HOOK_MEM_READ, unicorn.UC_HOOK_MEM_WRITE
        hooks = ((memory.flash, "flash", read), (memory.ram, "sram", read | write))
        for region, name, what in hooks:
            begin = region.origin if name == "sram" else self._counter.seen_at(region.origin)
            self._uc.hook_add(what, self._seen, name, begin=begin, end=begin + region.length - 1)

    def _seen(self, uc: Any, access: int, address: int, size: int, value: int, where: str) -> None:
        """Tell `_access`."""
        if self._epsr is not None:
            clear_it(uc, self._epsr)
        self._access(uc, access, address, size, value, where)

    def _access(
        self, uc: Any, access: int, address: int, size: int, value: int, where: str
    ) -> None:
        """A read or write of `where` ("flash" or "sram")."""

    def _close_interval(self) -> int:
        """Instructions since the clock was read last; begins anew."""
        counts = self._counter.take()
        self._intervals.append(counts)
        return self._instructions(counts)

    def _pending(self) -> int:
        """Instructions since the clock was read last."""
        return self._instructions(self._counter.peek())

    def _instructions(self, counts: Counts) -> int:
        total = 0
        for (_, block), times in counts.edges.items():
            if block not in self.decoded:
                code = bytes(self._uc.mem_read(*block))
                self.decoded[block] = self._decoder.decode(code, block[0])
            total += len(self.decoded[block]) * times
        return total

    def runs(self) -> list[Counts]:
        """What each counted run of the model executed; the first is the empty model.

        The firmware reads its clock before and behind a run, and times an empty model twice
        when it starts: every second interval is a run, the first of them a warm-up.
        """
        return self._intervals[1::2][1:]

    def sample(self) -> tuple[Counts, int]:
        """The run that is going on, as far as it went: what it executed, and its instructions."""
        return self._counter.peek(), self._pending()

    # --- Transport ---------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        self._received += data

    def read(self, timeout: float) -> bytes:
        """Runs until the firmware waits for input; empty if it then has sent nothing."""
        if not self._sent and (self._received or not self._started):
            self._started = True
            self._go()
        out = bytes(self._sent)
        self._sent.clear()
        return out

    def _go(self) -> None:
        started = time.monotonic()
        resume = self._resume
        self._resume = -1
        try:
            self._uc.emu_start(resume, 0xFFFFFFFF, timeout=int(self._run_time * 1e6))
        except self._error as error:
            raise self._crash(str(error)) from None
        if self._resume < 0:
            pc = self._uc.reg_read(self._pc)
            raise SlowError(
                f"{self._image.board.id}: the firmware gave no answer in "
                f"{time.monotonic() - started:.0f} s (simulator), it is at "
                f"{elf.locate(self._image.elf, pc)}, PC {pc:#010x}",
                self,
            )

    def _crash(self, why: str) -> TargetError:
        pc = self._uc.reg_read(self._pc)
        link = self._uc.reg_read(self._link)
        return TargetError(
            f"{self._image.board.id}: fault in the simulator, {why}, at "
            f"{elf.locate(self._image.elf, pc)}, PC {pc:#010x}, LR {link:#010x}"
        )


class Sim(Target):
    """Runs images of any Cortex-M or RV32 board whose core unicorn knows.

    `counted` is how many inputs are counted (the first ones), -1 for all.
    """

    name: ClassVar[str] = "sim"

    def __init__(self, counted: int = 1, run_time: float = 300.0) -> None:
        self.counted = counted
        self.run_time = run_time

    def available(self) -> str | None:
        try:
            import unicorn  # noqa: F401
        except ImportError:
            return "unicorn is not installed: pip install unicorn"
        return None

    def supports(self, board: Board) -> bool:
        return board.emulator.sim is not None

    def run(self, image: Image, inputs: np.ndarray) -> RunResult:
        if not self.supports(image.board):
            raise TargetError(
                f"the simulator has no model of {image.board.core} (board {image.board.id}): "
                "use --emulator qemu"
            )
        machine = Machine(image, self.run_time)
        counted = len(inputs) if self.counted < 0 else min(self.counted, len(inputs))
        machine.count(counted > 0)
        client = Client(machine, run_time=self.run_time, retries=1, greeting=self.run_time)
        first = converse(image, client, inputs[:counted])
        machine.count(False)
        executed = machine.runs()
        client.timed = False  # uncounted, the simulator's clock stands still
        rest = converse(image, client, inputs[counted:])
        outputs = np.concatenate([first.outputs, rest.outputs])
        per_run = [run.ticks for run in first.runs]
        mean = round(sum(per_run) / len(per_run)) if per_run else None
        stack = first.stack or rest.stack
        arena = first.arena or rest.arena
        spent = estimated(image.board, machine, executed)
        found = None if spent is None else Cycles(spent)
        return RunResult(
            outputs, mean, found.cycles if found else None, "estimated", stack, arena, per_run,
            between=found.between if found else None,
        )  # fmt: skip


@dataclass(frozen=True)
class Cycles:
    """Estimated cycles of an inference; `share` of its instructions was looked at."""

    span: Span
    share: float = 1.0

    @property
    def cycles(self) -> float:
        """What is counted where sources leave it open."""
        return self.span.middle

    @property
    def between(self) -> tuple[float, float]:
        """The least and the most that the sources of the rules allow."""
        return self.span.low, self.span.high

    @property
    def note(self) -> tuple[str, ...]:
        """For the report, where the estimate is of a part."""
        if self.share >= 1:
            return ()
        return (
            f"cycles are estimated from the first {self.share:.0%} of an inference: the simulator "
            f"got no further in {ESTIMATE_TIME:.0f} s",
        )


def cycles_of(image: Image, inputs: np.ndarray, instructions: int | None) -> Cycles | None:
    """Estimated cycles of the first input, for emulators that count instructions only.

    One inference is counted, for ESTIMATE_TIME at most: the cycles an instruction took until then
    stand for all of its `instructions`. None where the simulator has no model of the core.
    """
    sim = Sim()
    if not sim.supports(image.board) or sim.available() or not len(inputs):
        return None
    tell("estimating cycles")
    machine = Machine(image, ESTIMATE_TIME)
    machine.count(True)
    client = Client(machine, run_time=ESTIMATE_TIME, retries=1, greeting=ESTIMATE_TIME)
    try:
        client.greet()
        client.infer(inputs[0], client.info())
    except SlowError as error:
        return extrapolated(error.machine, image.board, instructions)
    except DeviceFaultError as report:
        raise fault.error(image, report) from None
    cycles = estimated(image.board, machine, machine.runs())
    return None if cycles is None else Cycles(cycles)


def extrapolated(machine: Machine, board: Board, instructions: int | None) -> Cycles | None:
    """Cycles of `instructions`, by what those of the unfinished run took; None if unknown."""
    counts, counted = machine.sample()
    if not counted or instructions is None or board.cpu.cycles is None:
        return None
    taken = estimate(counts.edges, machine.decoded, board.core).plus(counts.waits)
    return Cycles(taken.times(instructions / counted), min(1.0, counted / instructions))


def estimated(board: Board, machine: Machine, executed: list[Counts]) -> Span | None:
    """Estimated cycles of a run, the mean over the counted ones; None if none was counted, or
    nothing is known of the core's.

    What the empty model waited for flash is not taken off: a run finds those lines held.
    """
    if len(executed) < 2 or board.cpu.cycles is None:
        return None
    empty, *runs = (estimate(c.edges, machine.decoded, board.core) for c in executed)
    total = NOTHING
    for run, counts in zip(runs, executed[1:], strict=True):
        total = total.plus(run).plus(counts.waits)
    return total.times(1 / len(runs)).plus(empty, -1)
