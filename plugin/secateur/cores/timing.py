"""What a core's timing is made of: a table of costs, or a pipeline. targets/ applies them.

docs/cycle-model.md says where each number is from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

#: Cycles until a result can be read: by the ALU, as a factor, as an addend, as an address.
Latency = tuple[int, int, int, int]

#: How a register is read: indices of `Latency`, and by a store of its value.
ALU, FACTOR, ADDEND, ADDRESS, STORED = range(5)

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


@dataclass(frozen=True)
class Pipeline:
    """In-order issue. Kinds of instructions are those of targets' cycle model, refined."""

    latency: dict[str, Latency]  #: by kind; what is not named takes one cycle for everybody
    width: int = 1  #: instructions a cycle
    blocking: frozenset[str] = frozenset()  #: kinds of a unit that does one at a time
    halves: bool = False  #: multiple loads and stores move two registers a cycle
    apart: Callable[[Operation, Operation], bool] | None = None  #: two that do not issue together
    stores_at_once: bool = False  #: a store takes what is computed in its own cycle
    shifted: Latency | None = None  #: of what an ALU computes from a shifted operand


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
