"""What parts have between their flash and the core: rows that a board's manifest names.

A manifest says which (`accelerator`), and how many cycles a line takes more than one that is held
(`wait_states`). targets/estimates/flash.py applies them, docs/cycle-model.md lists them. A row that
is not `verified` was remembered from the manual it names and is to be compared with it; none was,
and no row was measured.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cache:
    """Lines of `line` bytes (a power of two) in sets of `ways`, the least recently used goes."""

    line: int
    sets: int
    ways: int

    @property
    def size(self) -> int:
        """Bytes."""
        return self.line * self.sets * self.ways


@dataclass(frozen=True)
class Accelerator:
    """What a part has in front of its flash."""

    source: str
    code: Cache
    data: Cache | None  #: None: constants wait for flash each time
    prefetch: bool = False  #: the next line is read while code of this one runs
    shared: bool = False  #: constants go through the cache of code
    verified: bool = False  #: somebody has compared the shape with the source


_XIP = Cache(8, 1024, 2)
_ART = Cache(16, 1, 64)

ACCELERATORS: dict[str, Accelerator] = {
    "none": Accelerator(
        "no cache: one line of 8 bytes is held, the next one is read ahead",
        Cache(8, 1, 1), None, prefetch=True,
    ),
    "stm32f4": Accelerator(
        "ST RM0090 and RM0390, 3.5.2: 64 lines of 128 bits for code, 8 for data, prefetch",
        _ART, Cache(16, 1, 8), prefetch=True,
    ),
    "stm32f7": Accelerator(
        "ST RM0385, 3.3.2, on the ITCM bus: 64 lines of 256 bits, code alone, prefetch",
        Cache(32, 1, 64), None, prefetch=True,
    ),
    "stm32l4": Accelerator(
        "ST RM0351, 3.3.8: 32 lines of 4 x 64 bits for code, 8 for data, prefetch; as lines of 64",
        Cache(8, 1, 128), Cache(8, 1, 32), prefetch=True,
    ),
    "stm32h7": Accelerator(
        "Arm DDI 0489 and ST RM0433: the core's caches, 16 kB of 2 ways for code, 16 kB of 4 for "
        "data, lines of 32 bytes",
        Cache(32, 256, 2), Cache(32, 128, 4),
    ),
    "stm32u5": Accelerator(
        "ST RM0456, ICACHE: 8 kB of 2 ways, lines of 128 bits, on the code bus, constants too",
        Cache(16, 256, 2), None, shared=True,
    ),
    "nrf52": Accelerator(
        "approximate: Nordic nRF52840 product specification, NVMC: a cache for code alone, taken "
        "as 2 kB of 2 ways and lines of 16 bytes",
        Cache(16, 64, 2), None,
    ),
    "rp2040": Accelerator(
        "RP2040 datasheet, 2.6.3.1: 16 kB of 2 ways, lines of 8 bytes, code and constants",
        _XIP, None, shared=True,
    ),
    "samd21": Accelerator(
        "SAMD21 datasheet DS40001882, NVMCTRL: 8 lines of 64 bits, direct mapped, both",
        Cache(8, 8, 1), None, shared=True,
    ),
}  # fmt: skip
