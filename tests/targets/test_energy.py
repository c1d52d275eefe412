"""Where energy goes: what is counted, and that nothing of the whole is lost or invented."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmarks.cycles import LOOPS, NAMES

from secateur import targets
from secateur.codegen.plan import make_plan
from secateur.targets import boards
from secateur.targets.estimates import energy
from secateur.targets.estimates.blocks import Instruction
from secateur.targets.estimates.energy import Work, spread
from secateur.targets.runners.profile import profile
from secateur.targets.runners.sim import Machine
from secateur.targets.wire.client import Client

from ..codegen.qgraphs import Chain
from .conftest import need


class _Counting(Machine):
    accesses: Counter[str]

    def _access(
        self, uc: Any, access: int, address: int, size: int, value: int, where: str
    ) -> None:
        self.accesses[where] += 1


@pytest.mark.parametrize(
    ("loop", "a_turn"), [("delay", 0), ("read_add", 1), ("read_three", 3), ("write_two", 2),
                         ("read_many", 4), ("multiply", 0)],
)  # fmt: skip
def test_accesses_are_those_of_the_loop(loop: str, a_turn: int, tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    image = targets.build(LOOPS, "mps2_an386", tmp_path)
    counts = []
    for turns in (50, 150):
        machine = _Counting(image)
        machine.accesses = Counter()
        machine.count_accesses()
        client = Client(machine)
        client.load(bytes([NAMES.index(loop), turns, 0]))
        before = machine.accesses.copy()
        client.run()
        counts.append(machine.accesses - before)
    assert counts[1]["sram"] - counts[0]["sram"] == 100 * a_turn
    assert counts[1]["flash"] == counts[0]["flash"]


def test_counting_accesses_changes_nothing(tmp_path: Path) -> None:
    """A codebook's table is filled by conditional loads, which unicorn does not survive unaided."""
    need("arm-none-eabi-gcc")
    c = Chain("net", (64,), 1, 0)
    weight = c.rng.choice([-9, 0, 0, 31], (12, 64)).astype(np.int8)
    graph = c.dense(12, "levels", weight=weight).graph
    library = make_plan(graph, "codebook").library.save(tmp_path / "net")
    x = np.zeros((1, 64), np.int8)
    counted, bare = (
        profile(library, "mps2_an386", tmp_path / "build", x, accesses=accesses)
        for accesses in (True, False)
    )
    assert counted.instructions == bare.instructions > 0


def test_multiplications() -> None:
    code = [Instruction(0, 2, m, "r0, r1, r2, r3") for m in
            ("mul", "mla", "smlad", "smuadx", "smlal", "add", "ldr", "smlabb")]  # fmt: skip
    assert energy.multiplications(code, riscv=False) == 1 + 1 + 2 + 2 + 1 + 1
    assert energy.multiplications([Instruction(0, 4, "mul", "a0, a1, a2")], riscv=True) == 1


def test_shares_make_the_whole() -> None:
    board = boards.load("mps2_an386")
    works = [Work(100, 130.0, 3, 20, 8), Work(), Work(50, 50.0, 0, 40, 0)]
    shares = spread(works, board)
    assert sum(sum(parts.values()) for parts in shares) == pytest.approx(1)
    assert set(shares[0]) == set(energy.CAUSES)
    assert sum(shares[1].values()) == 0
    # by hand: 45 * 130 + 25 * 100 + 15 * 3 + 5 * 20 + 3.1 * 8 and 45 * 50 + 25 * 50 + 5 * 40
    first, second = 8519.8, 3700.0
    assert sum(shares[0].values()) == pytest.approx(first / (first + second))
    assert shares[0]["mac"] == pytest.approx(24.8 / (first + second))
    assert all(v == 0 for parts in spread([Work()], board) for v in parts.values())


def test_a_board_may_bring_its_own_costs() -> None:
    access = boards.Access(
        core_pj=0, fetch_pj=0, flash_pj=9, sram_pj=1, mac_pj=0, source="a measurement"
    )
    board = boards.load("mps2_an386")
    power = board.power.model_copy(update={"access": access})
    (parts,) = spread([Work(100, 130.0, 1, 1, 8)], board.model_copy(update={"power": power}))
    assert parts == pytest.approx({"core": 0, "fetch": 0, "flash": 0.9, "sram": 0.1, "mac": 0})


def test_a_current_has_a_source_that_was_read() -> None:
    for board in boards.all():
        if board.power.active_ma is not None:
            assert any(
                word in board.power.source for word in ("published", "datasheet", "specification")
            ), board.id
            assert np.isfinite(board.power.active_ma * (board.power.voltage or np.nan))
