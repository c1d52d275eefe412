"""Where an inference's energy goes: an estimate per access, by layer and by cause.

How much it is in all comes from the board's current (cycles x current x voltage). This module only
shares that out, by what the instructions did: the costs below are ratios. They are those of a
simple processor in 45 nm (Horowitz, "Computing's energy problem", ISSCC 2014, figure 1.1.9): 70 pJ
an instruction, 25 of them its fetch from an 8 kB cache; 5 pJ for 32 bits of an 8 kB SRAM; 3.1 pJ a
32-bit multiplication. A read of flash costs three of SRAM ("Energiesparen vom Chip bis zur
Software", elektroniknet.de, page 3: usually). A board's manifest may have figures of its own
(`power.access`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..boards import Access, Board
from .blocks import Instruction
from .cycles import kind

#: What the parts of an estimate are called, and what they are.
CAUSES = {
    "core": "clock, registers, control: every cycle",
    "fetch": "instructions read",
    "flash": "data read from flash: weights, tables",
    "sram": "data read from and written to RAM: activations, stack",
    "mac": "multiplications",
}

DEFAULT = Access(
    core_pj=45.0, fetch_pj=25.0, flash_pj=15.0, sram_pj=5.0, mac_pj=3.1,
    source="ratios of Horowitz, ISSCC 2014 (45 nm); flash as three times SRAM (elektroniknet.de)",
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """What a stretch of code did; accesses are of up to 32 bits."""

    instructions: int = 0
    cycles: float = 0.0
    flash: int = 0
    sram: int = 0
    macs: int = 0


def multiplications(code: Sequence[Instruction], riscv: bool) -> int:
    """Multiplications of a block; the dual 16-bit ones count twice."""
    return sum(
        2 if i.mnemonic.startswith(("smlad", "smuad", "smlsd", "smusd", "smlald")) else 1
        for i in code
        if kind(i.mnemonic, riscv).startswith("multiply")
    )


def costs(board: Board) -> Access:
    """The board's own figures, or the general ones."""
    return board.power.access or DEFAULT


def picojoules(work: Work, access: Access) -> dict[str, float]:
    """By cause; of use as ratios."""
    return {
        "core": access.core_pj * work.cycles,
        "fetch": access.fetch_pj * work.instructions,
        "flash": access.flash_pj * work.flash,
        "sram": access.sram_pj * work.sram,
        "mac": access.mac_pj * work.macs,
    }


def spread(works: Sequence[Work], board: Board) -> list[dict[str, float]]:
    """For each of `works` its shares of the energy of all, by cause; together they are 1."""
    each = [picojoules(work, costs(board)) for work in works]
    whole = sum(sum(parts.values()) for parts in each)
    return [{k: v / whole if whole else 0.0 for k, v in parts.items()} for parts in each]
