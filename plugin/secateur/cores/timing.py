"""What a core's timing is made of: a table of costs, or a pipeline. targets/ applies them.

Every number is a `Rule`, which knows where it is from; docs/cycle-model.md shows them all, and a
test refuses one without a source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

#: Which end of what a source leaves open.
Bound = Literal["low", "middle", "high"]
BOUNDS: tuple[Bound, ...] = ("low", "middle", "high")


class Rule(float):
    """A number of cycles and where it is from.

    Where the source gives a range the number is what is counted, `low` and `high` are its ends.
    """

    source: str
    low: float
    high: float

    def __new__(
        cls, cycles: float, source: str, low: float | None = None, high: float | None = None
    ) -> Rule:
        self = super().__new__(cls, cycles)
        self.source = source
        self.low = float(cycles if low is None else low)
        self.high = float(cycles if high is None else high)
        if not self.low <= self <= self.high:
            raise ValueError(f"{cycles} is not between {low} and {high}")
        return self

    def __getnewargs__(self) -> tuple[float, str, float, float]:  # type: ignore[override]
        return float(self), self.source, self.low, self.high

    @property
    def ranged(self) -> bool:
        """Whether the source leaves it open."""
        return self.low < self.high

    def at(self, bound: Bound) -> Rule:
        """This end of the range, as a rule without one."""
        return Rule({"low": self.low, "middle": float(self), "high": self.high}[bound], self.source)


def between(low: float, high: float, source: str) -> Rule:
    """Where a source gives a range: its middle is counted."""
    return Rule((low + high) / 2, source, low, high)


#: Nothing more.
NONE = Rule(0, "nothing")

#: Cycles until a result can be read: by the ALU, as a factor, as an addend, as an address, by what
#: shifts it or takes bits out of it, and by the ALU beside an operand of which that is done.
Latency = tuple[Rule, Rule, Rule, Rule, Rule, Rule]

#: How a register is read: indices of `Latency`, and by a store of its value.
ALU, FACTOR, ADDEND, ADDRESS, SHIFTED, BESIDE, STORED = range(7)
READERS = ("ALU", "factor", "addend", "address", "shifted", "beside a shifted one")


def latency(alu: Rule | float, source: str = "", **other: float) -> Latency:
    """As many cycles for everybody but the readers named: factor, addend, address, shifted, ..."""
    names = ("factor", "addend", "address", "shifted", "beside")
    if unknown := set(other) - set(names):
        raise ValueError(f"no such reader of a result: {', '.join(sorted(unknown))}")
    first = alu if isinstance(alu, Rule) else Rule(alu, source)
    factor, addend, address, shifted, beside = (
        Rule(other[name], first.source) if name in other else first for name in names
    )
    return first, factor, addend, address, shifted, beside


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

    latency: Mapping[str, Latency]  #: by kind; "alu" for what is not named
    #: Where each of what follows is from, if it is not a number of cycles: by its name.
    because: Mapping[str, str] = field(default_factory=dict)
    width: int = 1  #: instructions a cycle
    blocking: frozenset[str] = frozenset()  #: kinds of a unit that does one at a time
    #: Kinds that keep a unit busy: its name and for how many cycles.
    units: Mapping[str, tuple[str, Rule]] = field(default_factory=dict)
    #: Cycles a multiple load or store takes for a register, rounded up for all of them.
    each: Rule = NONE
    pair: Rule | None = None  #: cycles of `ldrd` and `strd`; None: as two registers
    apart: Callable[[Operation, Operation], bool] | None = None  #: two that do not issue together
    stores_at_once: bool = False  #: a store takes what is computed in its own cycle
    shifted: Latency | None = None  #: of what an ALU computes from a shifted operand
    #: Two ALUs, one behind the other: what the first one could do (`Operation.early`) it does if
    #: the operands are there, and then its result can be read so many cycles later.
    early: Mapping[str, Latency] = field(default_factory=dict)


@dataclass(frozen=True)
class CycleTable:
    """Cycles by kind of instruction for one core.

    What is not named in `costs` takes `other`. A core with a pipeline has its own model of what is
    inside a block, and costs of taken branches alone from here.
    """

    source: str  #: what the table as a whole follows, for reports
    other: Rule
    costs: Mapping[str, Rule] = field(default_factory=dict)
    refill: Rule = NONE  #: more for a taken direct branch
    refill_indirect: Rule = NONE  #: more for a taken branch through a register or the stack
    refills: Mapping[str, Rule] = field(default_factory=dict)  #: instead, by kind of branch
    multiple: Rule = NONE  #: of a multiple load or store, besides one a register
    #: A load behind another takes as many cycles; None: as any other.
    pipelined: Rule | None = None
    address: Rule = NONE  #: more if the instruction before has computed the address
    register_offset: Rule = NONE  #: more for a store to a base and a register
    literal: Rule = NONE  #: more for a load relative to the program counter
    base_update: Rule = NONE  #: more for a load that updates the base the load before has updated
    wide_run: Rule = NONE  #: more for three 4-byte instructions or more in a row across words
    double: Rule = NONE  #: more for a load or store of a register of 64 bits
    load_use: Rule = NONE  #: more if the next instruction reads what a load just brought
    unaligned_target: Rule = NONE  #: more for a branch to a 4-byte instruction across words
    #: Taken branches cost `refill` but for the innermost loop's, which is predicted after its first
    #: turn; where that loop is left it costs so much as well. None: nothing is predicted.
    predicts_last: Rule | None = None
    pipeline: Pipeline | None = None  #: a model of its own for what is inside a block
    #: How far estimates of whole programs may be off, as a fraction, where flash does not wait;
    #: None where nobody has compared them with anything measured.
    error: float | None = None
    error_source: str = ""  #: what that was compared with

    def rules(self) -> Iterator[tuple[str, Rule]]:
        """Every number there is, with its place in the table."""
        return _rules(self, "")

    def at(self, bound: Bound) -> CycleTable:
        """The table with this end of every range."""
        found: CycleTable = _at(self, bound)
        return found

    @property
    def ranged(self) -> bool:
        """Whether a source leaves a number open."""
        return any(rule.ranged for _, rule in self.rules())


def _parts(thing: object) -> Iterator[tuple[str, object]]:
    """What a table, a pipeline, a mapping or a latency is made of."""
    if isinstance(thing, CycleTable | Pipeline):
        yield from ((f.name, getattr(thing, f.name)) for f in fields(thing))
    elif isinstance(thing, Mapping):
        yield from ((str(key), value) for key, value in thing.items())
    elif isinstance(thing, tuple):
        yield from ((READERS[i] if len(thing) > 2 else "", part) for i, part in enumerate(thing))


def _rules(thing: object, place: str) -> Iterator[tuple[str, Rule]]:
    for name, part in _parts(thing):
        where = f"{place}.{name}".strip(".")
        if isinstance(part, Rule):
            if part is not NONE:
                yield where, part
        else:
            yield from _rules(part, where)


def _at(thing: Any, bound: Bound) -> Any:
    if isinstance(thing, Rule):
        return thing.at(bound) if thing.ranged else thing
    if isinstance(thing, CycleTable | Pipeline):
        return replace(thing, **{name: _at(part, bound) for name, part in _parts(thing)})
    if isinstance(thing, Mapping):
        return {key: _at(part, bound) for key, part in thing.items()}
    if type(thing) is tuple:
        return tuple(_at(part, bound) for part in thing)
    return thing
