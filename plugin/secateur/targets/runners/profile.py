"""Where the instructions of an inference go: by call of the generated model, by function.

The simulator runs an image in which the model's functions stay functions (no inlining but what
the code asks for), so every call of `NAME_run_in` can be told apart.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from elftools.elf.elffile import ELFFile

from ... import names, reading
from ...errors import FileError, TargetError
from .. import boards
from ..base import Image
from ..boards import Board
from ..builders import elf, gcc, library
from ..estimates import energy
from ..estimates.cycles import Edge, estimate
from ..wire import fault
from ..wire.client import Client, DeviceFaultError
from .sim import Machine, Sim
from .trace import Counts

#: `inline` and always_inline stay what they say: the kernels are written with them.
NO_INLINING = (
    "-fno-inline-functions-called-once",
    "-fno-inline-functions",
    "-fno-inline-small-functions",
    "-fno-ipa-icf",
)

#: Instructions of `NAME_run_in` that may be of no layer, beside one in a hundred: it sets up calls.
BETWEEN = 200


@dataclass(frozen=True)
class LayerStep:
    """One call of the generated model: a layer, or one of its two ends."""

    layer: str  #: operator's name; "input" or "output" for the copies at the ends
    function: str  #: C function it calls
    instructions: int
    cycles: float  #: estimated
    flash: int  #: data reads of flash
    sram: int  #: data reads and writes of RAM
    macs: int  #: multiplications executed
    energy: dict[str, float]  #: shares of the inference's energy, by cause (estimates/energy.py)


@dataclass(frozen=True)
class Profile:
    """One inference, or the mean of several. Cycles are estimates (docs/cycle-model.md)."""

    board: str
    core: str
    instructions: int
    cycles: float
    steps: tuple[LayerStep, ...]
    functions: dict[str, int]  #: instructions by symbol, callees apart, most first
    energy_uj: float | None  #: estimated from the board's current; None where that is unknown
    energy_source: str  #: of that current, and of the shares

    @property
    def causes(self) -> dict[str, float]:
        """Shares of the energy, by cause."""
        return {k: sum(step.energy[k] for step in self.steps) for k in energy.CAUSES}

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "causes": self.causes}


def profile(
    folder: Path,
    board: str | Board,
    build_dir: Path,
    inputs: np.ndarray,
    run_time: float = 600.0,
    runs: int = 1,
    accesses: bool = True,
) -> Profile:
    """Run the first `runs` of `inputs` (int8 [n, input size]) of the library in `folder`, counted.

    Counting `accesses` of memory is slow, about a million a second; without, they stay 0, and their
    energy with them. `run_time` is the limit in seconds. Of several runs the figures are means.

    Raises TargetError where the simulator has no model of the board's core or the library's C was
    changed so that calls are not told apart, ToolError if the library does not build.
    """
    board = boards.load(board) if isinstance(board, str) else board
    sim = Sim()
    if not sim.supports(board):
        raise TargetError(
            f"the simulator has no model of {board.core} (board {board.id}), and only it can "
            "profile: choose a board of another core, see `secateur boards`"
        )
    if why := sim.available():
        raise TargetError(why)
    image = gcc.build(folder, board, build_dir, flags=NO_INLINING)
    machine = _Profiler(image, library.read(folder), run_time)
    machine.count(True)
    if accesses:
        machine.count_accesses()
    client = Client(machine, run_time=run_time, retries=1, greeting=run_time)
    try:  # not `converse`, which runs the model again to measure its stack
        client.greet()
        info = client.info()
        for x in inputs[:runs]:
            client.infer(x, info)
    except DeviceFaultError as report:
        raise fault.error(image, report) from None
    return _in_source_names(machine.result(), Path(folder))


def _in_source_names(found: Profile, folder: Path) -> Profile:
    """`found` with the layers called as in the source model, as far as the manifest tells."""
    try:
        manifest = reading.json_file(folder / "secateur.json")
        source = tuple(str(row["name"]) for row in manifest["layers"])
    except (FileError, KeyError, TypeError):
        return found
    title = {part: name for name, part in names.layers(source).items()}
    steps = (replace(step, layer=title.get(step.layer, step.layer)) for step in found.steps)
    return replace(found, steps=tuple(steps))


@dataclass(frozen=True)
class _Call:
    layer: str
    function: str
    first: int  #: lines of the statement in NAME.c
    last: int


def _calls(source: str, name: str) -> list[_Call]:
    """The statements of NAME_run_in: each stands below its comment, which begins with a name.

    In a chain the calls stand in loops, which count as theirs, and what unpacks their weights
    stands before the chain.
    """
    lines = source.splitlines()
    start = next(i for i, s in enumerate(lines) if s.startswith(f"int {name}_run_in("))
    found: list[_Call] = []
    for i in range(start, len(lines)):
        if lines[i] == "}":
            break
        comment = re.match(r"( +)/\* (?:(\S+):(?: |$)|(output) \*/)", lines[i])
        if not comment:
            continue
        ends = (f"{comment[1]}/*", f"{comment[1]}return")
        begin = i + 1
        while not lines[begin - 1].endswith("*/"):  # a long name's comment has several lines
            begin += 1
        end = begin
        while lines[end].startswith(comment[1]) and not lines[end].startswith(ends):
            end += 1
        text = " ".join(lines[begin:end])
        function = re.search(r"(\w+)\(", text)
        first = i if lines[i - 1].strip().startswith("for (;") else begin + 1
        found.append(_Call(comment[2] or comment[3], function[1] if function else "", first, end))
    return found


def _lines(path: Path, source: str, start: int, end: int) -> dict[int, int]:
    """Line of every address start..end-1 whose code comes from the file `source`."""
    out: dict[int, int] = {}
    with path.open("rb") as file:
        dwarf = ELFFile(file).get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            if program is None or not unit.get_top_DIE().get_full_path().endswith(source):
                continue
            base = 0 if program["version"] >= 5 else 1
            files = [f.name.decode(errors="replace") for f in program["file_entry"]]
            before = None
            for item in program.get_entries():
                state = item.state
                if state is None:
                    continue
                if before is not None and files[before.file - base].endswith(source):
                    for address in range(max(start, before.address), min(end, state.address)):
                        out[address] = before.line
                before = None if state.end_sequence else state
    return out


class _Profiler(Machine):
    """Counts blocks by the call of the model in which they ran."""

    def __init__(self, image: Image, lib: library.LibraryFolder, run_time: float) -> None:
        super().__init__(image, run_time)
        self._board, self._name = image.board, lib.name
        self._symbols = elf.symbols(image.elf)
        run = f"{lib.name}_run_in"
        start, size = self._symbols[run]
        self._span = range(start, start + size)
        source = lib.folder / "src" / f"{lib.name}.c"
        calls = _calls(source.read_text(encoding="utf-8"), lib.name)
        self._list = list({c.layer: c for c in calls}.values())  # the last one is the layer's work
        index = {c.layer: i for i, c in enumerate(self._list)}
        lines = _lines(image.elf, source.name, start, start + size)
        self._call_at = {
            a: index[c.layer]
            for a, line in lines.items()
            for c in calls
            if c.first <= line <= c.last
        }
        self._now: int | None = None
        self._taken = Counts()  #: of this interval, by the steps before
        self._waits: defaultdict[int | None, float] = defaultdict(float)  #: for flash, by step
        self._waits_history: list[dict[int | None, float]] = []
        self._steps: defaultdict[int | None, Counter[Edge]] = defaultdict(Counter)
        self._history: list[dict[int | None, Counter[Edge]]] = []
        self._accesses: Counter[tuple[int | None, str]] = Counter()
        self._access_history: list[Counter[tuple[int | None, str]]] = []

    def count(self, on: bool) -> None:
        import unicorn

        if on:  # before the counter, which then has not seen the block
            begin, end = self._span.start, self._span.stop - 1
            self._uc.hook_add(unicorn.UC_HOOK_BLOCK, self._entered, begin=begin, end=end)
        super().count(on)

    def _entered(self, uc: Any, address: int, size: int, data: object) -> None:
        """A block of the model's run function begins: its last instruction is the call, if it
        calls."""
        step = self._call_at.get(address + size - 2)
        if step != self._now:
            self._put(self._counter.take(going_on=True))
            self._now = step

    def _put(self, counts: Counts) -> None:
        """What was counted belongs to the present step."""
        self._steps[self._now].update(counts.edges)
        self._waits[self._now] += counts.waits.middle
        self._taken.edges.update(counts.edges)
        self._taken.waits = self._taken.waits.plus(counts.waits)

    def _access(
        self, uc: Any, access: int, address: int, size: int, value: int, where: str
    ) -> None:
        self._accesses[self._now, where] += 1 if size <= 4 else 2

    def _close_interval(self) -> int:
        self._put(self._counter.take())
        counts, self._taken = self._taken, Counts()
        self._intervals.append(counts)
        self._history.append(dict(self._steps))
        self._steps = defaultdict(Counter)
        self._access_history.append(self._accesses)
        self._accesses = Counter()
        self._waits_history.append(self._waits)
        self._waits = defaultdict(float)
        self._now = None
        return self._instructions(counts)

    def result(self) -> Profile:
        """The mean of the runs; the firmware has timed an empty model twice before."""
        history = self._history[1::2][2:]
        runs = len(history)
        accesses = sum(self._access_history[1::2][2:], Counter[tuple[int | None, str]]())
        waited = self._waits_history[1::2][2:]
        steps: defaultdict[int | None, Counter[Edge]] = defaultdict(Counter)
        for run in history:
            for i, found in run.items():
                steps[i].update(found)
        board, riscv = self._board, self._board.cpu.riscv
        works = []
        for i in range(len(self._list)):
            edges = steps.get(i, Counter())
            macs = sum(
                energy.multiplications(self.decoded[b], riscv) * n for (_, b), n in edges.items()
            )
            cycles = estimate(edges, self.decoded, board.core).middle
            cycles += sum(run.get(i, 0.0) for run in waited)
            count = sum(len(self.decoded[b]) * n for (_, b), n in edges.items())
            reads, sram = accesses[i, "flash"], accesses[i, "sram"]
            count, reads, sram, macs = (round(n / runs) for n in (count, reads, sram, macs))
            works.append(energy.Work(count, round(cycles / runs, 1), reads, sram, macs))
        nowhere = sum(len(self.decoded[b]) * n for (_, b), n in steps[None].items()) / runs
        if nowhere > BETWEEN + 0.01 * sum(w.instructions for w in works):
            raise TargetError(
                f"{nowhere:,.0f} instructions belong to no layer: the statements of "
                f"{self._name}_run_in do not stand below the comments that they were written with; "
                "convert the model again"
            )
        shares = energy.spread(works, board)
        out = [
            LayerStep(c.layer, c.function, w.instructions, w.cycles, w.flash, w.sram, w.macs, parts)
            for c, w, parts in zip(self._list, works, shares, strict=True)
        ]
        whole = round(sum(s.cycles for s in out), 1)
        every = sum((steps[i] for i in range(len(out))), Counter[Edge]())
        functions = {name: round(n / runs) for name, n in self._by_function(every).items()}
        power, uj = board.power, None
        if power.active_ma is not None and power.voltage is not None:
            uj = 1e3 * whole / board.clock_hz * power.active_ma * power.voltage
        source = f"{power.source}; shares: {energy.costs(board).source}"
        return Profile(
            board.id, board.core, sum(s.instructions for s in out), whole, tuple(out), functions,
            uj, source,
        )  # fmt: skip

    def _by_function(self, edges: Counter[Edge]) -> dict[str, int]:
        ranges = sorted((a, a + n, name) for name, (a, n) in self._symbols.items() if n and name)
        total: Counter[str] = Counter()
        where: dict[int, str] = {}
        for (_, block), times in edges.items():
            at = block[0]
            if at not in where:
                where[at] = next((n for a, e, n in ranges if a <= at < e), "?")
            total[where[at]] += len(self.decoded[block]) * times
        return dict(total.most_common())
