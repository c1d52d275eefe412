"""What a core's timing is made of: a table of costs, or a pipeline. targets/ applies them.

docs/cycle-model.md says where each number is from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

#: Cycles until a result can be read: by the ALU, as a factor, as an addend, as an address, by what
#: shifts it or takes bits out of it, and by the ALU beside an operand of which that is done.
Latency = tuple[int, int, int, int, int, int]

#: How a register is read: indices of `Latency`, and by a store of its value.
ALU, FACTOR, ADDEND, ADDRESS, SHIFTED, BESIDE, STORED = range(7)


def latency(alu: int, **other: int) -> Latency:
    """As many cycles for everybody but the readers named: factor, addend, address, shifted, ..."""
    names = ("factor", "addend", "address", "shifted", "beside")
    if unknown := set(other) - set(names):
        raise ValueError(f"no such reader of a result: {', '.join(sorted(unknown))}")
    factor, addend, address, shifted, beside = (other.get(name, alu) for name in names)
    return alu, factor, addend, address, shifted, beside


#: Kinds of instructions that move several registers.
MULTIPLE = (
    "push", "pop", "load-multiple", "store-multiple", "load-double", "store-double",
)  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """An instruction as a pipeline sees it."""

    kind: str
    reads: tuple[tuple[str, int], ...]  #: (register, as what)
    writes: tuple[str, ...]
    address: str  #: text in brackets, for loads and stores
    shifted: bool  #: an operand is shifted on the way
    #: What a first ALU could do of it: "sum" (add, subtract, move), "shift", "field" (that takes
    #: bits out); "" nothing.
    early: str = ""


@dataclass(frozen=True)
class Pipeline:
    """In-order issue. Kinds of instructions are those of targets' cycle model, refined."""

    latency: dict[str, Latency]  #: by kind; "alu" for what is not named, else one cycle
    width: int = 1  #: instructions a cycle
    blocking: frozenset[str] = frozenset()  #: kinds of a unit that does one at a time
    #: Kinds that keep a unit busy: its name and for how many cycles.
    units: dict[str, tuple[str, int]] = field(default_factory=dict)
    halves: bool = False  #: multiple loads and stores move two registers a cycle
    apart: Callable[[Operation, Operation], bool] | None = None  #: two that do not issue together
    stores_at_once: bool = False  #: a store takes what is computed in its own cycle
    shifted: Latency | None = None  #: of what an ALU computes from a shifted operand
    #: Two ALUs, one behind the other: what the first one could do (`Operation.early`) it does if
    #: the operands are there, and then its result can be read so many cycles later.
    early: dict[str, Latency] = field(default_factory=dict)


@dataclass(frozen=True)
class CycleTable:
    """Cycles by kind of instruction for one core; anything not named takes one."""

    source: str
    costs: dict[str, int] = field(default_factory=dict)
    refill: int = 0  #: more for a taken direct branch
    refill_indirect: int = 0  #: more for a taken branch through a register or the stack
    refill_more: dict[str, int] = field(default_factory=dict)  #: more still, by kind of branch
    multiple: int = 1  #: of a multiple load or store, besides one a register
    pipelined: bool = False  #: a load behind another, and every store, takes one cycle
    address: int = 0  #: more if the instruction before has computed the address
    register_offset: int = 0  #: more for a store to a base and a register
    literal: int = 0  #: more for a load relative to the program counter
    base_update: int = 0  #: more for a load that updates the base the load before has updated
    wide_run: int = 0  #: more for three 4-byte instructions or more in a row across words
    load_use: int = 0  #: more if the next instruction reads what a load just brought
    unaligned_target: int = 0  #: more for a branch to a 4-byte instruction across words
    #: Taken branches cost `refill` but for the innermost loop's, which is predicted after its first
    #: turn; where that loop is left it costs `refill` as well.
    predicts_last: bool = False
    pipeline: Pipeline | None = None  #: a model of its own for what is inside a block
    #: How far estimates of whole programs may be off, as a fraction, where flash does not wait
    #: (docs/cycle-model.md); None where nobody has compared them with anything measured.
    error: float | None = None
