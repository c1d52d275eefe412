"""The cost tables against loops counted by hand from the reference manuals."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from benchmarks.cycles import (
    HAND,
    HAZARD3,
    LOOPS,
    NAMES,
    PUBLISHED,
    SHARED,
    Published,
    executed,
    published,
    turn,
)  # fmt: skip

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


#: core: instructions: cycles of them as a block.
BLOCKS = """
cortex-m3: mla r0, r1, r2, r3: 2
cortex-m4: mla r0, r1, r2, r3: 1
cortex-m4: smlad r0, r1, r2, r0: 1
cortex-m4: ldrd r0, r1, [r2]: 3
cortex-m4: ldr r0, [r1]; ldr r2, [r0]: 4
cortex-m4: push {r4, r5, r6, lr}: 5
cortex-m4: ldr r0, [r1]; ldr r2, [r3]: 3
cortex-m4: str r0, [r1]; ldr r2, [r3]: 3
cortex-m4: add r1, r1, #4; ldr r2, [r1]: 4
cortex-m4: add r1, r1, #4; add r4, r4, #1; ldr r2, [r1]: 4
cortex-m4: add r1, r1, #4; str r2, [r1]: 3
cortex-m4: mov r1, r4; ldm r1, {r2, r3}: 5
cortex-m4: str r0, [r1, r2]: 2
cortex-m4: str r0, [r1, #8]: 1
cortex-m4: ldr r0, [pc, #8]: 3
cortex-m4: ldr r0, [r1], #4; ldr r2, [r1], #4: 4
cortex-m4: ldr r0, [r1], #4; ldr r2, [r3], #4: 3
cortex-m4: ldr r0, [r1, #4]!; ldr r2, [r1, #4]!: 4
cortex-m4: vldr s0, [r1]; vstr s0, [r2]: 4
cortex-m4: vldr d0, [r1]; vstr d0, [r2]: 6
cortex-m4: vldmia r0!, {s0, s1, s2}: 4
cortex-m4: vldmia r0!, {d0, d1}: 5
cortex-m4: vfma.f32 s0, s1, s2; vmul.f32 s3, s4, s5: 4
cortex-m4: vmla.f32 s0, s1, s2: 3
cortex-m4: vdiv.f32 s0, s1, s2: 14
cortex-m33: ldr r0, [r1]; adds r3, r4, r5; adds r2, r0, r2: 3
cortex-m33: ldm r1, {r2, r3, r4}: 3
cortex-m33: ldrd r0, r1, [r2]: 2
cortex-m33: smlad r0, r1, r2, r0; smlad r0, r3, r4, r0: 2
cortex-m33: smlad r0, r1, r2, r0; adds r5, r0, r5: 3
cortex-m33: add r0, r1, r2, lsl #2; adds r5, r0, r5: 3
cortex-m33: add r0, r1, r2; adds r5, r0, r5: 2
hazard3: lw a0, 0(a1); add a2, a0, a2: 3
hazard3: lbu a0, 0(a1); sb a0, 0(a2): 2
hazard3: lw a0, 0(a1); sw a2, 0(a0): 3
hazard3: mul a0, a1, a2; add a3, a0, a0: 2
hazard3: divu a0, a1, a2: 18.5
cortex-m7: adds r0, r1, r2; adds r3, r4, r5: 1
cortex-m7: eors r0, r1, r2; eors r3, r0, r5: 2
# The first ALU's result is there for the second in the same cycle, its flags are not.
cortex-m7: adds r0, r1, r2; adds r3, r0, r5: 1
cortex-m7: adds r0, r1, r2; adcs r3, r0, r5: 2
cortex-m7: ror r0, r1, #8; eor r2, r3, r0: 1
cortex-m7: ror r0, r1, #8; eor r2, r3, r0, ror #4: 2
cortex-m7: eor r0, r1, r2; eor r3, r4, r0, ror #4: 3
cortex-m7: eor r0, r1, r2; ldr r3, [r0]: 3
cortex-m7: add r0, r1, r2; ldr r3, [r0]: 2
cortex-m7: ldr r0, [r1]; eor r3, r4, r0, ror #4: 3
cortex-m7: ldr r0, [r1]; eor r3, r0, r4, ror #4: 3
cortex-m7: ldrb r0, [r1]; eor r3, r0, r4, ror #4: 3
cortex-m7: adds r3, r4, r5; uxtb r0, r1: 2
cortex-m7: uxtb r0, r1; adds r3, r4, r5: 1
cortex-m7: ldr r0, [r1]; adds r2, r0, r2: 2
cortex-m33: ldr r0, [r1]; adds r2, r0, r2: 3
rv32imac: mul a0, a1, a2: 1
rv32imac: lw a0, 0(a1); add a2, a0, a2: 3
rv32imac: lbu a0, 0(a1); add a2, a0, a2: 4
rv32imac: mul a0, a1, a2; add a3, a3, a4; add a5, a0, a0: 6
rv32imac: mul a0, a1, a2; mul a3, a1, a2: 6
cortex-m7: ldr r0, [r1]; smlad r2, r0, r3, r2: 3
cortex-m7: ldrb r0, [r1]; mla r2, r3, r4, r0: 2
cortex-m7: push {r4, r5, r6, lr}: 2
cortex-m7: udiv r0, r1, r2; adds r3, r0, #1: 6.5
# vectors of two units overlap, those of one do not
cortex-m55: vldrw.u32 q0, [r0]; vmlav.s8 r1, q1, q2: 2
cortex-m55: vldrw.u32 q0, [r0]; vldrw.u32 q1, [r0, #16]: 3
cortex-m55: vmlava.s8 r1, q0, q2; vmlava.s8 r1, q0, q3: 3
cortex-m55: vmlava.s8 r1, q0, q2; add r2, r1, r3: 4
cortex-m55: vmul.i32 q0, q1, q2; vadd.i32 q3, q0, q4: 3
cortex-m55: vadd.i32 q0, q1, q2; vmul.i32 q3, q4, q5: 2
cortex-m55: vstrb.8 q0, [r0]; vldrb.u8 q1, [r1]; adds r2, r2, r3: 3
cortex-m55: adds r2, r2, r3; le lr, 0: 1
"""


def _blocks() -> Iterator[tuple[str, tuple[str, ...], float]]:
    """(core, lines of assembler, cycles) of BLOCKS."""
    for line in BLOCKS.strip().splitlines():
        if not line.startswith("#"):
            core, lines, expected = line.split(": ")
            yield core, tuple(lines.split("; ")), float(expected)


@pytest.mark.parametrize(("core", "lines", "expected"), list(_blocks()))
def test_block(core: str, lines: tuple[str, ...], expected: float) -> None:
    assert cycles.block_cycles(_code(*lines), core) == expected


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m4"])
@pytest.mark.parametrize(
    ("last", "more"), [("bne 8", 2), ("bl 8", 1), ("bx lr", 2), ("cbz r0, 8", 2), ("b 8", 2)]
)
def test_a_taken_branch(core: str, last: str, more: int) -> None:
    branch = Instruction(0, 2, *last.split(" ", 1))
    assert cycles.taken_cycles(branch, Instruction(8, 4, "add", "r0, r1, r2"), core) == more
    assert cycles.taken_cycles(branch, Instruction(10, 2, "add", "r0, r1, r2"), core) == more
    assert cycles.taken_cycles(branch, Instruction(10, 4, "add", "r0, r1, r2"), core) == more + 1


@pytest.mark.parametrize(("line", "whole"), [("tbb [pc, r0]", 4), ("ldr pc, [r0]", 4)])
def test_jumps_by_a_table(line: str, whole: int) -> None:
    jump = Instruction(0, 4, *line.split(" ", 1))
    target = Instruction(8, 2, "nop", "")
    found = cycles.block_cycles([jump], "cortex-m4") + cycles.taken_cycles(
        jump, target, "cortex-m4"
    )
    assert found == whole


@pytest.mark.parametrize(
    ("start", "sizes", "more"),
    [(2, "444", 1), (0, "444", 0), (2, "44", 0), (2, "4444444", 1), (0, "2444", 1),
     (2, "444224", 1), (2, "4442444", 1), (2, "44422444", 2)],
)  # fmt: skip
def test_wide_instructions_across_words(start: int, sizes: str, more: int) -> None:
    code = []
    for size in map(int, sizes):
        code.append(Instruction(start, size, "add", "r0, r1, r2"))
        start += size
    for core in ("cortex-m3", "cortex-m4"):
        assert cycles.block_cycles(code, core) == len(code) + more
    assert cycles.block_cycles(code, "cortex-m0plus") == len(code)


@pytest.mark.parametrize("name", HAZARD3)
def test_programs_that_the_logic_of_a_core_ran(name: str) -> None:
    pytest.importorskip("unicorn")
    program = SHARED / f"kws_{name}.rv32imac.elf"
    if not program.exists():
        pytest.skip(f"../shared/cycles/{program.name} is not there")
    instructions, counted = HAZARD3[name]
    edges, decoded = executed(program)
    executed_ = sum(len(decoded[block]) * times for (_, block), times in edges.items())
    assert abs(executed_ - instructions) <= 10  # the calls between the two reads
    found = cycles.estimate(edges, decoded, "hazard3")
    assert found.middle == pytest.approx(counted, rel=0.015)
    assert found.low <= found.middle <= found.high


def test_conditions_and_widths_do_not_hide_an_instruction() -> None:
    for mnemonic, kind in [
        ("bne.w", "branch"), ("bleq", "call"), ("bics", "alu"), ("ldrsb.w", "load"),
        ("strbne", "store"), ("ldmia.w", "load-multiple"), ("smlabb", "multiply-add"),
        ("smulbb", "multiply"), ("ldrd", "load-double"), ("sxtb16", "alu"), ("itte", "it"),
        ("lsls", "alu"), ("movs", "alu"), ("bx", "indirect"), ("blx", "call"),
        ("umaal", "multiply-long-add"), ("vstr", "store-float"), ("vldr", "load"),
        ("vfnms.f32", "float-multiply-add"), ("vmul.f32", "alu"), ("vmov.f32", "alu"),
        ("smull", "multiply-long"), ("uxtab16", "alu"),
    ]:  # fmt: skip
        assert cycles.kind(mnemonic, False) == kind, mnemonic


def test_bit_fields_and_dsp_are_told_from_the_rest() -> None:
    for mnemonic in ("uxtb", "ubfx", "ssat", "rev16", "clz", "sxth", "bfi"):
        assert refine("alu", mnemonic) == "bitfield", mnemonic
    for mnemonic in ("sxtab16", "uxtb16", "sadd16", "uqsub8", "shadd16", "ssax", "qadd", "pkhbt",
                     "sel", "ssat16"):  # fmt: skip
        assert refine("alu", mnemonic) == "dsp", mnemonic
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
    with pytest.raises(TargetError, match="host has no cycle table"):
        cycles.table("host")


def test_decoder_keeps_what_it_does_not_know() -> None:
    code = bytes.fromhex("01207047") + b"\xff\xff\xff\xff"
    found = Decoder("cortex-m0").decode(code, 0x100)
    assert [i.mnemonic for i in found] == ["movs", "bx", "?"]
    assert sum(i.size for i in found) == len(code)
