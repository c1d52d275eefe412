"""Counting what a simulator executes: in C where this computer has a compiler, else in Python.

Both give the same: how often control went from block to block, and what was waited for flash
(`estimates.flash`). Unicorn calls C some thirty times faster than Python.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np

from ...cores.flash import ACCELERATORS, Accelerator, Cache
from ...errors import TargetError
from ..boards import Board, Region
from ..estimates.cycles import NOTHING, Edge, Span
from ..estimates.flash import Waits

_SOURCE = Path(__file__).with_name("trace.c")
_EDGES = 1 << 16  #: how many can be counted; the hash table has twice as many entries

_PAGE, _ROOM = 0x1000, 0x10000000

#: IT bits of EPSR: which of the next instructions are conditional.
IT_BITS = 0x0600FC00


@dataclass
class Counts:
    """What ran in an interval."""

    edges: Counter[Edge] = field(default_factory=Counter)
    waits: Span = NOTHING  #: cycles waited for flash


class BlockCounter(Protocol):
    """Counts while it is attached."""

    def attach(self, uc: Any) -> None:
        """Begin, on a unicorn machine; what is read of flash is not looked at."""

    def watch(self, uc: Any) -> None:
        """Look at reads of flash, too, where it waits: slower."""

    def seen_at(self, address: int) -> int:
        """Where Unicorn's hooks see what is read of this address of flash."""

    def detach(self, uc: Any) -> None:
        """Stop."""

    def take(self, going_on: bool = False) -> Counts:
        """What was counted since the last time, and begin anew; caches keep their lines.

        `going_on`: the next block comes from the last one.
        """

    def peek(self) -> Counts:
        """What was counted since the last `take`."""


def readings(board: Board) -> tuple[Accelerator, ...]:
    """What may stand before the board's flash; nothing where it does not wait, or nobody knows."""
    if not board.wait_states or board.accelerator is None:
        return ()
    return ACCELERATORS[board.accelerator].readings


def _since(before: list[tuple[int, int]], now: list[tuple[int, int]]) -> Span:
    """Cycles waited between, over all readings of the sources."""
    if not now:
        return NOTHING
    low = min(b[0] - a[0] for a, b in zip(before, now, strict=True))
    high = max(b[1] - a[1] for a, b in zip(before, now, strict=True))
    return Span(low, (low + high) / 2, high)


class PythonCounter:
    """In Python."""

    def __init__(self, board: Board, epsr: int | None) -> None:
        self._flash = board.memory.flash
        found = readings(board)
        self._waits = Waits(found[0], board.wait_states or 0) if found else None
        self._epsr = epsr
        self._counts = Counts()
        self._before = self._waited()
        self._last: tuple[int, int] | None = None
        self._hooks: list[int] = []

    def _waited(self) -> list[tuple[int, int]]:
        """Cycles waited for flash, ever."""
        return self._waits.waited() if self._waits else []

    def attach(self, uc: Any) -> None:
        import unicorn

        self._hooks.append(uc.hook_add(unicorn.UC_HOOK_BLOCK, self.block))

    def watch(self, uc: Any) -> None:
        import unicorn

        if self._waits is not None:
            end = self._flash.origin + self._flash.length - 1
            begin = self._flash.origin
            hook = uc.hook_add(unicorn.UC_HOOK_MEM_READ, self._read, begin=begin, end=end)
            self._hooks.append(hook)

    def seen_at(self, address: int) -> int:
        return address

    def detach(self, uc: Any) -> None:
        for hook in self._hooks:
            uc.hook_del(hook)
        self._hooks.clear()
        self.take()

    def block(self, uc: Any, address: int, size: int, data: object) -> None:
        """A block begins."""
        block = (address, size)
        self._counts.edges[self._last, block] += 1
        self._last = block
        start = self._flash.origin
        if self._waits is not None and start <= address < start + self._flash.length:
            self._waits.fetch(address, size)

    def _read(self, uc: Any, access: int, address: int, size: int, value: int, data: Any) -> None:
        if self._epsr is not None:
            clear_it(uc, self._epsr)
        if self._waits is not None:
            self._waits.read(address)

    def peek(self) -> Counts:
        self._counts.waits = _since(self._before, self._waited())
        return self._counts

    def take(self, going_on: bool = False) -> Counts:
        done = self.peek()
        self._before = self._waited()
        self._counts = Counts()
        if not going_on:
            self._last = None
        return done


def clear_it(uc: Any, epsr: int) -> None:
    """Clear what unicorn leaves behind before it calls a hook of a load.

    Unicorn 2.1 restores the processor's state for the hook and with it the IT bits of a conditional
    load, which it then takes for those of the code that follows.
    """
    state = uc.reg_read(epsr)
    if state & IT_BITS:
        uc.reg_write(epsr, state & ~IT_BITS)


