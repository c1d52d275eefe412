"""The cost tables against loops counted by hand from the reference manuals."""

from __future__ import annotations

import pytest
from benchmarks.cycles import HAND, LOOPS, NAMES, PUBLISHED, Published, published, turn

from secateur import targets
from secateur.errors import TargetError
from secateur.targets import Image
from secateur.targets.estimates import cycles
from secateur.targets.estimates.blocks import Decoder, Instruction
from secateur.targets.estimates.pipeline import refine

from .conftest import need


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Image]:
    need("arm-none-eabi-gcc", "riscv64-unknown-elf-gcc")
    return {b: targets.build(LOOPS, b, tmp_path_factory.mktemp(b)) for b in HAND}


@pytest.mark.parametrize("loop", NAMES)
@pytest.mark.parametrize("board", HAND)
def test_hand_counted_loop(board: str, loop: str, images: dict[str, Image]) -> None:
    assert turn(images[board], loop) == HAND[board][loop]


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: case.what)
def test_published_measurement(case: Published) -> None:
    assert published(case) == case.cycles


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
        ("cortex-m7", ("ldr r0, [r1]", "adds r2, r0, r2"), 2),
        ("cortex-m33", ("ldr r0, [r1]", "adds r2, r0, r2"), 3),
        ("rv32imac", ("mul a0, a1, a2",), 1),
        ("rv32imac", ("lw a0, 0(a1)", "add a2, a0, a2"), 3),
        ("rv32imac", ("lbu a0, 0(a1)", "add a2, a0, a2"), 4),
        ("rv32imac", ("mul a0, a1, a2", "add a3, a3, a4", "add a5, a0, a0"), 6),
        ("rv32imac", ("mul a0, a1, a2", "mul a3, a1, a2"), 6),
        ("cortex-m7", ("ldr r0, [r1]", "smlad r2, r0, r3, r2"), 3),
        ("cortex-m7", ("ldrb r0, [r1]", "mla r2, r3, r4, r0"), 2),
        ("cortex-m7", ("push {r4, r5, r6, lr}",), 2),
        ("cortex-m7", ("udiv r0, r1, r2", "adds r3, r0, #1"), 7),
    ],
)
def test_block(core: str, lines: tuple[str, ...], expected: float) -> None:
    assert cycles.block_cycles(_code(*lines), core) == expected


def test_conditions_and_widths_do_not_hide_an_instruction() -> None:
    for mnemonic, kind in [
        ("bne.w", "branch"), ("bleq", "call"), ("bics", "alu"), ("ldrsb.w", "load"),
        ("strbne", "store"), ("ldmia.w", "load-multiple"), ("smlabb", "multiply-add"),
        ("smulbb", "multiply"), ("ldrd", "load-double"), ("sxtb16", "alu"), ("itte", "it"),
        ("lsls", "alu"), ("movs", "alu"), ("bx", "indirect"), ("blx", "call"),
        ("umaal", "multiply-long-add"), ("smull", "multiply-long"), ("uxtab16", "alu"),
    ]:  # fmt: skip
        assert cycles.kind(mnemonic, False) == kind, mnemonic


def test_bit_fields_and_dsp_are_told_from_the_rest() -> None:
    for mnemonic in ("uxtb", "sxtab16", "ubfx", "sadd16", "uqsub8", "shadd16", "ssax", "qadd",
                     "ssat", "pkhbt", "rev16", "clz", "sel"):  # fmt: skip
        assert refine("alu", mnemonic) == "bitfield", mnemonic
    for mnemonic in ("adds", "sub.w", "subs", "orr", "asrs", "lsl", "mov", "bics", "rsb", "addw"):
        assert refine("alu", mnemonic) == "alu", mnemonic
    assert refine("load", "ldrsb.w") == refine("load", "lhu") == refine("load", "c.lbu")
    assert refine("load", "ldr.w") == refine("load", "c.lw") == "load"


def test_a_branch_to_an_instruction_across_words() -> None:
    """One cycle more, for its second half, where the core's table says so; else none."""
    branch = Instruction(0x40, 2, "bne", "#0x10")
    costs = {
        (core, size, address): cycles.taken_cycles(
            branch, Instruction(address, size, "b", ""), core
        )
        for core in ("cortex-m3", "cortex-m4", "cortex-m7")
        for size in (2, 4)
        for address in (0x10, 0x12)
    }
    for core, more in (("cortex-m3", 1), ("cortex-m4", 1), ("cortex-m7", 0)):
        aligned = costs[core, 4, 0x10]
        assert costs[core, 4, 0x12] == aligned + more
        assert costs[core, 2, 0x10] == costs[core, 2, 0x12] == aligned


def test_an_unknown_core() -> None:
    with pytest.raises(TargetError, match="cortex-m55 has no cycle table"):
        cycles.table("cortex-m55")


def test_decoder_keeps_what_it_does_not_know() -> None:
    code = bytes.fromhex("01207047") + b"\xff\xff\xff\xff"
    found = Decoder("cortex-m0").decode(code, 0x100)
    assert [i.mnemonic for i in found] == ["movs", "bx", "?"]
    assert sum(i.size for i in found) == len(code)
