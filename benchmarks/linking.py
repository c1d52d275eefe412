"""Generated C compiled and linked for a core without a harness, and what lies in the program."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from secateur import cores
from secateur.codegen.library import Library
from secateur.targets import tools

_SCRIPT = """SECTIONS {
  .text 0x10000 : { *(.text .text.*) *(.rodata .rodata.* .srodata .srodata.*) }
  .ARM.exidx : { *(.ARM.exidx*) }
  .data 0x20000000 : { *(.data .data.* .sdata .sdata.* .bss .bss.* COMMON) }
}
"""

#: What compilers add to the name of a function that they adapted to its calls.
_ADAPTED = re.compile(r"(\.(constprop|isra|part|cold)\b|\.\d+)+$")


@dataclass(frozen=True)
class Linked:
    """A library linked alone."""

    code: int  #: bytes in flash, its arrays and descriptors excluded
    functions: dict[str, int]  #: bytes of the functions that are left, by name


def link(core: str, files: Sequence[Path], program: Path, *more: str) -> None:
    """Compile and link for a core."""
    row, script = cores.get(core), program.with_suffix(".ld")
    script.write_text(_SCRIPT)
    command = [
        row.compiler, *row.machine, *tools.flags().COMPILE, "-g0", *row.architecture.link,
        "-nostartfiles", f"-T{script}", "-Wl,--no-warn-rwx-segments", *more,
        *map(str, files), "-o", str(program),
    ]  # fmt: skip
    tools.run(command, f"linking for {core}")


def symbols(program: Path, first: str = "") -> dict[str, int]:
    """Bytes of the functions of a linked program, by name; of one that has several names, by
    `first` if that is among them."""
    with program.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        assert isinstance(table, SymbolTableSection)
        found = [
            s for s in table.iter_symbols() if s["st_info"]["type"] == "STT_FUNC" and s["st_size"]
        ]
    found.sort(key=lambda s: s.name == first)
    names = {s["st_value"]: s.name for s in found}  # the last of several stays
    return {names[s["st_value"]]: s["st_size"] for s in found}


def linked(library: Library, core: str) -> Linked:
    """The library linked alone for a core."""
    name = library.name
    with tempfile.TemporaryDirectory() as tmp:
        home = library.save(Path(tmp) / "library") / "src"
        program = Path(tmp) / "program.elf"
        link(core, [*sorted(home.glob("*.c"))], program, f"-D{name.upper()}_NO_STATIC_ARENA",
             "-Wl,--gc-sections", f"-Wl,-u,{name}_run_in", f"-Wl,-u,{name}_step_in")  # fmt: skip
        functions: Counter[str] = Counter()
        for symbol, size in symbols(program).items():
            functions[_ADAPTED.sub("", symbol)] += size
        with program.open("rb") as file:
            text = ELFFile(file).get_section_by_name(".text")["sh_size"]
    return Linked(text - library.constant_bytes, dict(functions))


@cache
def of_runtime(core: str, name: str) -> dict[str, int]:
    """What a function of the compiler's library brings into a program, itself included: bytes by
    name; nothing where the core's library has no such function."""
    with tempfile.TemporaryDirectory() as tmp:
        source, program = Path(tmp) / "empty.c", Path(tmp) / "program.elf"
        source.write_text("extern int nothing;\n")
        link(core, [source], program, "-Wl,--gc-sections", f"-Wl,-u,{name}",
             "-Wl,--unresolved-symbols=ignore-all", "-Wl,-e0")  # fmt: skip
        return symbols(program, name)


def brought(core: str, names: Iterable[str]) -> tuple[dict[str, int], dict[str, str]]:
    """Of functions of the compiler's library: bytes by name, of them and of what they bring, and
    what each brings beside itself."""
    sizes: dict[str, int] = {}
    called: dict[str, str] = {}
    for name in sorted(names):
        its = of_runtime(core, name)
        sizes |= its
        if more := sorted(set(its) - {name}):
            called[name] = " ".join(more)
    return sizes, called
