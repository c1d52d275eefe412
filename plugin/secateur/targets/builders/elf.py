"""What an ELF image says about itself: sizes by owner, symbols, source lines."""

from __future__ import annotations

from pathlib import Path

from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from ..base import Sizes

_ALLOC, _EXECINSTR, _NOBITS = 2, 4, "SHT_NOBITS"


def sizes(path: Path, arena: int) -> Sizes:
    """Bytes of the image by owner; the linker script keeps the owners in sections of their own.

    `arena` is the model's static arena in bytes, which is inside .bss. RAM is the memory the
    image reserves; the stack comes on top.
    """
    flash: dict[str, int] = {}
    ram = 0
    with path.open("rb") as file:
        for section in ELFFile(file).iter_sections():
            if not section["sh_flags"] & _ALLOC:
                continue
            if section.name in (".data", ".bss"):
                ram += section["sh_size"]
            if section["sh_type"] != _NOBITS:
                flash[section.name] = section["sh_size"]
    total = sum(flash.values())
    model = flash.get(".rodata", 0)
    harness = flash.get(".harness", 0)
    return Sizes(
        total=total,
        model=model,
        runtime=total - model - harness,
        harness=harness,
        static_ram=ram - arena,
        arena=arena,
    )


def code_sections(path: Path) -> list[str]:
    """Names of the sections that hold code."""
    wanted = _ALLOC | _EXECINSTR
    with path.open("rb") as file:
        return [
            section.name
            for section in ELFFile(file).iter_sections()
            if section["sh_flags"] & wanted == wanted and section["sh_size"]
        ]


def symbols(path: Path) -> dict[str, tuple[int, int]]:
    """Address (Thumb bit removed) and size of every symbol."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        table = elf.get_section_by_name(".symtab")
        if not isinstance(table, SymbolTableSection):
            return {}
        thumb = elf["e_machine"] == "EM_ARM"
        out = {}
        for symbol in table.iter_symbols():
            address = symbol["st_value"]
            if thumb and symbol["st_info"]["type"] == "STT_FUNC":
                address &= ~1
            out[symbol.name] = (address, symbol["st_size"])
        return out


def segments(path: Path) -> list[tuple[int, bytes]]:
    """(load address, bytes) of everything that goes into the device's memory."""
    with path.open("rb") as file:
        return [
            (s["p_paddr"], s.data())
            for s in ELFFile(file).iter_segments()
            if s["p_type"] == "PT_LOAD" and s["p_filesz"]
        ]


def entry(path: Path) -> int:
    """The entry point."""
    with path.open("rb") as file:
        return int(ELFFile(file)["e_entry"])


def locate(path: Path, address: int) -> str:
    """`function (file:line)` of a code address, as far as the image's debug information knows."""
    name = next(
        (n for n, (start, size) in symbols(path).items() if start <= address < start + size and n),
        "outside every function",
    )
    with path.open("rb") as file:
        elf = ELFFile(file)
        if not elf.has_dwarf_info():
            return name
        dwarf = elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            if program is None:
                continue
            previous = None
            for item in program.get_entries():
                state = item.state
                if state is None:
                    continue
                if previous and previous.address <= address < state.address:
                    files = program["file_entry"]
                    index = previous.file - (0 if program["version"] >= 5 else 1)
                    source = files[index].name.decode(errors="replace")
                    return f"{name} ({source}:{previous.line})"
                previous = None if state.end_sequence else state
    return name
