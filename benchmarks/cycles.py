"""The cycle estimates against cycles known otherwise: prints every case and its error.

    python -m benchmarks.cycles

Loops of tests/targets/fixtures/loops run in the simulator on each core and are compared with
cycles counted by hand from what is published of the core (docs/cycle-model.md); short sequences
are compared with what others measured on Cortex-M7 hardware, and whole programs, where they are
present, with cycles counted in the logic of a Hazard3.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from secateur import targets
from secateur.targets import Image
from secateur.targets.builders import elf
from secateur.targets.estimates.blocks import Decoder, Instruction
from secateur.targets.estimates.cycles import Block, Edge, block_cycles, estimate
from secateur.targets.runners.sim import Sim

LOOPS = Path(__file__).resolve().parents[1] / "tests" / "targets" / "fixtures" / "loops"
NAMES = ["delay", "read_add", "read_three", "write_two", "read_many", "multiply", "call", "skip"]

#: Cycles a turn, by board. M0: DDI 0432C, taken branch 3; M0+: DDI 0484C, taken branch 2; M3 and M4
#: (DDI 0337I, DDI 0439D): loads pipelined, buffered stores 1, taken branch 1 + P with P = 2
#: (a call 1).
HAND: dict[str, dict[str, float]] = {
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
        "delay": 1 + 3,
        "read_add": 2 + 1 + 1 + 1 + 3,
        "read_three": 2 + 1 + 1 + 1 + 3,
        "write_two": 1 + 1 + 1 + 3,
        "read_many": 1 + (1 + 4) + 1 + 1 + 3,  # the address was computed by the mov just before
        "multiply": 1 + 1 + 1 + 3,
        "call": 2 + 3 + 3 + 1 + 3,
        "skip": 1 + 1 + 1 + 1 + 3,
    },
    # Two a cycle; a byte's load usable two cycles later, a product two; two words of neighbouring
    # addresses loaded together; one store a cycle; four registers loaded in two cycles, alone;
    # predicted branches free, each ending its group.
    "mps2_an500": {
        "delay": 1,  # subs and bne
        "read_add": 2 + 1 + 1,  # ldrb, then adds with adds, subs with bne
        "read_three": 1 + 1 + 1,  # ldr with ldr, ldr with subs, bne
        "write_two": 1 + 1 + 1,  # str, str with subs, bne
        "read_many": 1 + 2 + 1,  # mov, ldmia, subs with bne
        "multiply": 2 + 1 + 1,  # muls, then adds with subs, bne
        "call": 1 + 1 + 1 + 1,  # bl, bx, b, subs with bne
        "skip": 1 + 1 + 1,  # cmp with beq, nop with subs, bne
    },
    # Nobody publishes a table: by the rules that were measured on the RP2350 (docs/cycle-model.md).
    "mps2_an505": {
        "delay": 1 + 2,
        "read_add": 1 + 2 + 1 + 1 + 2,
        "read_three": 1 + 1 + 1 + 1 + 2,
        "write_two": 1 + 1 + 1 + 2,
        "read_many": 1 + 4 + 1 + 2,
        "multiply": 2 + 1 + 1 + 2,
        "call": 2 + 2 + 2 + 1 + 2,
        "skip": 1 + 1 + 1 + 1 + 2,
    },
    # SiFive E31 manual, 3.3: LW two cycles to its result, LBU three, MUL five; predicted control
    # flow costs nothing more.
    "qemu_rv32": {
        "delay": 1 + 1,
        "read_add": 3 + 1 + 1 + 1 + 1,
        "read_three": 1 + 1 + 1 + 1 + 1,
        "write_two": 1 + 1 + 1 + 1,
        "read_many": 1 + 4 + 1 + 1,
        "multiply": 5 + 1 + 1 + 1,
        "call": 1 + 1 + 1 + 1 + 1,
        "skip": 1 + 1 + 1 + 1,
    },
    # RP2350 datasheet, 3.8.7: jumps 2, a loop's own branch 1.
    "pico2_riscv": {
        "delay": 1 + 1,
        "read_add": 2 + 1 + 1 + 1 + 1,
        "read_three": 1 + 1 + 1 + 1 + 1,
        "write_two": 1 + 1 + 1 + 1,
        "read_many": 1 + 4 + 1 + 1,
        "multiply": 1 + 1 + 1 + 1,
        "call": 2 + 2 + 2 + 1 + 2,
        "skip": 1 + 1 + 1 + 1,
    },
}
HAND["mps2_an385"] = HAND["mps2_an386"]


@dataclass(frozen=True)
class Published:
    """Instructions whose steady-state cycles somebody measured on a Cortex-M7 and published."""

    what: str
    code: tuple[str, ...]
    cycles: float  #: of all of them
    source: str
    again: bool = False  #: behind itself, in a long row


_Q, _J = "quinapalus.com/cm7cycles.html", "jnk0le/random, pipeline cycle test"
PUBLISHED = (
    Published("independent additions", tuple(f"add r{i}, r{i}, #1" for i in range(8)), 4, _Q),
    Published("additions in a chain", ("add r0, r0, #1",) * 8, 8, _Q, again=True),
    Published("independent products", tuple(f"mul r{i}, r4, r5" for i in range(3)), 3, _Q),
    Published("sums of products in a chain", ("mla r0, r4, r5, r0",) * 4, 4, _Q),
    Published("dual products in a chain", ("smlad r0, r4, r5, r0",) * 4, 4, _J),
    Published("product beside an addition", ("umull r0, r1, r4, r5", "add r2, r2, #1"), 1, _Q),
    Published("load beside an addition", ("ldr r0, [r5]", "adc r1, r1, r2"), 1, _Q),
    Published("loads of one bank", ("ldr r0, [r5]", "ldr r1, [r5]"), 2, _Q),
    Published("loads of two banks", ("ldr r0, [r5]", "ldr r1, [r5, #4]"), 1, _J),
    Published("word loaded, then added", ("ldr r0, [r5]", "add r1, r0, #1"), 2, _J),
    Published("byte loaded, then added", ("ldrb r0, [r5]", "add r1, r0, #1"), 3, _J),
    Published("rotation, then read beside it", ("ror r0, r1, #8", "eor r2, r3, r0"), 1, _J),
    Published("addition, then shifted beside it",
              ("eor r0, r0, r1", "eor r0, r2, r0, ror #3"), 3, _J, again=True),
    Published("carries in a chain", ("adcs r0, r1, r2",) * 4, 4, _J, again=True),
    Published("word loaded, then multiplied", ("ldr r0, [r5]", "mul r1, r0, r4"), 3, _J),
    Published("stores", tuple(f"str r{i}, [r5, #{4 * i}]" for i in range(4)), 4, _J),
    Published("load beside a store", ("ldr r0, [r5]", "str r2, [r6]"), 1, _J),
    Published("store of what is loaded", ("ldr r0, [r5]", "str r0, [r6]"), 1, _J),
    Published("four registers loaded", ("ldm r5, {r0, r1, r2, r3}",), 2, _J),
    Published("two bytes extended", ("uxtb r0, r4", "uxtb r1, r5"), 2, _J),
)  # fmt: skip


#: The logic of the RP2350's RISC-V core ran these programs, which are not in this repository:
#: instructions and cycles (../shared/cycles/README.md).
HAZARD3 = {"ternary": (3_492_503, 3_793_094), "sparse": (5_547_512, 5_808_590),
           "dense": (14_675_797, 14_998_812)}  # fmt: skip
SHARED = Path(__file__).resolve().parents[2] / "shared" / "cycles"


def code(lines: tuple[str, ...]) -> list[Instruction]:
    """Instructions written as text."""
    return [Instruction(4 * i, 4, *line.split(" ", 1)) for i, line in enumerate(lines)]


def published(case: Published) -> float:
    """The model's cycles of a published sequence."""
    if not case.again:
        return block_cycles(code(case.code), "cortex-m7")
    few, more = (block_cycles(code(case.code * times), "cortex-m7") for times in (4, 8))
    return (more - few) / 4


