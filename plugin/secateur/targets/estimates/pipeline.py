"""In-order pipelines with result latencies, for cores whose cost is no sum over instructions.

A block's instructions issue in order, one or two a cycle; each waits until what it reads is there.
What a result takes depends on who reads it: the ALU, the multiplier, its accumulator, an address.
docs/cycle-model.md says where each number is from.
"""

from __future__ import annotations

import math
import re

from ...cores import timing
from ...cores.timing import (
    ADDEND,
    ADDRESS,
    ALU,
    BESIDE,
    FACTOR,
    MULTIPLE,
    SHIFTED,
    STORED,
    Latency,
    Operation,
    Pipeline,
)
from .blocks import Instruction

_REGISTER = re.compile(r"\b(?:r\d+|s\d+|d\d+|q\d|a\d|t\d|ra|sp|lr|pc|ip|fp|sb|sl|gp|tp|zero)\b")
_TWO_OPERANDS = re.compile(r"(?:c\.)?(?:add|sub|and|orr?|x?eor|xor|bic)")
_NO_RESULT = (
    "store", "branch", "compare-branch", "indirect", "table", "it", "system", "loop-end",
)  # fmt: skip
_BITFIELD = re.compile(r"[su]xt|[su]bfx|bf[ic]|rev|rbit|clz|[su]sat")
_DSP = re.compile(
    r"[su]xt(?:a|b16)|pkh|sel|usad|[su]sat16|qd?(?:add|sub)"
    r"|(?:[su]h?|u?q)(?:(?:add|sub)(?:8|16)|asx|sax)"
)
_SUM = re.compile(r"(?:add|sub|rsb)[sw]?(?:\.[wn])?$|movs?[wt]?(?:\.[wn])?$")
_SHIFT = re.compile(r"(?:ls[lr]|asr|ror)s?(?:\.[wn])?$")
#: What takes all of its bits out of one register, before an ALU, and what one operand of several.
_FIELD = re.compile(r"[su]bfx|rev|rbit")
_FIELD_BESIDE = re.compile(r"bfi|pkh|[su]xta")
_SETS_FLAGS = re.compile(
    r"(?:cmp|cmn|tst|teq)|(?:add|adc|sub|sbc|rsb|and|orr|eor|bic|mov|mvn|ls[lr]|asr|ror|mul)s"
)
_READS_FLAGS = re.compile(r"adc|sbc|rrx")
_FLAGS = "flags"
_NEXT = timing.latency(1, "flags: as results of the ALU")
_VECTOR = re.compile(r"\bq\d")


def vector_kind(mnemonic: str) -> str:
    """Which unit an instruction on vectors keeps."""
    if re.match(r"v(?:ld|st)(?:r[bhwd]|[24]\d)", mnemonic):
        return "vector-load" if mnemonic.startswith("vld") else "vector-store"
    if re.search(r"\.f(?:16|32)", mnemonic):
        return "vector-float"
    if re.match(r"v\w*ml[as]\w*v", mnemonic):
        return "vector-multiply-sum"
    if re.match(r"v\w*m(?:ul|l[as])", mnemonic):
        return "vector-multiply"
    return "vector-integer"


def refine(what: str, mnemonic: str) -> str:
    """`load` of less than a word is `load-part`; an ALU's: `bitfield`, lanes: `dsp`."""
    if what == "load" and re.match(r"(?:c\.)?(?:ldrs?[bh]|l[bh])", mnemonic):
        return "load-part"
    if what == "alu" and _DSP.match(mnemonic):
        return "dsp"
    if what == "alu" and _BITFIELD.match(mnemonic):
        return "bitfield"
    return what


