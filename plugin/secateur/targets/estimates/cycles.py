"""Cycle estimates: a core's cost table (secateur.cores), applied to the blocks a run executed.

Costs are those of the cores' technical reference manuals for zero-wait-state memory, in processor
cycles; where a source gives a range, the middle is counted and both ends as well (`Span`).
docs/cycle-model.md derives them, says what is left out and shows how far hand-counted
loops and published figures are from them.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from ... import cores
from ...cores import CycleTable
from ...cores.timing import BOUNDS, MULTIPLE, STORED, Bound
from ...errors import TargetError
from .blocks import Instruction
from .pipeline import cycles as pipeline_cycles
from .pipeline import operation, refine

#: (block before, block): how often control went from one to the other. A block is
#: (address, size in bytes); None before the first.
Block = tuple[int, int]
Edge = tuple[Block | None, Block]

_CONDITION = "(?:eq|ne|cs|hs|cc|lo|mi|pl|vs|vc|hi|ls|ge|lt|gt|le)?"


def _patterns(table: str, before: str = "", behind: str = "") -> list[tuple[str, re.Pattern[str]]]:
    """Rows of the cost table with the mnemonics that belong to them, from lines "row: mnemonics";
    patterns of what may stand before and behind each."""
    rows = (line.split(": ", 1) for line in table.strip().splitlines())
    return [(kind, re.compile(rf"{before}(?:{names}){behind}$")) for kind, names in rows]


_ARM_KINDS = _patterns(
    r"""
call: bl|blx
indirect: bx|bxns|blxns
compare-branch: cbz|cbnz
table: tbb|tbh
loop-end: le|letp
branch: b|wls|wlstp
pop: pop
push: push
load-multiple: ldm\w*?|vldm\w*|vpop
store-multiple: stm\w*?|vstm\w*|vpush
load-double: ldrd
store-double: strd
store-float: vstr
load: ldr\w*?|vldr
store: str\w*?
divide: sdiv|udiv
multiply-long: smull|umull
multiply-long-add: smlal\w*?|umlal|umaal|smlsld\w*?
multiply-add: mla|mls|smla\w+?|smmla\w*?|smmls\w*?|smlsd\w*?
multiply: mul|muls|smul\w+?|smmul\w*?|smuad\w*?|smusd\w*?
it: it[te]*
system: mrs|msr|dsb|dmb|isb|cps\w*|svc|wfi|wfe
float-divide: vdiv\.f32|vsqrt\.f32
float-multiply-add: v(?:fn?m[as]|n?ml[as])\.f32
""",
    behind=rf"{_CONDITION}(?:\.[wn])?",
)
_RISCV_KINDS = _patterns(
    r"""
branch: b(?:eq|ne|lt|ge|ltu|geu|eqz|nez|lez|gez|ltz|gtz)
call: jal|j
indirect: jalr|jr|ret
load: l[wbh]u?|lwsp
store: s[wbh]|swsp
multiply: mul|mulh\w*
divide: divu?|remu?
system: csr\w+|fence\w*|ecall|ebreak|mret|wfi
""",
    before=r"(?:c\.)?",
)


@lru_cache(maxsize=4096)
def kind(mnemonic: str, riscv: bool) -> str:
    """The row of the cost table an instruction belongs to."""
    for name, pattern in _RISCV_KINDS if riscv else _ARM_KINDS:
        if pattern.match(mnemonic):
            return name
    return "alu"


class Span(NamedTuple):
    """Cycles: what is counted, and between what sources leave it open."""

    low: float = 0.0
    middle: float = 0.0
    high: float = 0.0

    def plus(self, other: Span, times: float = 1.0) -> Span:
        """The sum with `other`, so many times."""
        return Span(*(a + b * times for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> Span:
        """So many times as much."""
        return Span(*(factor * a for a in self))


NOTHING = Span()


@lru_cache
def table(core: str, bound: Bound = "middle") -> CycleTable:
    """The core's cost table, with this end of its ranges. Raises TargetError if there is none."""
    costs = cores.get(core).cycles
    if costs is None:
        able = (name for name in cores.names() if cores.get(name).cycles)
        raise TargetError(f"core {core} has no cycle table: {', '.join(able)} have one")
    return costs if bound == "middle" else costs.at(bound)


