"""In-order pipelines with result latencies, for cores whose cost is no sum over instructions.

A block's instructions issue in order, one or two a cycle; each waits until what it reads is there.
What a result takes depends on who reads it: the ALU, the multiplier, its accumulator, an address.
docs/cycle-model.md says where each number is from.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from .blocks import Instruction

#: Cycles until a result can be read: by the ALU, as a factor, as an addend, as an address.
Latency = tuple[int, int, int, int]
_ALU, _FACTOR, _ADDEND, _ADDRESS, _STORED = range(5)


@dataclass(frozen=True)
class Pipeline:
    """One core. Kinds of instructions are those of cycles.py, refined by `refine`."""

    latency: dict[str, Latency]  #: by kind; what is not named takes one cycle for everybody
    width: int = 1  #: instructions a cycle
    blocking: frozenset[str] = frozenset()  #: kinds of a unit that does one at a time
    halves: bool = False  #: multiple loads and stores move two registers a cycle
    apart: Callable[[_Op, _Op], bool] | None = None  #: whether two cannot issue together
    stores_at_once: bool = False  #: a store takes what is computed in its own cycle


@dataclass(frozen=True)
class _Op:
    """An instruction as the pipeline sees it."""

    kind: str
    reads: tuple[tuple[str, int], ...]  #: (register, as what)
    writes: tuple[str, ...]
    address: str  #: text in brackets, for loads and stores
    shifted: bool  #: an operand is shifted on the way


_REGISTER = re.compile(r"\b(?:r\d+|s\d+|d\d+|a\d|t\d|ra|sp|lr|pc|ip|fp|sb|sl|gp|tp|zero)\b")
_TWO_OPERANDS = re.compile(r"(?:c\.)?(?:add|sub|and|orr?|x?eor|xor|bic)")
_MULTIPLE = ("push", "pop", "load-multiple", "store-multiple", "load-double", "store-double")
_NO_RESULT = ("store", "branch", "compare-branch", "indirect", "table", "it", "system")
_BITFIELD = re.compile(
    r"[su]xt|[su]bfx|bf[ic]|rev|rbit|pkh|clz|sel|usad|[su]sat|qd?(?:add|sub)"
    r"|(?:[su]h?|u?q)(?:(?:add|sub)(?:8|16)|asx|sax)"
)


def refine(what: str, mnemonic: str) -> str:
    """`load` of a byte or halfword is `load-part`; an ALU's bit field and DSP work `bitfield`."""
    if what == "load" and re.match(r"(?:c\.)?(?:ldrs?[bh]|l[bh])", mnemonic):
        return "load-part"
    if what == "alu" and _BITFIELD.match(mnemonic):
        return "bitfield"
    return what


def operation(instruction: Instruction, what: str) -> _Op:
    """Who reads and writes which register. `what` is the instruction's kind (cycles.py)."""
    mnemonic, operands = instruction.mnemonic, instruction.operands
    kind = refine(what, mnemonic)
    inside = re.search(r"[\[(](.*?)[\])]", operands)
    address = inside[1] if inside else ""
    pointers = _REGISTER.findall(address)
    outside = _REGISTER.findall(re.sub(r"[\[(].*?[\])]", "", operands))
    shifted = bool(re.search(r", (?:lsl|lsr|asr|ror|rrx)\b", operands))
    reads: list[tuple[str, int]] = [(r, _ADDRESS) for r in pointers]
    if kind in _MULTIPLE:
        listed = operands.find("{")
        if listed >= 0:
            base = _REGISTER.findall(operands[:listed])
            names = _REGISTER.findall(operands[listed:])
            reads += [(r, _ADDRESS) for r in base]
        else:
            names = outside
        if kind.startswith(("store", "push")):
            return _Op(kind, tuple(reads + [(r, _STORED) for r in names]), (), address, False)
        return _Op(kind, tuple(reads), tuple(names), address, False)
    if kind.startswith("store"):
        return _Op(kind, tuple(reads + [(r, _STORED) for r in outside]), (), address, False)
    if kind.startswith("load"):
        return _Op(kind, tuple(reads), tuple(outside[:1]), address, False)
    if kind.startswith("multiply"):
        long = kind.startswith("multiply-long")
        written = outside[: 2 if long else 1]
        factors = outside[2 if long else 1 :]
        reads += [(r, _FACTOR) for r in factors[:2]] + [(r, _ADDEND) for r in factors[2:]]
        if len(outside) == 2 and not long:  # muls r0, r1
            reads.append((outside[0], _FACTOR))
        if kind == "multiply-long-add":
            reads += [(r, _ADDEND) for r in written]
        return _Op(kind, tuple(reads), tuple(written), "", False)
    if kind in _NO_RESULT or mnemonic.startswith(("cmp", "cmn", "tst", "teq")):
        return _Op(kind, tuple(reads + [(r, _ALU) for r in outside]), (), "", shifted)
    sources = outside[1:] if len(outside) > 1 else outside
    if len(outside) == 2 and _TWO_OPERANDS.match(mnemonic):
        sources = outside  # the destination is read as well
    return _Op(kind, tuple(reads + [(r, _ALU) for r in sources]), tuple(outside[:1]), "", shifted)


