"""Small pieces of C: arrays, functions, templates."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import Any

import jinja2
import numpy as np

from .. import names

#: C element type -> NumPy dtype (little endian, as on every target).
DTYPES = {
    "int8_t": "<i1",
    "uint8_t": "<u1",
    "int16_t": "<i2",
    "uint16_t": "<u2",
    "int32_t": "<i4",
    "uint32_t": "<u4",
}

#: NumPy's name of a tensor's or an end's type -> C type of an element.
CTYPES = {
    "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t",
    "float32": "float",
}  # fmt: skip


@dataclass(frozen=True)
class CArray:
    """A const array of the generated library."""

    name: str
    ctype: str
    values: np.ndarray
    comment: str = ""
    #: What its bits are for (`coding.base.causes`); the rest of it is padding. Empty: all "value".
    bits: Mapping[str, int] = field(default_factory=dict)
    #: Layers of a model that have an array of this name have one.
    shared: bool = False

    @property
    def size(self) -> int:
        """Bytes in flash."""
        return int(self.values.size) * np.dtype(DTYPES[self.ctype]).itemsize

    @property
    def content(self) -> bytes:
        """What lies in flash; C has no empty arrays, so one zero where there are no values."""
        values = self.values.reshape(-1) if self.values.size else np.zeros(1)
        return values.astype(DTYPES[self.ctype]).tobytes()

    def definition(self, storage: str = "") -> str:
        """The C definition, sixteen or so values a line; `storage` comes before it."""
        flat = list(map(str, self.values.reshape(-1).astype(np.int64).tolist())) or ["0"]
        ends = list(accumulate(len(v) + 2 for v in flat))
        lines, first, before = [], 0, 0
        while first < len(flat):
            last = bisect_right(ends, before + 95, first)
            lines.append(f"    {', '.join(flat[first:last])},")
            first, before = last, ends[last - 1]
        note = f"/* {names.comment(self.comment)} */\n" if self.comment else ""
        return (
            f"{note}{storage}const {self.ctype} {self.name}[{len(flat)}] = {{\n"
            + "\n".join(lines)
            + "\n};\n"
        )

    def declaration(self) -> str:
        """The C declaration."""
        return f"extern const {self.ctype} {self.name}[{max(1, self.values.size)}];\n"


#: Instruction sets that code is written for (`cores.Core.isa`), the richest first: a core of one
#: executes what is written for those behind it, too. With the macro that sc_port.h sets to 1 there.
ISAS = {"helium": "SC_MVE", "dsp": "SC_DSP", "plain": ""}


@dataclass(frozen=True)
class CFunction:
    """A static function; two layers whose text is the same share it."""

    name: str
    text: str  #: C11 that every core executes
    #: by instruction set (ISAS) the text that takes its place there; "" where it is not called
    forms: Mapping[str, str] = field(default_factory=dict)

    def form(self, isa: str) -> str:
        """The text for cores with `isa`: of what they execute, the richest."""
        order = list(ISAS)
        return next(
            (self.forms[i] for i in order[order.index(isa) :] if i in self.forms), self.text
        )

    def code(self, isas: Sequence[str]) -> str:
        """C for cores with any of `isas` (the richest first); the compiler of one takes its own."""
        forms: list[tuple[str, str]] = []  # those that differ, with the poorest set that takes it
        for isa in isas:
            text = self.form(isa).strip()
            if forms and forms[-1][1] == text:
                forms.pop()
            forms.append((isa, text))
        if len(forms) == 1:
            return forms[0][1]
        wanted = [i for i, (_, text) in enumerate(forms) if text]
        if len(wanted) == 1:
            i = wanted[0]
            isa, text = forms[i]
            terms = [f"!{ISAS[forms[i - 1][0]]}"] if i else []
            terms += [ISAS[isa]] if i + 1 < len(forms) else []
            return f"#if {' && '.join(reversed(terms))}\n{text}\n#endif"
        out = []
        for i, (isa, text) in enumerate(forms):
            out.append("#else" if i + 1 == len(forms) else f"#{'el' if i else ''}if {ISAS[isa]}")
            out.append(text or "/* not called */")
        return "\n".join([*out, "#endif"])


#: Statements from which on a function is no part of its caller. A compiler would write what is
#: called once into it, down to NAME_run, where the loops of many layers share one set of registers:
#: up to a fifth more instructions than the same code apart, and another size than was planned with.
APART_STATEMENTS = 20

#: A static function's head, with its body where that follows.
FUNCTION = re.compile(
    r"^(?P<attributes>__attribute__\(\([\w, ]+\)\) )?static (?:[\w*]+ )+\*?\w+\("
    r"(?P<body>[^;{]*\{.*?^\})?",
    re.M | re.S,
)


def is_long(function: re.Match[str]) -> bool:
    """Whether what `FUNCTION` found has to say that it stays a function."""
    statements = (function["body"] or "").count(";")
    return function["attributes"] is None and statements >= APART_STATEMENTS


#: The head of a function that says itself that it stays one.
_STAYS = re.compile(r"^SC_NOINLINE\b", re.M)


def is_apart(text: str) -> bool:
    """Whether a function of this text (or the first one in it) stays one."""
    m, stays = FUNCTION.search(text), _STAYS.search(text)
    if stays is not None and (m is None or stays.start() < m.start()):
        return True
    return m is not None and (m["attributes"] is not None or is_long(m))


@dataclass(frozen=True)
class Constant:
    """A const object that is not an array: a decoder's descriptor."""

    text: str
    size: int  #: bytes in flash
    macros: dict[str, int] = field(default_factory=dict)  #: minima of macros its header needs


