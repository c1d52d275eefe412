"""The cost tables against loops counted by hand from the reference manuals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from secateur import targets
from secateur.errors import TargetError
from secateur.targets import Image, cycles
from secateur.targets.blocks import Decoder, Instruction
from secateur.targets.sim import Sim

from .conftest import need

LOOPS = Path(__file__).parent / "fixtures" / "loops"
NAMES = ["delay", "read_add", "read_three", "write_two", "read_many", "multiply", "call", "skip"]

#: Cycles a turn. M0: DDI 0432C, taken branch 3; M0+: DDI 0484C, taken branch 2; M3 and M4:
#: loads pipelined, buffered stores 1, taken branch 1 + P with P = 1 (aligned, direct), 2 indirect.
HAND = {
    "qemu_m0": {
        "delay": 1 + 3,
        "read_add": 2 + 1 + 1 + 1 + 3,
        "read_three": 2 + 2 + 2 + 1 + 3,
        "write_two": 2 + 2 + 1 + 3,
        "read_many": 1 + (1 + 4) + 1 + 3,
        "multiply": 1 + 1 + 1 + 3,
        "call": 4 + 3 + 3 + 1 + 3,
        "skip": 1 + 1 + 1 + 1 + 3,
    },
    "qemu_m0plus": {
        "delay": 1 + 2,
        "read_add": 2 + 1 + 1 + 1 + 2,
        "read_three": 2 + 2 + 2 + 1 + 2,
        "write_two": 2 + 2 + 1 + 2,
        "read_many": 1 + (1 + 4) + 1 + 2,
        "multiply": 1 + 1 + 1 + 2,
        "call": 3 + 2 + 2 + 1 + 2,
        "skip": 1 + 1 + 1 + 1 + 2,
    },
    "mps2_an386": {
        "delay": 1 + 2,
        "read_add": 2 + 1 + 1 + 1 + 2,
        "read_three": 2 + 1 + 1 + 1 + 2,
        "write_two": 1 + 1 + 1 + 2,
        "read_many": 1 + (1 + 4) + 1 + 2,
        "multiply": 1 + 1 + 1 + 2,
        "call": 2 + 3 + 2 + 1 + 2,
        "skip": 1 + 1 + 1 + 1 + 2,
    },
}
HAND["mps2_an385"] = HAND["mps2_an386"]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    need("arm-none-eabi-gcc")
    return {b: targets.build(LOOPS, b, tmp_path_factory.mktemp(b)) for b in HAND}


def _measure(image: Image, loop: int, turns: int) -> float:
    chosen = np.array([[loop, turns & 0xFF, turns >> 8]], np.uint8).view(np.int8)
    result = Sim().run(image, chosen)
    assert result.cycles is not None
    return result.cycles


@pytest.mark.parametrize("loop", NAMES)
@pytest.mark.parametrize("board", HAND)
def test_hand_counted_loop(board: str, loop: str, images: dict[str, Image]) -> None:
    index = NAMES.index(loop)
    extra = _measure(images[board], index, 300) - _measure(images[board], index, 100)
    assert extra / 200 == HAND[board][loop]


def _code(*lines: str) -> list[Instruction]:
    return [Instruction(2 * i, 2, *line.split(" ", 1)) for i, line in enumerate(lines)]


@pytest.mark.parametrize(
    ("core", "lines", "expected"),
    [
        ("cortex-m3", ("mla r0, r1, r2, r3",), 2),
        ("cortex-m4", ("mla r0, r1, r2, r3",), 1),
        ("cortex-m4", ("smlad r0, r1, r2, r0",), 1),
        ("cortex-m4", ("ldrd r0, r1, [r2]",), 3),
        ("cortex-m4", ("ldr r0, [r1]", "ldr r2, [r0]"), 4),
        ("cortex-m4", ("push {r4, r5, r6, lr}",), 5),
        ("cortex-m7", ("adds r0, r1, r2", "adds r3, r4, r5"), 1),
        ("cortex-m7", ("adds r0, r1, r2", "adds r3, r0, r5"), 2),
        ("cortex-m7", ("ldr r0, [r1]", "adds r2, r0, r2"), 3),
        ("cortex-m33", ("ldr r0, [r1]", "adds r2, r0, r2"), 3),
        ("rv32imac", ("mul a0, a1, a2",), 5),
        ("rv32imac", ("lw a0, 0(a1)", "add a2, a0, a2"), 3),
    ],
)
def test_block(core: str, lines: tuple[str, ...], expected: float) -> None:
    assert cycles.block_cycles(_code(*lines), cycles.table(core)) == expected


def test_conditions_and_widths_do_not_hide_an_instruction() -> None:
    for mnemonic, kind in [
        ("bne.w", "branch"), ("bleq", "call"), ("bics", "alu"), ("ldrsb.w", "load"),
        ("strbne", "store"), ("ldmia.w", "load-multiple"), ("smlabb", "multiply-add"),
        ("smulbb", "multiply"), ("ldrd", "load-double"), ("sxtb16", "alu"), ("itte", "it"),
        ("lsls", "alu"), ("movs", "alu"), ("bx", "indirect"), ("blx", "call"),
        ("umaal", "multiply-long-add"), ("smull", "multiply-long"), ("uxtab16", "alu"),
    ]:  # fmt: skip
        assert cycles.kind(mnemonic, False) == kind, mnemonic


def test_an_unknown_core() -> None:
    with pytest.raises(TargetError, match="cortex-m55 has no cycle table"):
        cycles.table("cortex-m55")


def test_decoder_keeps_what_it_does_not_know() -> None:
    code = bytes.fromhex("01207047") + b"\xff\xff\xff\xff"
    found = Decoder("cortex-m0").decode(code, 0x100)
    assert [i.mnemonic for i in found] == ["movs", "bx", "?"]
    assert sum(i.size for i in found) == len(code)
