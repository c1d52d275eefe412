"""What QEMU executes, block by block, for cores that the simulator has no model of.

QEMU writes a line for each block it begins (`-d exec,nochain`). From where one began and where the
next one did follows what was executed between, and the tool chain's disassembler says what that is.
"""

from __future__ import annotations

import os
import re
import threading
from collections import Counter
from functools import cache

import numpy as np

from ...errors import TargetError
from ...progress import tell
from .. import tools
from ..base import Image
from ..builders import elf
from ..estimates import listing
from ..estimates.blocks import Instruction
from ..estimates.cycles import NOTHING, Span, block_span, kind, taken_span
from ..wire import fault
from ..wire.client import Client, DeviceFaultError
from ..wire.process import ProcessLine
from .sim import ESTIMATE_TIME, Cycles

#: How often control went from the block that begins at one address to that at another.
Steps = Counter[tuple[int, int]]

_LEAVES = ("branch", "call", "indirect", "compare-branch", "table", "loop-end")
_PLACE = re.compile(rb"\[[0-9a-f]+/([0-9a-f]+)/[^\n]*\n")

_PAGE = 1024  #: bytes; QEMU's blocks for Armv8-M end with one


def _leaves(instruction: Instruction) -> bool:
    """Whether it may go elsewhere than to the next one."""
    what = kind(instruction.mnemonic, False)
    if what == "load":
        return instruction.operands.startswith("pc")
    return what in _LEAVES or (what in ("pop", "load-multiple") and "pc" in instruction.operands)


class _Log:
    """Reads what QEMU writes to a pipe; intervals end where `clock` is called."""

    def __init__(self, clock: int) -> None:
        self.source, self.sink = os.pipe()
        self.intervals: list[Steps] = [Counter()]
        self._clock, self._last = clock, 0
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        rest = b""
        while data := os.read(self.source, 1 << 20):
            text = rest + data
            end = text.rfind(b"\n") + 1
            rest = text[end:]
            self._count([int(place, 16) for place in _PLACE.findall(text[:end])])
        os.close(self.source)

    def _count(self, places: list[int]) -> None:
        before = [self._last, *places]
        start = 0
        for i, place in enumerate(places):
            if place == self._clock:
                self.intervals[-1].update(
                    zip(before[start : i + 1], places[start : i + 1], strict=True)
                )
                self.intervals.append(Counter())
                start = i + 1
        self.intervals[-1].update(zip(before[start:-1], places[start:], strict=True))
        self._last = before[-1]

    def finish(self) -> None:
        """Wait until all is read; QEMU has ended."""
        self._thread.join()


class _Costs:
    """Instructions and cycles of steps, in one image."""

    def __init__(self, image: Image) -> None:
        self._core = image.board.core
        self._code = listing.read(image.elf, image.board.cpu.architecture.prefix)
        self._block = cache(self._stretch)

    def _stretch(self, start: int) -> tuple[Instruction, ...]:
        """From `start` to what leaves the straight line, or to the end of QEMU's page."""
        out: list[Instruction] = []
        end = (start & -_PAGE) + _PAGE
        at = start
        while (one := self._code.get(at)) is not None and (not out or at + one.size <= end):
            out.append(one)
            at += one.size
            if _leaves(one):
                break
        return tuple(out)

    def of(self, steps: Steps) -> tuple[int, Span]:
        """Instructions and cycles. What is not in the image's code counts nothing."""
        instructions, cycles = 0, NOTHING
        for (start, to), times in steps.items():
            code = list(self._block(start))
            if not code:
                continue
            jumps = code[-1].operands.rsplit(" ", 1)[-1]
            if jumps != f"{to:x}" and start < to < code[-1].address + code[-1].size:
                code = [one for one in code if one.address < to]  # QEMU cut it there
            taken = code[-1].address + code[-1].size != to
            each = block_span(code, self._core)
            if taken and (target := self._code.get(to)) is not None:
                each = each.plus(taken_span(code[-1], target, self._core))
            instructions += len(code) * times
            cycles = cycles.plus(each, times)
        return instructions, cycles


def cycles_of(image: Image, inputs: np.ndarray, instructions: int | None) -> Cycles | None:
    """Estimated cycles of the first input, from what QEMU executes; as `sim.cycles_of`.

    None, too, where the tool chain's disassembler is missing. Raises TargetError where the firmware
    fails.
    """
    machine = image.board.emulator.qemu
    if machine is None or image.board.cpu.cycles is None or not len(inputs):
        return None
    if tools.missing(f"{image.board.cpu.architecture.prefix}objdump"):
        return None
    tell("estimating cycles")
    log = _Log(elf.symbols(image.elf)["timer_now"][0])
    line = ProcessLine(
        [
            tools.need(f"qemu-system-{machine.system}"), "-M", machine.machine, *machine.args,
            "-display", "none", "-serial", "stdio", "-monitor", "none",
            "-kernel", str(image.elf), "-d", "exec,nochain", "-D", f"/dev/fd/{log.sink}",
        ],
        pass_fds=[log.sink],
    )  # fmt: skip
    os.close(log.sink)
    client = Client(line, ESTIMATE_TIME, ESTIMATE_TIME, retries=1, greeting=ESTIMATE_TIME)
    client.timed = False  # QEMU's timer runs with the computer's clock here, which is not counted
    whole = True
    try:
        client.greet()
        client.infer(inputs[0], client.info())
    except DeviceFaultError as report:
        raise fault.error(image, report) from None
    except TargetError:
        if not client.silent:
            raise
        whole = False
    finally:
        line.close()
        log.finish()
    costs = _Costs(image)
    runs = [costs.of(steps) for steps in log.intervals[1::2][1:3]]  # the empty model, and a run
    if len(runs) < 2 or not runs[1][0]:
        return None
    (none, least), (counted, cycles) = runs
    if whole:
        return Cycles(cycles.plus(least, -1))
    if instructions is None:
        return None
    counted -= none
    each = cycles.plus(least, -1).times(instructions / counted)
    return Cycles(each, min(1.0, counted / instructions))