class _EdgeStruct(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_uint32) for name in ("frm", "from_size", "to", "to_size")),
        ("times", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("next", "place")),
    ]


#: The same for NumPy.
_EDGE = np.dtype(_EdgeStruct)


class _CacheStruct(ctypes.Structure):
    _fields_: ClassVar = [
        *((name, ctypes.c_uint32) for name in ("shift", "sets", "ways", "first")),
        ("held", ctypes.POINTER(ctypes.c_uint32)),
        ("used", ctypes.POINTER(ctypes.c_uint64)),
        ("now", ctypes.c_uint64),
        ("last", ctypes.POINTER(ctypes.c_uint32)),
        ("stretch", ctypes.POINTER(ctypes.c_uint32)),
    ]


class _WaitsStruct(ctypes.Structure):
    _fields_: ClassVar = [
        ("wait", ctypes.c_uint32),
        ("ahead", ctypes.c_uint32),
        ("code", _CacheStruct),
        ("data", _CacheStruct),
        ("reads", ctypes.POINTER(_CacheStruct)),
        ("last_line", ctypes.c_uint32),
        ("low", ctypes.c_uint64),
        ("high", ctypes.c_uint64),
    ]


_READINGS = 2  #: of the sources, at most


class _TraceStruct(ctypes.Structure):
    _fields_: ClassVar = [
        ("edges", ctypes.POINTER(_EdgeStruct)),
        ("numbers", ctypes.POINTER(ctypes.c_uint32)),
        *(
            (name, ctypes.c_uint32)
            for name in ("mask", "used", "full", "last", "last_size", "edge")
        ),
        *((name, ctypes.c_uint32) for name in ("flash", "flash_end", "readings")),
        ("waits", _WaitsStruct * _READINGS),
        ("image", ctypes.c_void_p),
        ("alias", ctypes.c_uint64),
        ("watching", ctypes.c_uint32),
    ]


@cache
def _native() -> tuple[ctypes.CDLL, Any] | None:
    """trace.c as a library, and unicorn's own; None where either cannot be had."""
    compiler = shutil.which("cc")
    if compiler is None:
        return None
    try:
        from unicorn.unicorn_py3.unicorn import Uc, uclib
    except ImportError:
        return None
    if not hasattr(Uc, "ctl_set_tlb_mode"):  # an older unicorn
        return None
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "trace.so"
        done = subprocess.run(
            [compiler, "-std=c11", "-O2", "-shared", "-fPIC", str(_SOURCE), "-o", str(out)],
            capture_output=True,
        )
        if done.returncode:
            return None
        try:
            return ctypes.CDLL(str(out)), uclib
        except OSError:
            return None


def _good(status: int) -> None:
    if status:
        raise TargetError(f"unicorn takes no hook (its error {status}): try another version")


def _free(board: Board) -> int:
    """Where nothing of the board is, for 256 MB."""
    taken = [(r.origin, r.origin + r.length) for r in (board.memory.flash, board.memory.ram)]
    taken.append((0xE0000000, 0xE0100000))
    return next(
        at
        for at in range(0xC0000000, -1, -_ROOM)
        if all(at + _ROOM <= low or at >= high for low, high in taken)
    )


def _lines(out: _CacheStruct, cache_: Cache, flash: Region) -> Any:
    """Fill in `out` for a cache of which nothing is held; what it points to."""
    number = ctypes.c_uint32
    held = (number * (cache_.sets * cache_.ways))()
    out.shift, out.sets, out.ways = cache_.line.bit_length() - 1, cache_.sets, cache_.ways
    out.first = flash.origin >> out.shift
    used = np.zeros((flash.length >> out.shift) + 2, np.uint64)  # pages that are touched
    out.held, out.used = held, used.ctypes.data_as(ctypes.POINTER(ctypes.c_uint64))
    by_set = [(number * cache_.sets)() for _ in range(2)] if cache_.order == "any" else []
    if by_set:
        out.last, out.stretch = by_set
    return held, used, by_set


