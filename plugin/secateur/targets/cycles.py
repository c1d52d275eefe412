"""Cycle estimates: a cost table per core, applied to the basic blocks a run executed.

Costs are those of the cores' technical reference manuals for zero-wait-state memory, in processor
cycles. docs/cycle-model.md derives them, says what is left out and shows how far hand-counted
loops and published figures are from them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from ..errors import TargetError
from .blocks import Instruction
from .pipeline import CORTEX_M7, SIFIVE_E31, Pipeline, operation
from .pipeline import cycles as pipeline_cycles

#: (block before, block): how often control went from one to the other. A block is
#: (address, size in bytes); None before the first.
Block = tuple[int, int]
Edge = tuple[Block | None, Block]

_CONDITION = "(?:eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"
_ARM_KINDS = [
    (kind, re.compile(rf"(?:{names}){_CONDITION}(?:\.[wn])?$"))
    for kind, names in (
        ("call", "bl|blx"),
        ("indirect", "bx|bxns|blxns"),
        ("compare-branch", "cbz|cbnz"),
        ("table", "tbb|tbh"),
        ("branch", "b"),
        ("pop", "pop"),
        ("push", "push"),
        ("load-multiple", "ldm\\w*?|vldm\\w*|vpop"),
        ("store-multiple", "stm\\w*?|vstm\\w*|vpush"),
        ("load-double", "ldrd"),
        ("store-double", "strd"),
        ("load", "ldr\\w*?|vldr"),
        ("store", "str\\w*?|vstr"),
        ("divide", "sdiv|udiv"),
        ("multiply-long", "smull|umull"),
        ("multiply-long-add", "smlal\\w*?|umlal|umaal|smlsld\\w*?"),
        ("multiply-add", "mla|mls|smla\\w+?|smmla\\w*?|smmls\\w*?|smlsd\\w*?"),
        ("multiply", "mul|muls|smul\\w+?|smmul\\w*?|smuad\\w*?|smusd\\w*?"),
        ("it", "it[te]*"),
        ("system", "mrs|msr|dsb|dmb|isb|cps\\w*|svc|wfi|wfe"),
        ("float-divide", "vdiv\\.f32|vsqrt\\.f32"),
    )
]
_RISCV_KINDS = [
    (kind, re.compile(rf"(?:c\.)?(?:{names})$"))
    for kind, names in (
        ("branch", "b(?:eq|ne|lt|ge|ltu|geu|eqz|nez|lez|gez|ltz|gtz)"),
        ("call", "jal|j"),
        ("indirect", "jalr|jr|ret"),
        ("load", "l[wbh]u?|lwsp"),
        ("store", "s[wbh]|swsp"),
        ("multiply", "mul|mulh\\w*"),
        ("divide", "divu?|remu?"),
        ("system", "csr\\w+|fence\\w*|ecall|ebreak|mret|wfi"),
    )
]


@lru_cache(maxsize=4096)
def kind(mnemonic: str, riscv: bool) -> str:
    """The row of the cost table an instruction belongs to."""
    for name, pattern in _RISCV_KINDS if riscv else _ARM_KINDS:
        if pattern.match(mnemonic):
            return name
    return "alu"


@dataclass(frozen=True)
class Table:
    """Cycles by kind of instruction for one core; anything not named takes one."""

    core: str
    source: str
    costs: dict[str, int]
    refill: int  #: more for a taken direct branch
    refill_indirect: int  #: more for a taken branch through a register or the stack
    multiple: int = 1  #: of a multiple load or store, besides one a register
    pipelined: bool = False  #: a load or store behind another takes one cycle
    load_use: int = 0  #: more if the next instruction reads what a load just brought
    unaligned_target: int = 0  #: more for a branch to a 4-byte instruction across words
    pipeline: Pipeline | None = None  #: a model of its own for what is inside a block
    riscv: bool = False


_M0 = {"load": 2, "store": 2, "system": 4}
_M3 = {"load": 2, "multiply-add": 2, "multiply-long": 4, "multiply-long-add": 5, "divide": 6,
       "system": 2, "float-divide": 14}  # fmt: skip
_M4 = {"load": 2, "divide": 6, "system": 2, "float-divide": 14}

TABLES = {
    table.core: table
    for table in (
        Table("cortex-m0", "Arm DDI 0432C, table 3-1", _M0, refill=2, refill_indirect=2),
        Table(
            "cortex-m0plus", "Arm DDI 0484C, table 3-1", {**_M0, "system": 3},
            refill=1, refill_indirect=1,
        ),
        Table(
            "cortex-m3", "Arm DDI 0337I, tables 3-1 and 3-2", _M3,
            refill=1, refill_indirect=2, pipelined=True, unaligned_target=1,
        ),
        Table(
            "cortex-m4", "Arm DDI 0439D, tables 3-1 and 7-1", _M4,
            refill=1, refill_indirect=2, pipelined=True, unaligned_target=1,
        ),
        Table(
            "cortex-m7", "approximate: Arm publishes no table; measured by others on STM32H7",
            {}, refill=0, refill_indirect=0, pipeline=CORTEX_M7,
        ),
        Table(
            "cortex-m33", "approximate: Arm 100230 has no table; single issue, load latency 2",
            {"divide": 6, "system": 2, "float-divide": 14},
            refill=1, refill_indirect=2, load_use=1,
        ),
        Table(
            "rv32imac", "SiFive E31 core complex manual, chapter 3",
            {}, refill=0, refill_indirect=0, pipeline=SIFIVE_E31, riscv=True,
        ),
    )
}  # fmt: skip


def table(core: str) -> Table:
    """The core's cost table. Raises TargetError if there is none."""
    if core not in TABLES:
        raise TargetError(f"core {core} has no cycle table: {', '.join(TABLES)} have one")
    return TABLES[core]


