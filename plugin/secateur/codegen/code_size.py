"""How many bytes generated C becomes on a core: measured where its like has been compiled before,
else estimated from its text.

code_sizes.json holds what `python -m benchmarks.code_size --fit` found in compiled objects, for
every core and both ways to compile ("fast" and "small"): bytes of functions by a key of their text
(numbers apart, which hardly matter), bytes of what of the runtime and the compiler's library they
call and a program has once (in linked libraries, where compilers adapt it to its calls), and prices
of what stands in a text that is not among them. What `NAME_run` and the check of the constants take
beside the functions has prices fitted to linked libraries, and start-up code and vectors of an
image are what one has beside its library. The same command says how far off the estimates of whole
libraries are, `python -m benchmarks.code_networks` those of the benchmarks' images.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources
from typing import Any

from .. import cores
from .emit import CFunction, is_apart
from .library import Library

#: How a library is compiled.
MODES = ("fast", "small")

_NUMBER = re.compile(r"\b0x[0-9a-fA-F]+u?\b|(?<![A-Za-z])\d+u?\b|_?(?<=[a-z_])\d+(?=_|\b|x)")
_NAME = re.compile(r"(\w+)\(")
_ATTRIBUTES = re.compile(r"__attribute__\(\([\w, ]+\)\)")

#: Bytes of an element of a table in a function.
_ELEMENTS = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}

#: What is written into its callers: of no bytes by itself.
_INLINED = re.compile(r"^\s*(?:/\*.*?\*/\s*)?SC_INLINE\b", re.S)

#: Identifiers that are statements or types, not calls.
_WORDS = frozenset(["if", "for", "while", "return", "switch", "sizeof", "defined"])

#: What else is counted in C.
_COUNTED = {
    what: re.compile(pattern)
    for what, pattern in {
        "if": r"\bif \(",
        "loop": r"\b(?:for|while) \(",
        "?": r" \? ",
        "add": r" [-+] ",
        "multiply": r" \* ",
        "divide": r" [/%] ",
        "bits": r" [|&^] | << | >> ",
        "assign": r" (?:[-+*|&^]|<<|>>)?= ",
        "compare": r" (?:[=!<>]=|[<>]|&&|\|\|) ",
        "index": r"\[",
        "step": r"\+\+|--",
        "load": r"[(=,] ?\*\w",
        "cast": r"\(u?int(?:8|16|64)_t\)",
        "long": r"\bu?int64_t\b",
        "number": r"\b(?:\d{3,}|0x[0-9a-fA-F]{3,})u?\b",
    }.items()
}

#: Mnemonics of two bytes where their registers are low ones.
_NARROW = re.compile(
    r"(adds?|subs?|movs?|ands?|orrs?|eors?|lsls?|lsrs?|asrs?|cmp|ldr[bh]?|str[bh]?|ldrs[bh]|muls?|"
    r"uxt[bh]|sxt[bh]|b(eq|ne|cs|cc|hs|lo|ge|lt|gt|le|hi|ls|mi|pl)?|bx|blx|push|pop|stm\w*|ldm\w*|"
    r"negs?|rsbs?|bics?|mvns?|tst|nop|it\w*)(\.n)?$"
)
_TAKE_HIGH = frozenset(["push", "pop", "bx", "mov", "add", "cmp"])
_TAKE_ANY = frozenset(["mov", "bx"])
_HIGH = re.compile(r"\b(r8|r9|r1[0-2]|sl|fp|ip|lr)\b")


def compiled_texts(functions: Iterable[CFunction], isa: str) -> dict[str, str]:
    """The texts that become functions of their own on cores with `isa`, by name; behind each, those
    of what is written into it."""
    texts = {f.name: text for f in functions if (text := f.form(isa).strip())}
    inlined = {n for n, text in texts.items() if _INLINED.match(text)}
    out = {}
    for name, text in texts.items():
        if name in inlined:
            continue
        parts = [text]
        for part in parts:  # grows while it is walked
            called = (n for n in _NAME.findall(part) if n in inlined)
            parts += [t for n in called if (t := texts[n]) not in parts]
        out[name] = "\n".join(parts)
    return out


def plain_text(text: str) -> str:
    """A function's text without comments, numbers, and what a model calls its arrays."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    if name := _NAME.search(_ATTRIBUTES.sub(" ", text)):
        text = re.sub(rf"\b{name[1]}\b", "F", text)
    text = re.sub(r"\b\w+_q\b", "Q", text)
    text = _NUMBER.sub("#", text)
    return re.sub(r"_#", "#", re.sub(r"\s+", " ", text)).strip()