class NativeCounter:
    """By trace.c, of one machine."""

    def __init__(self, board: Board, native: tuple[ctypes.CDLL, Any]) -> None:
        self._library, self._unicorn = native
        flash = board.memory.flash
        self._flash, self._alias = flash, _free(board)
        self._edges = np.zeros(_EDGES + 1, _EDGE)
        self._numbers = np.zeros(2 * _EDGES, np.uint32)
        t = self._trace = _TraceStruct()
        t.edges = self._edges.ctypes.data_as(ctypes.POINTER(_EdgeStruct))
        t.numbers = self._numbers.ctypes.data_as(ctypes.POINTER(ctypes.c_uint32))
        t.mask = 2 * _EDGES - 1
        t.flash, t.flash_end = flash.origin, min(flash.origin + flash.length, 0xFFFFFFFF)
        found = readings(board)
        t.readings = len(found)
        self._keep = [self._prepare(t.waits[i], a, board) for i, a in enumerate(found)]
        t.alias = self._alias
        self._before = self._waited()
        self._hooks: list[int] = []
        self._image: Any = None

    @staticmethod
    def _prepare(out: _WaitsStruct, a: Accelerator, board: Board) -> Any:
        """Fill in one reading; what it points to."""
        out.wait = board.wait_states or 0
        out.ahead = max(0, out.wait - a.code.line // 4) if a.prefetch else out.wait
        out.last_line = 0xFFFFFFF0
        flash = board.memory.flash
        keep = _lines(out.code, a.code, flash), _lines(out.data, a.data or a.code, flash)
        if a.shared:
            out.reads = ctypes.pointer(out.code)
        elif a.data is not None:
            out.reads = ctypes.pointer(out.data)
        return keep

    def _waited(self) -> list[tuple[int, int]]:
        """By reading: cycles waited for flash, ever."""
        t = self._trace
        return [(int(w.low), int(w.high)) for w in t.waits[: t.readings]]

    def _hook(self, uc: Any, kind: int, function: Any) -> None:
        handle = ctypes.c_size_t()
        status = self._unicorn.uc_hook_add(
            uc._uch, ctypes.byref(handle), kind, ctypes.cast(function, ctypes.c_void_p),
            ctypes.cast(ctypes.pointer(self._trace), ctypes.c_void_p),
            ctypes.c_uint64(1), ctypes.c_uint64(0),
        )  # fmt: skip
        _good(status)
        self._hooks.append(handle.value)

    def attach(self, uc: Any) -> None:
        import unicorn

        self._hook(uc, unicorn.UC_HOOK_BLOCK, self._library.on_block)
        if self._trace.readings:
            if self._image is None:
                self._read_by_alias(uc)
            self._hook(uc, unicorn.UC_HOOK_TLB_FILL, self._library.on_page)
            self._pages(uc, unicorn.UC_TLB_VIRTUAL)

    @staticmethod
    def _pages(uc: Any, by: int) -> None:
        """Who says where pages are; forgets what was said."""
        import unicorn

        uc.ctl_set_tlb_mode(by)
        uc.ctl(unicorn.UC_CTL_TLB_FLUSH, unicorn.UC_CTL_IO_WRITE)

    def _read_by_alias(self, uc: Any) -> None:
        """Make a device of what is read of flash (trace.c, `on_page`)."""
        flash, library = self._flash, self._library
        begin = flash.origin & -_PAGE
        size = (flash.origin + flash.length + _PAGE - 1 & -_PAGE) - begin
        self._image = (ctypes.c_ubyte * size).from_buffer_copy(uc.mem_read(begin, size))
        self._trace.image = ctypes.addressof(self._image)
        self._trace.flash, self._trace.flash_end = begin, min(begin + size, 0xFFFFFFFF)
        pointer = ctypes.c_void_p
        _good(self._unicorn.uc_mmio_map(
            uc._uch, ctypes.c_uint64(self._alias), ctypes.c_size_t(size),
            ctypes.cast(library.on_read, pointer),
            ctypes.cast(ctypes.pointer(self._trace), pointer), None, None,
        ))  # fmt: skip

    def watch(self, uc: Any) -> None:
        self._trace.watching = 1

    def seen_at(self, address: int) -> int:
        if self._image is None:
            return address
        return self._alias + address - int(self._trace.flash)

    def detach(self, uc: Any) -> None:
        import unicorn

        for hook in self._hooks:
            self._unicorn.uc_hook_del(uc._uch, ctypes.c_size_t(hook))
        self._hooks.clear()
        if self._trace.readings:
            self._pages(uc, unicorn.UC_TLB_CPU)
        self._trace.watching = 0
        self.take()

    def peek(self) -> Counts:
        t = self._trace
        if t.full:
            raise TargetError(
                f"this program has more than {_EDGES:,} different branches, too many to count"
            )
        edges: Counter[Edge] = Counter()
        for one in self._edges[: t.used].tolist():
            before = (one[0], one[1]) if one[1] else None
            edges[before, (one[2], one[3])] = one[4]
        return Counts(edges, _since(self._before, self._waited()))

    def take(self, going_on: bool = False) -> Counts:
        done = self.peek()
        t = self._trace
        self._before = self._waited()
        last = (t.last, t.last_size) if going_on else (0, 0)
        self._library.forget(ctypes.byref(t))
        t.last, t.last_size = last
        return done


def counter(board: Board, epsr: int | None) -> BlockCounter:
    """The fastest one there is here."""
    native = _native()
    return NativeCounter(board, native) if native else PythonCounter(board, epsr)