@lru_cache
def _open(core: str) -> tuple[frozenset[str], bool]:
    """Kinds of instructions whose cycles the core's sources leave open ("*": any), and whether they
    do so of branches."""
    kinds, branches = set(), False
    for place, rule in table(core).rules():
        if not rule.ranged:
            continue
        head, _, rest = place.partition(".")
        if head.startswith("refill"):
            branches = True
        elif head == "costs":
            kinds.add(rest)
        elif place.startswith("pipeline.latency."):
            kinds.add(rest.split(".")[1])
        elif place == "pipeline.each":
            kinds.update(MULTIPLE)
        else:
            kinds.add("*")
    return frozenset(kinds), branches


def _registers(operands: str) -> list[str]:
    return re.findall(r"\b(?:r\d+|s\d+|d\d+|a\d|t\d|ra|sp|lr|pc|ip|fp|sb|sl|gp|tp)\b", operands)


def _count(operands: str) -> int:
    """How many words a {list} of registers takes; capstone writes every register."""
    inside = operands[operands.find("{") :] if "{" in operands else operands
    return max(1, sum(2 if r.startswith("d") else 1 for r in _registers(inside)))


def _destination(instruction: Instruction, what: str) -> str | None:
    if what.startswith(("store", "push", "branch", "call", "indirect", "compare")):
        return None
    registers = _registers(instruction.operands)
    return registers[0] if registers else None


@dataclass(frozen=True)
class _Access:
    """What a load's or store's operands say."""

    pointers: frozenset[str]  #: registers of the address
    indexed: bool  #: by a register
    literal: bool  #: relative to the program counter
    updates: str | None  #: the base, where it is written back


@lru_cache(maxsize=4096)
def _access(operands: str) -> _Access:
    inside = re.search(r"\[(.*?)\](!|, #| *, *#)?", operands)
    if inside is None:  # several registers: rN or rN!, {...}
        base = re.match(r"(\w+)(!?), \{", operands)
        pointers = frozenset([base[1]]) if base else frozenset()
        return _Access(pointers, False, False, base[1] if base and base[2] else None)
    names = _registers(inside[1])
    updates = names[0] if names and inside[2] else None
    return _Access(frozenset(names), len(names) > 1, "pc" in names, updates)


def block_span(code: list[Instruction], core: str) -> Span:
    """Cycles of a block whose last instruction does not branch away, from the least to the most."""
    middle = block_cycles(code, core)
    found, _ = _open(core)
    riscv = cores.get(core).riscv
    if not found or not ("*" in found or any(_kinds(i, riscv) & found for i in code)):
        return Span(middle, middle, middle)
    return Span(*(block_cycles(code, core, bound) for bound in BOUNDS))


def _kinds(instruction: Instruction, riscv: bool) -> set[str]:
    what = kind(instruction.mnemonic, riscv)
    return {what, refine(what, instruction.mnemonic)}


def block_cycles(code: list[Instruction], core: str, bound: Bound = "middle") -> float:
    """Cycles of a block whose last instruction does not branch away."""
    costs, riscv = table(core, bound), cores.get(core).riscv
    kinds = [kind(i.mnemonic, riscv) for i in code]
    if costs.pipeline is not None:
        operations = [operation(i, k) for i, k in zip(code, kinds, strict=True)]
        return pipeline_cycles(operations, costs.pipeline)
    total = float(costs.wide_run * _wide_runs(code)) if costs.wide_run else 0.0
    before = ""  #: kind of the instruction before
    written: str | None = None  #: register it wrote
    updated: str | None = None  #: base it wrote back
    for instruction, what in zip(code, kinds, strict=True):
        operands = instruction.operands
        cost = float(costs.costs.get(what, costs.other))
        moves = what.startswith(("load", "store"))
        access = _access(operands) if moves else None
        waits = access is not None and written in access.pointers
        if what in ("push", "pop", "load-multiple", "store-multiple"):
            cost = costs.multiple + _count(operands)
        elif what in ("load-double", "store-double"):
            cost = costs.multiple + 2
        elif what in ("load", "store-float") and operands.startswith("d"):
            cost += costs.double
        if access is not None:
            if what == "load":
                if costs.pipelined is not None and before == "load" and not waits:
                    cost -= costs.costs["load"] - costs.pipelined
                    if updated and updated == access.updates:
                        cost += costs.base_update
                cost += costs.literal if access.literal else 0
            if what == "store" and access.indexed:
                cost += costs.register_offset
            if waits and not before.startswith("load"):
                cost += costs.address
        if costs.load_use and before == "load" and _reads(instruction, what, written):
            cost += costs.load_use
        total += cost
        before, written = what, _destination(instruction, what)
        updated = access.updates if access is not None and what == "load" else None
    return total


