"""Decoders' descriptors in C: fields and size come from the struct in the decoder's header.

Encodings name the fields they set; C++17 has no designated initializers, so the generated C lists
the values in the struct's order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from ..coding import sources

_SIZES = {"int8_t": 1, "uint8_t": 1, "int16_t": 2, "uint16_t": 2, "int32_t": 4, "uint32_t": 4}


@dataclass(frozen=True)
class Field:
    """A member of a struct."""

    name: str
    size: int  #: bytes of an element on a 32-bit core
    count: int = 0  #: elements of an array; 0: not an array

    @property
    def nothing(self) -> str:
        """Its C initializer where nobody sets it."""
        return "{0}" if self.count else "0"


@cache
def header(name: str) -> str:
    """The text of a header of coding/c."""
    return sources.text(name)


@cache
def fields(name: str, struct: str) -> tuple[Field, ...]:
    """The members of `struct` in header `name`. Raises ValueError if it has none."""
    text = re.sub(r"/\*.*?\*/", "", header(name), flags=re.S)
    alias = re.search(rf"typedef (\w+) {struct};", text)
    if alias:
        return fields(name, alias[1])
    found = re.search(rf"typedef struct \{{([^{{}}]*)\}} {struct};", text)
    if not found:
        raise ValueError(f"{name} declares no {struct}")
    out = []
    for line in filter(None, map(str.strip, found[1].split(";"))):
        m = re.fullmatch(r"(?:const )?(\w+)\s+(.*)", line, re.S)
        assert m is not None, line
        for item in m[2].split(","):
            star, member, count = re.fullmatch(r"\s*(\*?)(\w+)(?:\[(\d+)\])?\s*", item).groups()  # type: ignore[union-attr]
            out.append(Field(member, 4 if star else _SIZES[m[1]], int(count or 0)))
    return tuple(out)


def size(name: str, struct: str) -> int:
    """sizeof the struct on a 32-bit core, bytes."""
    end, widest = 0, 1
    for f in fields(name, struct):
        end = -(-end // f.size) * f.size + f.size * max(1, f.count)
        widest = max(widest, f.size)
    return -(-end // widest) * widest


def initializer(name: str, struct: str, designated: str) -> str:
    """A designated initializer, "{.a = 1, .b = {2, 3}}", in the struct's order, for C++, too."""
    given = dict(re.findall(r"\.(\w+) = (\{[^{}]*\}|[^,{}]+)", designated))
    lines = [f"    {given.pop(f.name, f.nothing)}, /* {f.name} */" for f in fields(name, struct)]
    if given:
        raise ValueError(f"{struct} has no {', '.join(given)}")
    return "{\n" + "\n".join(lines) + "\n}"
