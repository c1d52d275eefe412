"""What parts have between their flash and the core: rows that a board's manifest names.

A manifest says which (`accelerator`), how many cycles a line takes more than one that is held
(`wait_states`), and where that number is from (`wait_states_source`). targets/estimates/flash.py
applies them, docs/cycle-model.md shows them. What of a row its source does not say, and was
assumed, stands in `approximate`; no row was measured on hardware.
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
    approximate: str = ""  #: what of the row was assumed, and why; the rest is the source's


_XIP = Cache(8, 1024, 2)
_ART = Cache(16, 1, 64)

ACCELERATORS: dict[str, Accelerator] = {
    "none": Accelerator(
        "no part's: what a flash interface at least does",
        Cache(8, 1, 1), None, prefetch=True,
        approximate="all of it: for boards whose part is not in this table",
    ),
    "stm32f4": Accelerator(
        "ST RM0090 rev. 21, 3.5.2: 64 lines of 128 bits for code, 8 for data, least recently used, "
        "prefetch of the next line; the same in ST's stm32f4xx_hal_flash.c",
        _ART, Cache(16, 1, 8), prefetch=True,
    ),
    "stm32f7": Accelerator(
        "64 lines of 256 bits, code at 0x00200000: Nut/OS's configuration of the part "
        "(FLASH_ART_ACCELERATION); ST RM0385 was not at hand",
        Cache(32, 1, 64), None, prefetch=True,
        approximate="that constants are not held (the source calls the cache unified) and the "
        "order in which lines go; no board here uses it",
    ),
    "stm32l4": Accelerator(
        "ST's stm32l4xx_hal_flash.c, which serves the L4R5 too: 32 lines of 4 x 64 bits for code, "
        "8 for data, prefetch; ST RM0440 (the G4's) says the same of two banks, and least recently "
        "used",
        Cache(8, 1, 128), Cache(8, 1, 32), prefetch=True,
        approximate="that a line is filled by 64 bits at a time: counted as lines of 64",
    ),
    "stm32h7": Accelerator(
        "the core's caches: 2 ways for code, 4 for data, lines of 32 bytes (ST AN4839, Arm DDI "
        "0489F, 5.9), 16 kB each (STM32H743 datasheet)",
        Cache(32, 256, 2), Cache(32, 128, 4),
        approximate="that the least recently used line goes",
    ),
    "stm32u5": Accelerator(
        "ICACHE of 8 kB on the code bus, constants too, several ways (ST's training slides on the "
        "U5's caches; AN5212)",
        Cache(16, 256, 2), None, shared=True,
        approximate="2 ways and lines of 128 bits: remembered of RM0456, which was not at hand",
    ),
    "nrf52": Accelerator(
        "a cache for code alone (Nordic's register description: ICACHECNF, 'I-Code cache'); ways, "
        "lines and order are those documented of the nRF5340's (product specification, CACHE)",
        Cache(16, 64, 2), None,
        approximate="2 kB, and that it is like the nRF5340's: Nordic does not say",
    ),
    "rp2040": Accelerator(
        "RP2040 datasheet, 2.6.3.1 and 2.6.3.2: 16 kB, 8 bytes per line, 2 ways per set, hits in "
        "1 cycle, code and constants",
        _XIP, None, shared=True,
        approximate="that the least recently used line goes",
    ),
    "samd21": Accelerator(
        "Microchip DS40001882, 22.6.7: direct mapped, 8 lines of 64 bits, the whole main array",
        Cache(8, 8, 1), None, shared=True,
    ),
}  # fmt: skip