def _registers(operands: str) -> list[str]:
    return re.findall(r"\b(?:r\d+|s\d+|d\d+|a\d|t\d|ra|sp|lr|pc|ip|fp|sb|sl|gp|tp)\b", operands)


def _count(operands: str) -> int:
    """How many registers a {list} names; capstone writes every one."""
    inside = operands[operands.find("{") :] if "{" in operands else operands
    return max(1, len(_registers(inside)))


def _destination(instruction: Instruction, what: str) -> str | None:
    if what.startswith(("store", "push", "branch", "call", "indirect", "compare")):
        return None
    registers = _registers(instruction.operands)
    return registers[0] if registers else None


def block_cycles(code: list[Instruction], costs: Table) -> float:
    """Cycles of a block whose last instruction does not branch away."""
    if costs.pipeline is not None:
        kinds = (kind(i.mnemonic, costs.riscv) for i in code)
        operations = [operation(i, k) for i, k in zip(code, kinds, strict=True)]
        return pipeline_cycles(operations, costs.pipeline)
    total = 0.0
    before: str | None = None  #: kind of the instruction before
    written: str | None = None  #: register it wrote
    for instruction in code:
        what = kind(instruction.mnemonic, costs.riscv)
        cost = float(costs.costs.get(what, 1))
        reads = _registers(instruction.operands)
        if what not in ("alu", "load", "multiply") or instruction.mnemonic.startswith("cmp"):
            sources = reads
        else:
            sources = reads[1:] or reads
        depends = written is not None and written in sources
        if what in ("push", "pop", "load-multiple", "store-multiple"):
            cost = costs.multiple + _count(instruction.operands)
        elif what in ("load-double", "store-double"):
            cost = costs.multiple + 2
        elif what in ("load", "store") and costs.pipelined:
            follows = before in ("load", "store")
            address = re.sub(r"^[^\[]*", "", instruction.operands)
            waits = written is not None and written in _registers(address)
            cost = 1.0 if what == "store" or (follows and not waits) else cost
        if costs.load_use and before == "load" and depends:
            cost += costs.load_use
        total += cost
        before, written = what, _destination(instruction, what)
    return total


def taken_cycles(last: Instruction, target: Instruction, costs: Table) -> float:
    """What a block costs more because its last instruction branched to `target`."""
    what = kind(last.mnemonic, costs.riscv)
    indirect = what in ("indirect", "pop", "load", "load-multiple", "table", "alu")
    extra = float(costs.refill_indirect if indirect else costs.refill)
    if what == "call" and costs.core in ("cortex-m0", "cortex-m0plus"):
        extra += 1
    if what == "pop" and costs.core in ("cortex-m0", "cortex-m0plus"):
        extra += 1
    if target.size == 4 and target.address & 2:
        extra += costs.unaligned_target
    return extra


def estimate(
    edges: Counter[Edge],
    decode: dict[Block, list[Instruction]],
    core: str,
    wait_states: int = 0,
    cached: bool = True,
) -> float:
    """Cycles of everything executed.

    Without a flash cache every taken branch waits for the flash once more.
    """
    costs = table(core)
    blocks: dict[Block, float] = {}
    total = 0.0
    for (before, block), times in edges.items():
        if block not in blocks:
            blocks[block] = block_cycles(decode[block], costs)
        cycles = blocks[block]
        if before is not None and before[0] + before[1] != block[0]:
            cycles += taken_cycles(decode[before][-1], decode[block][0], costs)
            if not cached:
                cycles += wait_states
        total += cycles * times
    return total
