"""Instructions of an image as the tool chain's own disassembler lists them, vectors too."""

from __future__ import annotations

import re
from pathlib import Path

from .. import tools
from .blocks import Instruction

_LINE = re.compile(r"^ *([0-9a-f]+):\t([0-9a-f ]+?) *\t(\S+)(?:\t([^@;<\n]*))?", re.MULTILINE)


def read(elf: Path, prefix: str) -> dict[int, Instruction]:
    """By address. `prefix`: of the tool chain's programs. Raises ToolError if there is none."""
    program = tools.need(f"{prefix}objdump")
    text = tools.run([program, "-d", "-marmv8.1-m.main", str(elf)], "listing the firmware")
    found = {}
    for at, code, mnemonic, operands in _LINE.findall(text):
        size = len(code.replace(" ", "")) // 2
        address = int(at, 16)
        found[address] = Instruction(address, size, mnemonic, operands.strip())
    return found
