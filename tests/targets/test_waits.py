"""Flash that waits: caches counted by hand, and C against Python on every board's accelerator."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from elftools.elf.elffile import ELFFile
from elftools.elf.sections import SymbolTableSection

from secateur import targets
from secateur.cores.flash import ACCELERATORS, Accelerator, Cache
from secateur.errors import TargetError
from secateur.targets import Image, boards
from secateur.targets.estimates.flash import Waits
from secateur.targets.runners import trace
from secateur.targets.runners.sim import Machine
from secateur.targets.wire.client import Client

from .conftest import ECHO, need, samples

LD = Path(__file__).parents[2] / "firmware" / "ld"


def waited(waits: Waits) -> tuple[int, int]:
    """At least and at most, by the only reading there is."""
    (found,) = waits.waited()
    return found


def test_lines_of_code_are_waited_for_once() -> None:
    waits = Waits(Accelerator("two lines of 16", Cache(16, 1, 2), None), 5)
    waits.fetch(0x100, 20)  # two lines
    waits.fetch(0x10C, 2)
    assert waited(waits) == (10, 10)
    waits.fetch(0x200, 4)  # 0x110 is the oldest now: 0x10C was used behind it
    waits.fetch(0x100, 4)
    assert waited(waits) == (15, 15)
    waits.fetch(0x110, 4)
    assert waited(waits) == (20, 20)


def test_the_next_line_is_read_ahead() -> None:
    waits = Waits(Accelerator("with prefetch", Cache(16, 1, 4), None, prefetch=True), 5)
    waits.fetch(0x100, 48)
    assert waited(waits)[0] == 5 + 1 + 1  # four words of code hide four of five cycles
    waits.fetch(0x200, 4)
    assert waited(waits) == (12, 12)


def test_constants() -> None:
    code = Cache(8, 1, 8)
    for data, shared, cycles in ((None, False, 15), (Cache(8, 1, 1), False, 10), (None, True, 5)):
        waits = Waits(Accelerator("of a test", code, data, shared=shared), 5)
        waits.fetch(0x100, 8)
        for address in (0x200, 0x204, 0x100):
            waits.read(address)
        (one,) = waits.readings
        assert (one.code, one.data) == ([5, 5], [cycles, cycles]), (data, shared)


def test_sets_are_those_of_the_address() -> None:
    waits = Waits(Accelerator("two sets of one", Cache(8, 2, 1), None), 1)
    for address in (0, 8, 0, 8, 16, 0):  # 0 and 16 share a set
        waits.fetch(address, 2)
    assert waited(waits) == (4, 4)


def _misses(trace: list[int], ways: int, order: str, random: np.random.Generator) -> int:
    """Of one set, if this is what decides which line goes."""
    held: list[int] = []
    missed = 0
    for i, line in enumerate(trace):
        if line in held:
            if order == "lru":
                held.remove(line)
                held.append(line)
            continue
        missed += 1
        if len(held) == ways:
            goes = 0
            if order == "random":
                goes = int(random.integers(ways))
            elif order == "newest":
                goes = ways - 1
            elif order == "best":  # Belady: what is used last, or never again
                rest = trace[i:]
                goes = max(
                    range(ways),
                    key=lambda w: rest.index(held[w]) if held[w] in rest else len(rest),
                )
            del held[goes]
        held.append(line)
    return missed


@pytest.mark.parametrize("ways", [1, 2, 4])
def test_whatever_goes_the_misses_are_between(ways: int) -> None:
    """Any order against the bounds, the best possible one among them."""
    random = np.random.default_rng(ways)
    tight = 0
    for _ in range(60):
        trace = [int(x) for x in random.integers(0, int(random.integers(2, 9)), 60)]
        waits = Waits(Accelerator("of a test", Cache(8, 1, ways, "any"), None), 1)
        for line in trace:
            waits.fetch(8 * line, 2)
        low, high = waited(waits)
        for order in ("lru", "fifo", "random", "newest", "best"):
            assert low <= _misses(trace, ways, order, random) <= high, order
        tight += low == _misses(trace, ways, "best", random)
    assert tight > 5, "the lower bound is reached now and then"


def test_where_all_is_held_the_order_does_not_matter() -> None:
    waits = Waits(Accelerator("of a test", Cache(8, 1, 4, "any"), None), 7)
    for line in (0, 1, 2, 3):
        waits.fetch(8 * line, 2)
    assert waited(waits)[0] == 28
    for line in (0, 1, 2, 3) * 5:
        waits.fetch(8 * line, 2)
    assert waited(waits)[0] == 28


def test_two_readings_of_a_source() -> None:
    other = Accelerator("filled at once", Cache(32, 1, 2), None)
    waits = Waits(Accelerator("by 64 bits", Cache(8, 1, 8), None, other=other), 5)
    waits.fetch(0x100, 32)
    assert waits.waited() == [(20, 20), (5, 5)]


def test_rows_are_powers_of_two() -> None:
    for name, row in ACCELERATORS.items():
        for reading in row.readings:
            for cache in (reading.code, reading.data or reading.code):
                assert cache.line.bit_count() == cache.sets.bit_count() == 1, name
    assert ACCELERATORS["stm32f4"].code.size == 64 * 16
    assert ACCELERATORS["rp2040"].code.size == 16 * 1024
    assert len({r.code.size for r in ACCELERATORS["stm32l4"].readings}) == 1


def test_a_board_names_a_known_accelerator(tmp_path: Path) -> None:
    manifest = json.loads((boards.assets.root() / "boards" / "pico.json").read_text())
    manifest["secateur"]["accelerator"] = "magic"
    path = tmp_path / "pico.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(TargetError, match=r"'magic' is no known accelerator: stm32f4"):
        boards.check(path)


@pytest.mark.emulator
@pytest.mark.parametrize(
    "board", ["nucleo_l4r5zi", "nucleo_h743zi", "nucleo_u575zi", "pico", "arduino_zero"]
)
def test_c_counts_what_python_counts(board: str, image: Callable[[str], Image]) -> None:
    need("cc")
    native = trace._native()
    assert native is not None
    built = image(board)
    found = []
    for make in (
        lambda b, _: trace.NativeCounter(b, native),
        trace.PythonCounter,
    ):
        machine = Machine(built)
        machine._counter = make(built.board, machine._epsr)
        machine.count(True)
        client = Client(machine, retries=1)
        client.infer(samples(1)[0], client.info())
        found.append(machine.runs())
    assert found[0] == found[1]
    low, middle, high = found[0][1].waits
    assert 0 < low <= middle <= high


@pytest.mark.emulator
def test_accesses_are_seen_where_flash_is_read_by_another_address(
    image: Callable[[str], Image],
) -> None:
    """Counting in C moves data reads of flash to an alias; hooks of accesses look there."""
    need("cc")
    native = trace._native()
    assert native is not None
    built = image("nucleo_l4r5zi")
    found: list[Counter[str]] = []

    class Accesses(Machine):
        def _access(
            self, uc: Any, access: int, address: int, size: int, value: int, where: str
        ) -> None:
            found[-1][where] += 1

    for in_c in (True, False):
        found.append(Counter())
        machine = Accesses(built)
        counter = trace.NativeCounter(built.board, native) if in_c else None
        machine._counter = counter or trace.PythonCounter(built.board, machine._epsr)
        machine.count(True)
        machine.count_accesses()
        client = Client(machine, retries=1)
        client.infer(samples(1)[0], client.info())
    assert found[0] == found[1]
    assert found[0]["flash"] > 100


@pytest.mark.emulator
def test_waits_are_part_of_the_estimate(image: Callable[[str], Image]) -> None:
    built = image("nucleo_l4r5zi")
    fast = built.board.model_copy(update={"wait_states": 0})
    cycles = [
        targets.get("sim").run(Image(built.elf, board, built.sizes), samples(1)).cycles
        for board in (built.board, fast)
    ]
    assert cycles[0] is not None
    assert cycles[1] is not None
    assert cycles[1] < cycles[0] < 1.2 * cycles[1]  # the loop of echo is held


@pytest.mark.parametrize("script", ["cortexm.ld", "rv32.ld"])
def test_the_linker_script_names_every_file_of_the_harness(script: str) -> None:
    lists = re.findall(r"EXCLUDE_FILE\(([^)]*)\)", (LD / script).read_text())
    stems = {p.stem for p in (LD.parent / "src").glob("harness_*.c")}
    assert len(lists) == 4
    for one in lists:
        assert set(one.split()) == {f"*/{s}{end}" for s in stems for end in (".o", ".c.o")}


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["qemu_m0plus", "mps2_an386", "qemu_rv32"])
def test_the_harness_calls_no_function_of_the_c_library(
    board: str, image: Callable[[str], Image]
) -> None:
    """Linked from the library it would count as the model's code."""
    objects = sorted(image(board).elf.parent.glob("harness_*.o"))
    assert len(objects) > 5
    for thing in objects:
        with thing.open("rb") as file:
            table = ELFFile(file).get_section_by_name(".symtab")
            assert isinstance(table, SymbolTableSection)
            called = {s.name for s in table.iter_symbols() if s["st_shndx"] == "SHN_UNDEF"}
        assert not {n for n in called if re.match("(mem|str|__aeabi_mem)(?!ory_)", n)}, thing.name


@pytest.mark.emulator
@pytest.mark.parametrize("board", ["mps2_an386", "qemu_rv32"])
def test_a_folder_called_like_the_harness(
    board: str, image: Callable[[str], Image], tmp_path: Path
) -> None:
    plain = image(board)
    folder = tmp_path / "my_harness_tests" / "build"
    assert targets.build(ECHO, board, folder).sizes == plain.sizes
