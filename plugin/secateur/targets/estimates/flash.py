"""Flash that waits: what a run waits for, address by address.

What was executed and read is looked up in order in what the part has before its flash
(`cores.flash`). An estimate, because prefetching and what a core overlaps are simplified to the two
rules of `Waits`.
"""

from __future__ import annotations

from ...cores.flash import Accelerator, Cache


class _Lines:
    """Which lines a cache holds."""

    def __init__(self, cache: Cache) -> None:
        self._shift = cache.line.bit_length() - 1
        self._mask, self._ways = cache.sets - 1, cache.ways
        self._sets: list[dict[int, None]] = [{} for _ in range(cache.sets)]  # the oldest first

    def miss(self, address: int) -> int | None:
        """The line number if `address` is not held; it is from here on."""
        line = address >> self._shift
        held = self._sets[line & self._mask]
        if line in held:
            del held[line]
            held[line] = None
            return None
        if len(held) == self._ways:
            del held[next(iter(held))]
        held[line] = None
        return line


class Waits:
    """Adds up the cycles code and reads wait for flash.

    A line that is not held costs the wait states. With prefetch, code of the line behind the one
    missed last costs what is left of them after that one has run, a cycle for each of its words
    (ST RM0090, 3.5.2).
    """

    def __init__(self, accelerator: Accelerator, wait_states: int) -> None:
        self.code = 0  #: cycles
        self.data = 0
        self._wait = wait_states
        line = accelerator.code.line
        self._line = line
        self._ahead = max(0, wait_states - line // 4) if accelerator.prefetch else wait_states
        self._code = _Lines(accelerator.code)
        self._data = _Lines(accelerator.data) if accelerator.data else None
        if accelerator.shared:
            self._data = self._code
        self._last = -2

    def fetch(self, address: int, size: int) -> None:
        """Code of a block is executed."""
        for at in range(address & -self._line, address + size, self._line):
            line = self._code.miss(at)
            if line is not None:
                self.code += self._ahead if line == self._last + 1 else self._wait
                self._last = line

    def read(self, address: int) -> None:
        """A constant is read."""
        if self._data is None or self._data.miss(address) is not None:
            self.data += self._wait