def turn(image: Image, loop: str) -> float:
    """The model's cycles of one turn of a loop."""
    found = []
    for turns in (100, 300):
        chosen = np.array([[NAMES.index(loop), turns & 0xFF, turns >> 8]], np.uint8)
        result = Sim().run(image, chosen.view(np.int8))
        assert result.cycles is not None
        found.append(result.cycles)
    return (found[1] - found[0]) / 200


def programs() -> list[tuple[str, int, int, float]]:
    """Name, instructions, cycles counted in the core's logic and estimated, of those present."""
    found = []
    for name, (_, counted) in HAZARD3.items():
        if (program := SHARED / f"kws_{name}.rv32imac.elf").exists():
            edges, decoded = executed(program)
            instructions = sum(len(decoded[block]) * times for (_, block), times in edges.items())
            guess = estimate(edges, decoded, "hazard3").middle
            found.append((name, instructions, counted, guess))
    return found


def executed(program: Path) -> tuple[Counter[Edge], dict[Block, list[Instruction]]]:
    """What one call of `kws_run` executes."""
    import unicorn
    from unicorn import riscv_const as regs

    uc = unicorn.Uc(unicorn.UC_ARCH_RISCV, unicorn.UC_MODE_RISCV32)
    top, back = 0x400000, 0x3FFFF0
    uc.mem_map(0, top)
    for address, data in elf.segments(program):
        uc.mem_write(address, data)
    symbols = elf.symbols(program)
    output = next(place for name, (place, _) in symbols.items() if name.startswith("out"))
    uc.emu_start(elf.entry(program), symbols["main"][0])
    for register, value in ((regs.UC_RISCV_REG_RA, back), (regs.UC_RISCV_REG_SP, back - 0xF0),
                            (regs.UC_RISCV_REG_A0, symbols["X"][0]),
                            (regs.UC_RISCV_REG_A1, output)):  # fmt: skip
        uc.reg_write(register, value)
    edges: Counter[Edge] = Counter()
    last: list[Block | None] = [None]

    def seen(uc: object, address: int, size: int, data: object) -> None:
        edges[last[0], (address, size)] += 1
        last[0] = address, size

    uc.hook_add(unicorn.UC_HOOK_BLOCK, seen)
    uc.emu_start(symbols["kws_run"][0], back)
    decoder = Decoder("hazard3")
    blocks = {block for _, block in edges}
    return edges, {b: decoder.decode(bytes(uc.mem_read(*b)), b[0]) for b in blocks}


