"""Flash that waits: what a run waits for, address by address.

What was executed and read is looked up in order in what the part has before its flash
(`cores.flash`). An estimate, because prefetching and what a core overlaps are simplified to the two
rules of `Waits`. Where no source says which line goes, misses are counted that no order avoids and
that some order may have, so that the truth is between them.
"""

from __future__ import annotations

from typing import NamedTuple

from ...cores.flash import Accelerator, Cache


class Misses(NamedTuple):
    """Whether an access is one: by the order that misses least, and by the one that does most."""

    low: bool
    high: bool


_HELD, _MISSED = Misses(False, False), Misses(True, True)


class _Recent:
    """Which lines a cache holds of which the least recently used goes."""

    def __init__(self, cache: Cache) -> None:
        self._mask, self._ways = cache.sets - 1, cache.ways
        self._sets: list[dict[int, None]] = [{} for _ in range(cache.sets)]  # the oldest first

    def look(self, line: int) -> Misses:
        held = self._sets[line & self._mask]
        if line in held:
            del held[line]
            held[line] = None
            return _HELD
        if len(held) == self._ways:
            del held[next(iter(held))]
        held[line] = None
        return _MISSED


class _AnyOrder:
    """A cache of which no source says what goes.

    Most misses: every order holds at least the line of a set that was used last. Least: a line that
    was never used is not held; and of a stretch that uses more lines of a set than it has ways, one
    that is used behind the first is not held, whatever goes (the bound of competitive analysis:
    Sleator and Tarjan, "Amortized efficiency of list update and paging rules", CACM 1985).
    """

    def __init__(self, cache: Cache) -> None:
        self._mask, self._ways = cache.sets - 1, cache.ways
        self._last: dict[int, int] = {}  #: by set: the line used last
        self._stretch: dict[int, list[int]] = {}  #: by set: lines used in this stretch
        self._counted: set[int] = set()  #: sets of which a miss in this stretch is counted
        self._seen: set[int] = set()

    def look(self, line: int) -> Misses:
        at = line & self._mask
        if self._last.get(at) == line:
            return _HELD
        self._last[at] = line
        new = line not in self._seen
        self._seen.add(line)
        lines = self._stretch.setdefault(at, [])
        if line in lines:
            return Misses(False, True)
        least = new
        if len(lines) == self._ways:
            least = new or at not in self._counted
            lines.clear()
            self._counted.discard(at)
        elif new and lines:
            self._counted.add(at)
        lines.append(line)
        return Misses(least, True)


def _lines(cache: Cache) -> _Recent | _AnyOrder:
    return _AnyOrder(cache) if cache.order == "any" else _Recent(cache)


class Reading:
    """What is waited for if the accelerator is as one reading of its sources has it."""

    def __init__(self, accelerator: Accelerator, wait_states: int) -> None:
        self.code = [0, 0]  #: cycles, at least and at most
        self.data = [0, 0]
        self._wait = wait_states
        line = accelerator.code.line
        self._line, self._shift = line, line.bit_length() - 1
        self._ahead = max(0, wait_states - line // 4) if accelerator.prefetch else wait_states
        self._code = _lines(accelerator.code)
        data = accelerator.code if accelerator.shared else accelerator.data
        self._data = self._code if accelerator.shared else _lines(data) if data else None
        self._data_shift = data.line.bit_length() - 1 if data else 0
        self._last = -2

    def fetch(self, address: int, size: int) -> None:
        """Code of a block is executed."""
        for line in range(address >> self._shift, (address + size - 1 >> self._shift) + 1):
            missed = self._code.look(line)
            if missed.high:
                cycles = self._ahead if line == self._last + 1 else self._wait
                self.code[0] += cycles * missed.low
                self.code[1] += cycles
                self._last = line

    def read(self, address: int) -> None:
        """A constant is read."""
        missed = self._data.look(address >> self._data_shift) if self._data else _MISSED
        self.data[0] += self._wait * missed.low
        self.data[1] += self._wait * missed.high


class Waits:
    """Adds up the cycles code and reads wait for flash, by every reading of the sources.

    A line that is not held costs the wait states. With prefetch, code of the line behind the one
    missed last costs what is left of them after that one has run, a cycle for each of its words
    (ST RM0090, 3.5.2).
    """

    def __init__(self, accelerator: Accelerator, wait_states: int) -> None:
        self.readings = [Reading(one, wait_states) for one in accelerator.readings]

    def fetch(self, address: int, size: int) -> None:
        """Code of a block is executed."""
        for reading in self.readings:
            reading.fetch(address, size)

    def read(self, address: int) -> None:
        """A constant is read."""
        for reading in self.readings:
            reading.read(address)

    def waited(self) -> list[tuple[int, int]]:
        """By reading: cycles waited so far, at least and at most."""
        return [(r.code[0] + r.data[0], r.code[1] + r.data[1]) for r in self.readings]