def key_of(text: str) -> str:
    """What functions share that differ in numbers only."""
    return hashlib.blake2s(plain_text(text).encode(), digest_size=4).hexdigest()


def stem_of(text: str) -> str:
    """A function's name without its numbers: what made it, and the decoder it calls."""
    bare = _ATTRIBUTES.sub(" ", re.sub(r"/\*.*?\*/", " ", text, flags=re.S))
    name = _NAME.search(bare)
    bare = re.sub(r"\d+x?|(?<=_)[a-z]?\d+", "", name[1] if name else "")
    return re.sub(r"_+", "_", bare).strip("_")


def counted(text: str) -> Counter[str]:
    """What stands in the text of a function or a step."""
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    out: Counter[str] = Counter({"function": 1})
    for m in re.finditer(r"static const (\w+) \w+\[\d*\] = \{([^}]*)\}", text):
        out["table"] += _ELEMENTS.get(m[1], 4) * (m[2].count(",") + 1)
    text = re.sub(r"static const \w+ \w+\[\d*\] = \{[^}]*\};", " ", text)
    for m in re.finditer(r'"((?:\\.|[^"\\])*)"', text):
        for line in re.split(r"\\n|;", m[1]):
            instruction = re.sub(r"\\t|^\s*\w+:", "", line).strip()
            if instruction:
                out["asm narrow" if _is_narrow(instruction) else "asm wide"] += 1
    code = re.sub(r'"(?:\\.|[^"\\])*"', " ", text)
    for name in re.findall(r"\b([A-Za-z_]\w*)\(", code):
        if name.startswith(("sc_", "memcpy")):
            out[f"call {name}"] += 1
        elif name not in _WORDS and not name.startswith("__"):
            out["call"] += 1
    for what, pattern in _COUNTED.items():
        out[what] = len(pattern.findall(code))
    return +out


def step_counts(steps: Sequence[str], arrays: int, wide: bool = False) -> dict[str, float]:
    """What `NAME_run` and the check of the constants consist of; `wide`: an array has 64 KiB or
    more, so that the sizes of all are kept as words."""
    text = "\n".join(re.sub(r"/\*.*?\*/", " ", s, flags=re.S) for s in steps)
    return {
        "library": 1.0,
        "calls": float(len(re.findall(r"\b(?!if|for|while|return)[a-z_]\w*\(", text))),
        "arguments": float(text.count(",")),
        "places": float(text.count("arena")),
        "checks": float(text.count("return")),
        "loops": float(len(re.findall(r"\b(?:for|while) \(", text))),
        "arrays": float(arrays),
        "wide": float(arrays * wide),
    }


def _is_narrow(instruction: str) -> bool:
    mnemonic, _, operands = instruction.partition(" ")
    if not _NARROW.match(mnemonic):
        return False
    if mnemonic in _TAKE_HIGH:
        return "r8" not in operands or mnemonic in _TAKE_ANY
    return not _HIGH.search(operands)