def _reads(instruction: Instruction, what: str, register: str | None) -> bool:
    """Whether an instruction reads the register, but for a store of its value, which comes late."""
    reads = operation(instruction, what).reads
    return any(register == name and use != STORED for name, use in reads)


def _wide_runs(code: list[Instruction]) -> int:
    """Runs of three 4-byte instructions or more that lie across words."""
    found = length = 0
    for instruction in code:
        length = length + 1 if instruction.size == 4 and instruction.address & 2 else 0
        found += length == 3
    return found


def taken_span(last: Instruction, target: Instruction, core: str) -> Span:
    """`taken_cycles`, from the least to the most."""
    middle = taken_cycles(last, target, core)
    if not _open(core)[1]:
        return Span(middle, middle, middle)
    return Span(*(taken_cycles(last, target, core, bound) for bound in BOUNDS))


def taken_cycles(
    last: Instruction, target: Instruction, core: str, bound: Bound = "middle"
) -> float:
    """What a block costs more because its last instruction branched to `target`."""
    costs = table(core, bound)
    what = kind(last.mnemonic, cores.get(core).riscv)
    indirect = what in ("indirect", "pop", "load", "load-multiple", "table", "alu")
    usual = costs.refill_indirect if indirect else costs.refill
    extra = float(costs.refills.get(what, usual))
    if target.size == 4 and target.address & 2:
        extra += costs.unaligned_target
    return extra


def estimate(
    edges: Counter[Edge],
    decode: dict[Block, list[Instruction]],
    core: str,
) -> Span:
    """Cycles of everything executed, if no memory waits (flash that does: `flash.Waits`)."""
    blocks: dict[Block, Span] = {}
    total = NOTHING
    predicted = _predicted(edges, decode, core)
    for (before, block), times in edges.items():
        if block not in blocks:
            blocks[block] = block_span(decode[block], core)
        total = total.plus(blocks[block], times)
        if before is not None and before[0] + before[1] != block[0]:
            right = predicted.get((before, block), 0)
            taken = taken_span(decode[before][-1], decode[block][0], core)
            total = total.plus(taken, times - right)
    return total


def _predicted(
    edges: Counter[Edge], decode: dict[Block, list[Instruction]], core: str
) -> dict[Edge, float]:
    """How often a core that remembers the last backward branch has saved its refill.

    The branch is forgotten when it is not taken or when another one back is; either costs a refill
    when it is taken next, and not to take it costs one as well, which is subtracted here. How often
    that was is told from how often each loop was left and other branches inside it were taken.
    """
    costs = table(core)
    if costs.predicts_last is None:
        return {}
    back: Counter[tuple[int, Edge]] = Counter()
    others: Counter[int] = Counter()  #: by address: how often it may have made a loop be forgotten
    left: Counter[int] = Counter()
    for (before, block), times in edges.items():
        if before is None:
            continue
        last = decode[before][-1]
        what = kind(last.mnemonic, True)
        taken = before[0] + before[1] != block[0]
        if what == "branch" and not taken:
            left[last.address] += times
        elif what == "branch" and block[0] <= last.address:
            back[last.address, (before, block)] += times
        elif what == "call" and last.mnemonic.endswith("jal"):
            others[last.address] += times
    for (address, _), times in back.items():
        others[address] += min(times, left[address])  # once each time it was gone round
    saved = {}
    for (address, edge), times in back.items():
        inside = sum(n for at, n in others.items() if edge[1][0] <= at < address)
        exits = min(times, left[address])
        saved[edge] = float(times - min(times, exits + inside) - (0 if inside >= times else exits))
    return saved