def cycles(operations: list[_Op], core: Pipeline) -> float:
    """Cycles from the first issue to one behind the last."""
    results: dict[str, tuple[int, Latency]] = {}  #: by register: when it was issued, its latency
    busy = 0  #: until when the unit of `blocking` works
    now = -1  #: cycle of the group that is being filled
    group: list[_Op] = []
    hold = 0  #: more cycles the group takes

    def there(register: str, use: int) -> int:
        """When a register can be read."""
        if register not in results:
            return 0
        issued, latency = results[register]
        if use == _STORED:
            return issued if core.stores_at_once else issued + latency[_ALU]
        return issued + latency[use]

    for op in operations:
        earliest = max((there(register, use) for register, use in op.reads), default=0)
        if op.kind in core.blocking:
            earliest = max(earliest, busy)
        together = (
            0 < len(group) < core.width
            and earliest <= now
            and not (core.apart is not None and core.apart(group[-1], op))
        )
        if not together:
            now = max(now + 1 + hold, earliest)
            group, hold = [], 0
        group.append(op)
        if op.kind in _MULTIPLE:
            count = max(1, len(op.writes) or sum(use == _STORED for _, use in op.reads))
            hold = (count + 1) // 2 - 1 if core.halves else count - 1
            group = [op] * core.width  # nothing goes with it
        latency = core.latency.get(op.kind, (1, 1, 1, 1))
        if op.kind in core.blocking:
            busy = now + latency[_ALU]
        for register in op.writes:
            results[register] = (now + hold, latency)
    return float(now + 1 + hold)


def _m7_apart(first: _Op, second: _Op) -> bool:
    """Pairs a Cortex-M7 does not issue in one cycle."""
    a, b = first.kind, second.kind
    if a.startswith("multiply") and b.startswith(("multiply", "store")):
        return True
    if a.startswith("store") and b.startswith(("multiply", "store")):
        return True
    if {a, b} & set(_MULTIPLE) or "divide" in (a, b):
        return True
    if a == b == "bitfield" or ("bitfield" in (a, b) and (first.shifted or second.shifted)):
        return True
    if first.shifted and second.shifted:
        return True
    return a.startswith("load") and b.startswith("load") and not _other_bank(first, second)


def _other_bank(first: _Op, second: _Op) -> bool:
    """Whether two loads go to an even and an odd word: the same base, offsets that tell."""
    found = [re.fullmatch(r"(\w+)(?:, #(-?(?:0x)?[0-9a-f]+))?", op.address)
             for op in (first, second)]  # fmt: skip
    if not found[0] or not found[1] or found[0][1] != found[1][1]:
        return False
    offsets = [int(f[2] or "0", 0) for f in found if f]
    return (offsets[0] // 4 + offsets[1] // 4) % 2 == 1


CORTEX_M7 = Pipeline(
    latency={
        "load": (1, 2, 1, 3), "load-part": (2, 3, 1, 4), "load-double": (1, 2, 1, 3),
        "load-multiple": (1, 2, 1, 3), "pop": (1, 2, 1, 3), "bitfield": (1, 1, 1, 2),
        "multiply": (2, 2, 1, 2), "multiply-add": (2, 2, 1, 2), "multiply-long": (2, 2, 1, 2),
        "multiply-long-add": (2, 2, 1, 2), "divide": (6, 6, 6, 6), "float-divide": (16,) * 4,
    },
    width=2, halves=True, apart=_m7_apart, stores_at_once=True,
)  # fmt: skip

SIFIVE_E31 = Pipeline(
    latency={
        "load": (2,) * 4, "load-part": (3,) * 4, "multiply": (5,) * 4, "divide": (18,) * 4,
        "system": (3,) * 4,
    },
    blocking=frozenset({"multiply", "divide"}),
)  # fmt: skip