@dataclass
class Emission:
    """What a kernel contributes to the library for one layer."""

    call: str  #: C statement(s) of the layer; in a chain, of some of its rows
    functions: list[CFunction] = field(default_factory=list)  #: in order of definition
    headers: list[str] = field(default_factory=list)  #: coding headers the functions include
    setup: str = ""  #: C statement(s) before the first call: unpacking of its weights


#: Bytes of a row up to which a compiler writes its copy out.
WRITTEN_OUT = 32


def copying(count: int) -> str:
    """The C function that copies a row of `count` bytes."""
    return "memcpy" if count <= WRITTEN_OUT else "sc_copy"


@cache
def environment() -> jinja2.Environment:
    """The templates of codegen/templates; an undefined name is an error."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("secateur.codegen", "templates"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,
    )
    env.globals["range"] = range
    env.globals["copying"] = copying
    env.filters["plus"] = plus
    env.tests["near"] = near
    return env


@cache
def templates() -> frozenset[str]:
    """Names of all templates."""
    return frozenset(environment().list_templates())


def plus(at: str, offset: int) -> str:
    """C expression `at` + `offset`."""
    return f"{at} {'-' if offset < 0 else '+'} {abs(offset)}" if offset else at


def near(offset: int) -> bool:
    """Whether SC_BYTES (sc_mve.h) reads so many bytes behind a pointer, and not right at it."""
    return 0 < offset < 128


def render(template: str, **values: Any) -> str:
    """Render codegen/templates/`template`."""
    return environment().get_template(template).render(**values)


def render_text(template: str, **values: Any) -> str:
    """Render a template that is given as text: of a kernel outside this package."""
    return environment().from_string(template).render(**values)


def by_isa(name: str, stem: str, *isas: str, **values: Any) -> CFunction:
    """The function of `stem`.c.j2 and, for each of `isas`, of `stem`.ISA.c.j2.

    Where there is no such file, the one template is told its `isa`.
    """
    known = templates()

    def text(isa: str) -> str:
        own = f"{stem}.{isa}.c.j2"
        return render(own if own in known else f"{stem}.c.j2", name=name, isa=isa, **values)

    return CFunction(name, text("plain"), {isa: text(isa) for isa in isas})


def not_with_vectors(f: CFunction) -> CFunction:
    """`f`, which cores with vectors do without."""
    return CFunction(f.name, f.text, {**f.forms, "helium": ""})


def checked_call(call: str) -> str:
    """C that calls a function which may fail, and hands its failure on."""
    return f"if ({call} != 0) {{\n    return -1;\n}}"