def operation(instruction: Instruction, what: str) -> Operation:
    """Who reads and writes which register. `what` is the instruction's kind (cycles.py)."""
    mnemonic, operands = instruction.mnemonic, instruction.operands
    kind = refine(what, mnemonic)
    inside = re.search(r"[\[(](.*?)[\])]", operands)
    address = inside[1] if inside else ""
    pointers = _REGISTER.findall(address)
    outside = _REGISTER.findall(re.sub(r"[\[(].*?[\])]", "", operands))
    shifted = bool(re.search(r", (?:lsl|lsr|asr|ror|rrx)\b", operands))
    reads: list[tuple[str, int]] = [(r, ADDRESS) for r in pointers]
    if _VECTOR.search(operands) and mnemonic.startswith("v"):
        kind = vector_kind(mnemonic)
        if kind == "vector-store":
            return Operation(
                kind, tuple(reads + [(r, STORED) for r in outside]), (), address, False
            )
        reads += [(r, ALU) for r in outside[1:]]
        if re.match(r"vq?r?d?ml[as]|v\w*va\b", mnemonic):
            reads += [(r, ADDEND) for r in outside[:1]]
        return Operation(kind, tuple(reads), tuple(outside[:1]), address, False)
    if kind in MULTIPLE:
        listed = operands.find("{")
        if listed >= 0:
            base = _REGISTER.findall(operands[:listed])
            names = _REGISTER.findall(operands[listed:])
            reads += [(r, ADDRESS) for r in base]
        else:
            names = outside
        if kind.startswith(("store", "push")):
            return Operation(kind, tuple(reads + [(r, STORED) for r in names]), (), address, False)
        return Operation(kind, tuple(reads), tuple(names), address, False)
    if kind.startswith("store"):
        return Operation(kind, tuple(reads + [(r, STORED) for r in outside]), (), address, False)
    if kind.startswith("load"):
        return Operation(kind, tuple(reads), tuple(outside[:1]), address, False)
    if kind.startswith("multiply"):
        long = kind.startswith("multiply-long")
        written = outside[: 2 if long else 1]
        factors = outside[2 if long else 1 :]
        reads += [(r, FACTOR) for r in factors[:2]] + [(r, ADDEND) for r in factors[2:]]
        if len(outside) == 2 and not long:  # muls r0, r1
            reads.append((outside[0], FACTOR))
        if kind == "multiply-long-add":
            reads += [(r, ADDEND) for r in written]
        return Operation(kind, tuple(reads), tuple(written), "", False)
    if kind in _NO_RESULT or mnemonic.startswith(("cmp", "cmn", "tst", "teq")):
        flags: tuple[str, ...] = () if kind in _NO_RESULT else (_FLAGS,)
        return Operation(kind, tuple(reads + [(r, ALU) for r in outside]), flags, "", shifted)
    sources = outside[1:] if len(outside) > 1 else outside
    if len(outside) == 2 and _TWO_OPERANDS.match(mnemonic):
        sources = outside  # the destination is read as well
    early = ""
    if _FIELD.match(mnemonic):
        early = "field"
    elif not shifted and _SUM.match(mnemonic):
        early = "sum"
    elif _SHIFT.match(mnemonic):
        early = "shift"
    if early == "field":
        reads += [(r, SHIFTED) for r in sources]
    elif shifted or _FIELD_BESIDE.match(mnemonic):
        reads += [(r, BESIDE) for r in sources[:-1]] + [(r, SHIFTED) for r in sources[-1:]]
        if kind == "bitfield" and len(sources) == 1:
            reads.append((outside[0], BESIDE))  # bfi keeps the rest of its destination
    else:
        reads += [(r, ALU) for r in sources]
    if _READS_FLAGS.match(mnemonic):
        reads.append((_FLAGS, ALU))
    results = tuple(outside[:1]) + ((_FLAGS,) if _SETS_FLAGS.match(mnemonic) else ())
    return Operation(kind, tuple(reads), results, "", shifted, early)


def cycles(operations: list[Operation], core: Pipeline) -> float:
    """Cycles from the first issue to one behind the last."""
    results: dict[str, tuple[float, Latency]] = {}  #: by register: when it was issued, its latency
    busy = 0.0  #: until when the unit of `blocking` works
    now = -1.0  #: cycle of the group that is being filled
    group: list[Operation] = []
    hold = 0.0  #: more cycles the group takes

    def there(register: str, use: int) -> float:
        """When a register can be read."""
        if register not in results:
            return 0.0
        issued, latency = results[register]
        if use == STORED:
            return issued if core.stores_at_once else issued + latency[ALU]
        return issued + latency[use]

    def goes_first(op: Operation) -> bool:
        """Whether the first of two ALUs does it, in the group that is being filled."""
        if op.early not in core.early or (op.early == "sum" and len(group) > 1):
            return False
        if len(group) > 1 and (group[0].shifted or group[0].kind in ("bitfield", "dsp")):
            return False  # its shifter is taken
        return all(there(register, SHIFTED) <= now for register, _ in op.reads)

    units: dict[str, float] = {}  #: until when the units of `units` work
    for op in operations:
        if op.kind == "loop-end":
            continue  # known when the loop begins, and then no instruction
        earliest = max((there(register, use) for register, use in op.reads), default=0.0)
        if op.kind in core.blocking:
            earliest = max(earliest, busy)
        unit, ticks = core.units.get(op.kind, ("", timing.NONE))
        earliest = max(earliest, units.get(unit, 0.0))
        together = (
            0 < len(group) < core.width
            and earliest <= now
            and not (core.apart is not None and core.apart(group[-1], op))
        )
        if not together:
            now = max(now + 1 + hold, earliest)
            group, hold = [], 0.0
        group.append(op)
        if ticks:
            units[unit] = now + ticks
        if op.kind in MULTIPLE:
            count = max(1, len(op.writes) or sum(use == STORED for _, use in op.reads))
            whole = float(math.ceil(count * core.each))
            if core.pair is not None and op.kind in ("load-double", "store-double"):
                whole = core.pair
            hold = max(0.0, whole - 1)
            group = [op] * core.width  # nothing goes with it
        latency = core.latency.get(op.kind) or core.latency["alu"]
        if core.shifted is not None and op.shifted and op.kind == "alu":
            latency = core.shifted
        if goes_first(op):
            latency = core.early[op.early]
        if op.kind in core.blocking:
            busy = now + latency[ALU]
        for register in op.writes:
            results[register] = (now + hold, _NEXT if register == _FLAGS else latency)
    return float(now + 1 + hold)
