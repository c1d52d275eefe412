"""Instructions of a basic block, decoded once."""

from __future__ import annotations

from dataclasses import dataclass

import capstone

from ... import cores


@dataclass(frozen=True)
class Instruction:
    """One machine instruction as the cost tables see it."""

    address: int
    size: int  #: bytes
    mnemonic: str
    operands: str


class Decoder:
    """Decodes code of one core."""

    def __init__(self, core: str) -> None:
        row = cores.get(core)
        mode = 0
        for name in row.disassembler_modes:
            mode |= getattr(capstone, name)
        self._cs = capstone.Cs(getattr(capstone, row.architecture.disassembler), mode)
        self._thumb = not row.riscv

    def decode(self, code: bytes, address: int) -> list[Instruction]:
        """Every instruction of `code`; what capstone does not know is kept as '?'."""
        out: list[Instruction] = []
        at = 0
        while at < len(code):
            for a, size, mnemonic, operands in self._cs.disasm_lite(code[at:], address + at):
                out.append(Instruction(a, size, mnemonic, operands))
                at = a + size - address
            if at < len(code):
                half = int.from_bytes(code[at : at + 2], "little")
                wide = half >> 11 in (0x1D, 0x1E, 0x1F) if self._thumb else half & 3 == 3
                size = 4 if wide else 2
                out.append(Instruction(address + at, size, "?", ""))
                at += size
        return out