def measured() -> str:
    """Markdown of what others measured or counted in a core's logic, against the estimate."""
    lines = [
        "| Cortex-M7, measured by others | estimate | measured | error | source |",
        "|---" * 5 + "|",
    ]
    for case in PUBLISHED:
        model = published(case)
        error = (model - case.cycles) / case.cycles
        lines.append(
            f"| {case.what} | {model:g} | {case.cycles:g} | {error:+.0%} | {case.source} |"
        )
    if rows := programs():
        lines += [
            "",
            "| Hazard3 | instructions | cycles counted | estimate | error |",
            "|---" * 5 + "|",
        ]
    for name, instructions, counted, model in rows:
        error = model / counted - 1
        lines.append(f"| {name} | {instructions:,} | {counted:,} | {model:,.0f} | {error:+.2%} |")
    return "\n".join(lines)


def main() -> None:
    """Print all comparisons."""
    print("| core | " + " | ".join(NAMES) + " | largest error |")
    print("|---" * (len(NAMES) + 2) + "|")
    for board, hand in HAND.items():
        with tempfile.TemporaryDirectory() as folder:
            image = targets.build(LOOPS, board, Path(folder))
            cells, worst = [], 0.0
            for name in NAMES:
                model = turn(image, name)
                worst = max(worst, abs(model - hand[name]) / hand[name])
                cells.append(f"{model:g} / {hand[name]:g}")
        print(f"| {image.board.core} | {' | '.join(cells)} | {worst:.0%} |")
    print("\n" + measured())


if __name__ == "__main__":
    main()