@dataclass(frozen=True)
class CodeSizes:
    """What is known of a core and a way to compile."""

    functions: Mapping[str, int]  #: by `key_of`: bytes
    uses: Mapping[str, tuple[str, ...]]  #: by `key_of` or `stem_of`: names of what they call
    helpers: Mapping[str, float]  #: bytes of what a program has once
    called: Mapping[str, tuple[str, ...]]  #: what those call themselves
    stems: Mapping[str, float]  #: by `stem_of`: measured bytes relative to the text's prices
    prices: Mapping[str, float]  #: of what `counted` counts
    #: of what `step_counts` counts; of what `joined` counts: what it saves or costs that functions
    #: are parts of a whole
    steps: Mapping[str, float]

    def own(self, text: str) -> float:
        """Bytes that a function of this text adds to a library."""
        counts = self.joined(text)
        return self.apart(text) + sum(n * self.steps.get(w, 0.0) for w, n in counts.items())

    def joined(self, text: str) -> dict[str, float]:
        """A function that stays one, or one that compilers may write into its callers."""
        if is_apart(text):
            return {"apart": 1.0, "apart bytes": self.apart(text)}
        return {"functions": 1.0, "bytes": self.apart(text)}

    def apart(self, text: str) -> float:
        """Bytes of a function of this text that stands alone."""
        found: float | None = self.functions.get(key_of(text))
        if found is None:
            priced = sum(n * self.prices.get(what, 0.0) for what, n in counted(text).items())
            found = max(2.0, priced) * self.stems.get(stem_of(text), 1.0)
        return found

    def used(self, text: str) -> dict[str, float]:
        """What it calls, and what that calls, with bytes."""
        key = key_of(text)
        names = self.uses.get(key, ())  # of what is known and has none it calls nothing
        if key not in self.functions:
            names = names or self.uses.get(stem_of(text), ())
        out: dict[str, float] = {}
        while names:
            out |= {n: float(self.helpers[n]) for n in names if n in self.helpers}
            names = tuple(m for n in names for m in self.called.get(n, ()) if m not in out)
        return out


@cache
def _table() -> dict[str, Any]:
    text = (resources.files("secateur.codegen") / "code_sizes.json").read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _measured(core: str) -> str:
    """`core`, or another one of its instruction set where nobody has measured it."""
    row, known = cores.get(core), _table()["cores"]
    alike = [c for c in known if cores.get(c).isa == row.isa]
    return row.priced_as if row.priced_as in known else (alike or [cores.DEFAULT])[0]


@cache
def startup_bytes(core: str) -> int:
    """Bytes of start-up code and vectors in an image."""
    return int(_table()["cores"].get(_measured(core), {}).get("startup", 0))


@cache
def sizes_of(core: str, small: bool) -> CodeSizes:
    """What is known of `core`; of another one of its instruction set where nobody has measured."""
    name, table, mode = _measured(core), _table(), MODES[small]
    if name not in table["cores"]:  # nothing is measured yet
        return CodeSizes({}, {}, {}, {}, {}, {"function": 200.0}, {"library": 400.0})
    known = table["cores"][name][mode]
    keys = table["keys"][cores.get(name).isa]
    uses = table["uses"][cores.get(name).isa][mode]
    return CodeSizes(
        {k: n for k, n in zip(keys, known["functions"], strict=True) if n is not None},
        {k: tuple(v.split()) for k, v in uses.items()},
        known["helpers"] | known.get("linked", {}),
        {k: tuple(v.split()) for k, v in known["called"].items()},
        known["stems"],
        known["prices"],
        known["steps"],
    )


@lru_cache(maxsize=16384)
def pieces(text: str, core: str, small: bool) -> Mapping[str, float]:
    """Bytes on a core, compiled for speed or (small) for size: of a function's `text`, and of what
    it uses that a program has once."""
    sizes = sizes_of(core, small)
    return {text: sizes.own(text)} | sizes.used(text)


def step_bytes(
    steps: Sequence[str], arrays: int, core: str, small: bool, wide: bool = False
) -> float:
    """Bytes of what calls the functions and checks `arrays` constants (`step_counts`)."""
    prices = sizes_of(core, small).steps
    return sum(n * prices.get(what, 0.0) for what, n in step_counts(steps, arrays, wide).items())


def library_bytes(library: Library, core: str) -> float:
    """Bytes of a library's code on a core."""
    found: dict[str, float] = {}
    for its in library.functions:
        for text in compiled_texts(its, cores.get(core).isa).values():
            found |= pieces(text, core, library.small)
    calling = step_bytes(library.steps, library.tables, core, library.small, library.wide)
    return calling + sum(found.values())
