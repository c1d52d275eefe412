"""What parts have between their flash and the core: rows that a board's manifest names.

A manifest says which (`accelerator`), how many cycles a line takes more than one that is held
(`wait_states`), and where that number is from (`wait_states_source`). targets/estimates/flash.py
applies them, docs/cycle-model.md shows them. A row holds what its source says; what no source says
is left open, and the estimate then is between what it may be (`Cache.order`, `Accelerator.other`).
No row was measured on hardware.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Cache:
    """Lines of `line` bytes (a power of two) in sets of `ways`."""

    line: int
    sets: int
    ways: int
    #: Which line of a set goes: the least recently used one, or any, where no source says it.
    order: Literal["lru", "any"] = "lru"

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
    other: Accelerator | None = None  #: what the source may mean as well

    @property
    def readings(self) -> tuple[Accelerator, ...]:
        """All that the sources may mean."""
        return (self, *(self.other.readings if self.other else ()))


_L4 = (
    "ST's stm32l4xx_hal_flash.c, which serves the L4R5 too: 32 lines of 4 x 64 bits for code, 8 "
    "for data, prefetch; ST RM0440 (the G4's) says the same of two banks, and least recently used; "
)

ACCELERATORS: dict[str, Accelerator] = {
    "stm32f4": Accelerator(
        "ST RM0090 rev. 21, 3.5.2: 64 lines of 128 bits for code, 8 for data, least recently used, "
        "prefetch of the next line; the same in ST's stm32f4xx_hal_flash.c",
        Cache(16, 1, 64), Cache(16, 1, 8), prefetch=True,
    ),
    "stm32f7": Accelerator(
        "64 lines of 256 bits: Nut/OS's configuration of the part (FLASH_ART_ACCELERATION); one "
        "cache for code and constants, prefetch: libopencm3's stm32/f7/flash.h; no board here "
        "uses it",
        Cache(32, 1, 64, "any"), None, prefetch=True, shared=True,
    ),
    "stm32l4": Accelerator(
        _L4 + "read as lines that are filled by 64 bits at a time",
        Cache(8, 1, 128), Cache(8, 1, 32), prefetch=True,
        other=Accelerator(
            _L4 + "read as lines that are filled at once",
            Cache(32, 1, 32), Cache(32, 1, 8), prefetch=True,
        ),
    ),
    "stm32h7": Accelerator(
        "the core's caches: 2 ways for code, 4 for data, lines of 32 bytes (ST AN4839, Arm DDI "
        "0489F, 5.9), 16 kB each (STM32H743 datasheet)",
        Cache(32, 256, 2, "any"), Cache(32, 128, 4, "any"),
    ),
    "stm32u5": Accelerator(
        "ST's stm32u5xx_hal_icache.c: 2 ways, of which the least recently used goes (its pLRU-t is "
        "that of two), on the code bus, constants too; 8 kB and refills of 128 bits: ST's training "
        "slides on the U5's caches",
        Cache(16, 256, 2), None, shared=True,
    ),
    "rp2040": Accelerator(
        "RP2040 datasheet, 2.6.3.1 and 2.6.3.2: 16 kB, 8 bytes per line, 2 ways per set, hits in "
        "1 cycle, code and constants",
        Cache(8, 1024, 2, "any"), None, shared=True,
    ),
    "samd21": Accelerator(
        "Microchip DS40001882, 22.6.7: direct mapped, 8 lines of 64 bits, the whole main array",
        Cache(8, 8, 1), None, shared=True,
    ),
}  # fmt: skip
