"""DeviceFaultError registers in words."""

from __future__ import annotations

from ...errors import TargetError
from ..base import Image
from ..builders import elf
from .client import DeviceFaultError

_CFSR = {
    0: "instruction fetch forbidden", 1: "data access forbidden", 3: "unstacking failed",
    4: "stacking failed", 8: "bus error on an instruction", 9: "precise bus error",
    10: "imprecise bus error", 11: "bus error while unstacking", 12: "bus error while stacking",
    16: "undefined instruction", 17: "ARM state entered", 18: "bad exception return",
    19: "no coprocessor", 20: "stack overflow", 24: "unaligned access", 25: "division by zero",
}  # fmt: skip
_MCAUSE = {
    0: "instruction address misaligned", 1: "instruction access fault", 2: "illegal instruction",
    3: "breakpoint", 4: "load address misaligned", 5: "load access fault",
    6: "store address misaligned", 7: "store access fault", 11: "environment call",
}  # fmt: skip


def describe(image: Image, words: tuple[int, ...]) -> str:
    """One sentence: what happened, where in the source, the registers."""
    if image.board.cpu.riscv:
        cause, pc, value = (*words, 0, 0, 0)[:3]
        why = _MCAUSE.get(cause, f"cause {cause}")
        return f"trap, {why}, at {elf.locate(image.elf, pc)}, PC {pc:#010x}, mtval {value:#010x}"
    words = (*words, *(0,) * 14)[:14]
    pc, cfsr, hfsr = words[6], words[8], words[9]
    reasons = [text for bit, text in _CFSR.items() if cfsr >> bit & 1] or ["no cause recorded"]
    where = elf.locate(image.elf, pc & ~1)
    return (
        f"HardFault, {' and '.join(reasons)}, at {where}, PC {pc:#010x}, LR {words[5]:#010x}, "
        f"CFSR {cfsr:#010x}, HFSR {hfsr:#010x}, SP {words[13]:#010x}"
    )


def error(image: Image, fault: DeviceFaultError) -> TargetError:
    """The error a user sees."""
    return TargetError(f"{image.board.id}: {describe(image, fault.words)}")
