"""Cycle estimates: a core's cost table (secateur.cores), applied to the blocks a run executed.

Costs are those of the cores' technical reference manuals for zero-wait-state memory, in processor
cycles. docs/cycle-model.md derives them, says what is left out and shows how far hand-counted
loops and published figures are from them.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import lru_cache

from ... import cores
from ...cores import CycleTable
from ...errors import TargetError
from .blocks import Instruction
from .pipeline import cycles as pipeline_cycles
from .pipeline import operation

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


def table(core: str) -> CycleTable:
    """The core's cost table. Raises TargetError if there is none."""
    costs = cores.get(core).cycles
    if costs is None:
        able = (name for name in cores.names() if cores.get(name).cycles)
        raise TargetError(f"core {core} has no cycle table: {', '.join(able)} have one")
    return costs


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


def block_cycles(code: list[Instruction], core: str) -> float:
    """Cycles of a block whose last instruction does not branch away."""
    costs, riscv = table(core), cores.get(core).riscv
    if costs.pipeline is not None:
        kinds = (kind(i.mnemonic, riscv) for i in code)
        operations = [operation(i, k) for i, k in zip(code, kinds, strict=True)]
        return pipeline_cycles(operations, costs.pipeline)
    total = 0.0
    before: str | None = None  #: kind of the instruction before
    written: str | None = None  #: register it wrote
    for instruction in code:
        what = kind(instruction.mnemonic, riscv)
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


def taken_cycles(last: Instruction, target: Instruction, core: str) -> float:
    """What a block costs more because its last instruction branched to `target`."""
    costs = table(core)
    what = kind(last.mnemonic, cores.get(core).riscv)
    indirect = what in ("indirect", "pop", "load", "load-multiple", "table", "alu")
    extra = float(costs.refill_indirect if indirect else costs.refill)
    extra += costs.refill_more.get(what, 0)
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
    blocks: dict[Block, float] = {}
    total = 0.0
    for (before, block), times in edges.items():
        if block not in blocks:
            blocks[block] = block_cycles(decode[block], core)
        cycles = blocks[block]
        if before is not None and before[0] + before[1] != block[0]:
            cycles += taken_cycles(decode[before][-1], decode[block][0], core)
            if not cached:
                cycles += wait_states
        total += cycles * times
    return total
