"""Cycles of cores that QEMU alone has, from its log of blocks."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from secateur.targets import Image
from secateur.targets.estimates.blocks import Instruction
from secateur.targets.estimates.cycles import Span
from secateur.targets.runners import qemu_trace
from secateur.targets.runners.qemu import Qemu
from secateur.targets.runners.qemu_trace import _Costs, _Log
from secateur.targets.wire import frames

from .conftest import need, samples


def _line(place: int) -> bytes:
    return b"Trace 0: 0x7f4318000100 [0080044a/%08x/00000150/ff000200] name\n" % place


def test_intervals_end_where_the_clock_is_read() -> None:
    log = _Log(clock=0x30)
    text = b"".join(_line(place) for place in (0x10, 0x20, 0x20, 0x30, 0x20, 0x30, 0x40))
    text += b"Stopped execution of TB chain before 0x7f43 [00000040] name\n"
    for at in range(0, len(text), 17):  # lines come in pieces
        os.write(log.sink, text[at : at + 17])
    os.close(log.sink)
    log.finish()
    assert log.intervals == [
        Counter({(0, 0x10): 1, (0x10, 0x20): 1, (0x20, 0x20): 1, (0x20, 0x30): 1}),
        Counter({(0x30, 0x20): 1, (0x20, 0x30): 1}),
        Counter({(0x30, 0x40): 1}),
    ]


def test_a_step_is_what_stands_between() -> None:
    code = {
        at: Instruction(at, 4, *line.split(" ", 1))
        for at, line in (
            (0x3F0, "add r0, r0, r1"), (0x3F4, "add r0, r0, r1"), (0x3F8, "bne.w 3f4"),
            (0x3FC, "add r0, r0, r1"), (0x400, "add r0, r0, r1"), (0x404, "b.w 500"),
        )
    }  # fmt: skip
    costs = object.__new__(_Costs)
    costs._core, costs._code, costs._block = "cortex-m55", code, costs._stretch
    assert costs.of(Counter({(0x3F0, 0x3F4): 2})) == (6, (6, 9, 12))  # to its own branch's target
    assert costs.of(Counter({(0x3F0, 0x3FC): 1})) == (3, (3, 3, 3))
    assert costs.of(Counter({(0x3F0, 0x3F8): 1})) == (2, (2, 2, 2))  # QEMU cut it there
    assert costs.of(Counter({(0x3FC, 0x400): 1})) == (1, (1, 1, 1))  # a page ends
    assert costs.of(Counter({(0x800, 0x3F0): 1})) == (0, (0, 0, 0))  # no code of the image's


@pytest.mark.emulator
def test_a_cortex_m55_is_estimated(
    image: Callable[[str], Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    need("qemu-system-arm", "arm-none-eabi-objdump")
    built, counted = image("mps3_an547"), []
    of = _Costs.of

    def keep(self: _Costs, steps: qemu_trace.Steps) -> tuple[int, Span]:
        counted.append(of(self, steps))
        return counted[-1]

    monkeypatch.setattr(_Costs, "of", keep)
    result = Qemu().run(built, samples(1))
    assert result.cycles is not None
    (empty, _), (all_of_it, _) = counted
    # QEMU's clock runs with the computer's here, so that its timer interrupts now and then
    assert result.instructions == pytest.approx(all_of_it - empty, rel=0.02, abs=200)
    assert 1.0 <= result.cycles / result.instructions <= 2.5

    class Backwards(qemu_trace.Client):
        """Of a computer so busy that the timer's interrupt comes late."""

        def _request(self, command: int, payload: bytes = b"", limit: float = 0.0) -> bytes:
            reply = super()._request(command, payload, limit)
            return reply if command != frames.RUN else reply[:8] + b"\xff" * 8 + reply[16:]

    with monkeypatch.context() as patch:
        patch.setattr(qemu_trace, "Client", Backwards)
        found = qemu_trace.cycles_of(built, samples(1), None)
    assert found is not None
    assert found.cycles == pytest.approx(result.cycles, rel=0.02, abs=200)

    class Slow(qemu_trace.Client):
        def infer(self, x: object, info: object) -> object:
            super().infer(x, info)
            self.silent = True
            raise qemu_trace.TargetError("no answer")

    monkeypatch.setattr(qemu_trace, "Client", Slow)
    part = qemu_trace.cycles_of(built, samples(1), 2 * result.instructions)
    assert part is not None
    assert part.cycles == pytest.approx(2 * result.cycles, rel=0.05)
    assert part.share == pytest.approx(0.5, abs=0.03)


def test_no_estimate_without_a_disassembler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_trace.tools, "missing", lambda _: "is not installed")
    board = SimpleNamespace(
        emulator=SimpleNamespace(qemu=object()),
        cpu=SimpleNamespace(cycles=object(), architecture=SimpleNamespace(prefix="none-")),
    )
    image = SimpleNamespace(board=board, elf=None)
    assert qemu_trace.cycles_of(image, samples(1), None) is None  # type: ignore[arg-type]
