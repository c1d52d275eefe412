"""Small pieces of C: arrays, functions, templates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
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


@dataclass(frozen=True)
class CArray:
    """A const array of the generated library."""

    name: str
    ctype: str
    values: np.ndarray
    comment: str = ""
    #: What its bits are for (`coding.base.KINDS`); the rest of it is padding. Empty: all "value".
    bits: Mapping[str, int] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """Bytes in flash."""
        return int(self.values.size) * np.dtype(DTYPES[self.ctype]).itemsize

    @property
    def content(self) -> bytes:
        """What lies in flash; C has no empty arrays, so one zero where there are no values."""
        values = self.values.reshape(-1) if self.values.size else np.zeros(1)
        return values.astype(DTYPES[self.ctype]).tobytes()

    def definition(self) -> str:
        """The C definition, sixteen or so values a line."""
        flat = [str(int(v)) for v in self.values.reshape(-1)] or ["0"]
        lines, line = [], "   "
        for v in flat:
            if len(line) + len(v) + 2 > 98:
                lines.append(line)
                line = "   "
            line += f" {v},"
        lines.append(line)
        note = f"/* {names.comment(self.comment)} */\n" if self.comment else ""
        return (
            f"{note}const {self.ctype} {self.name}[{len(flat)}] = {{\n"
            + "\n".join(lines)
            + "\n};\n"
        )

    def declaration(self) -> str:
        """The C declaration."""
        return f"extern const {self.ctype} {self.name}[{max(1, self.values.size)}];\n"


@dataclass(frozen=True)
class CFunction:
    """A static function; two layers whose text is the same share it."""

    name: str
    text: str


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
    arrays: list[CArray] = field(default_factory=list)
    headers: list[str] = field(default_factory=list)  #: coding headers the functions include
    constants: list[Constant] = field(default_factory=list)
    setup: str = ""  #: C statement(s) before the first call: unpacking of its weights


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
    return env


def render(template: str, **values: Any) -> str:
    """Render codegen/templates/`template`."""
    return environment().get_template(template).render(**values)


def port_header() -> str:
    """The text of secateur_port.h."""
    return (resources.files("secateur.codegen") / "templates" / "secateur_port.h").read_text()
