"""No rule of the cycle model without a source: every number of every core, part and board."""

from __future__ import annotations

import copy
import json
import pickle
import re
from dataclasses import fields
from pathlib import Path

import pytest

from secateur import cores
from secateur.cores import CycleTable, Pipeline
from secateur.cores.flash import ACCELERATORS
from secateur.cores.timing import BOUNDS, NONE, READERS, Rule, between, latency
from secateur.errors import TargetError
from secateur.report.figures import estimate_latency
from secateur.targets import boards
from secateur.targets.estimates import cycles, energy
from secateur.targets.estimates.blocks import Instruction

TIMED = [name for name in cores.names() if cores.get(name).cycles is not None]
#: What may stand for evidence, and what may not.
EVIDENCE = re.compile(
    r"Arm |ST |ST's|measured|LLVM|GCC|SLOTHY|SiFive|RP2350|RP2040|Microchip|Hazard3|Nut/OS|flags|"
    r"this firmware writes it|emulated|a line is 8 bits of command|the core's caches"
)
GUESS = re.compile(r"assum|guess|remember|approximate:|not at hand|unverified", re.IGNORECASE)


def _table(core: str) -> CycleTable:
    found = cores.get(core).cycles
    assert found is not None
    return found


def _good(source: str) -> bool:
    return bool(EVIDENCE.search(source)) and not GUESS.search(source)


@pytest.mark.parametrize("core", TIMED)
def test_every_number_of_a_core_has_a_source(core: str) -> None:
    rules = dict(_table(core).rules())
    assert len(rules) > 5
    assert "other" in rules
    for place, rule in rules.items():
        assert _good(rule.source), f"{core}: {place} is {rule}: {rule.source!r}"


@pytest.mark.parametrize("core", TIMED)
def test_nothing_of_a_core_is_outside_the_walk(core: str) -> None:
    """A number that is no rule, or a property without a reason, would not be seen."""
    table = _table(core)
    found = {place.split(".")[0] for place, _ in table.rules()}
    for field in fields(CycleTable):
        value = getattr(table, field.name)
        if field.name in ("source", "error", "error_source") or value in (NONE, None, {}):
            continue
        assert field.name in found, f"{core}: {field.name}"
    assert (table.error is None) == (table.error_source == "")
    pipeline = table.pipeline
    if pipeline is None:
        return
    assert "alu" in pipeline.latency
    plain = Pipeline(pipeline.latency)
    structure = {
        f.name
        for f in fields(Pipeline)
        if f.name in ("width", "blocking", "apart", "stores_at_once")
        and getattr(pipeline, f.name) != getattr(plain, f.name)
    }
    assert structure == set(pipeline.because)
    assert all(map(_good, pipeline.because.values()))
    numbers = {f.name for f in fields(Pipeline)} - {*structure, "because"}
    walked = {place.split(".")[1] for place, _ in table.rules() if place.startswith("pipeline.")}
    used = {n for n in numbers if getattr(pipeline, n) not in (NONE, None, {}, 1, False)}
    assert used - walked <= {"blocking"}


def test_every_part_before_flash_has_a_source() -> None:
    for name, row in ACCELERATORS.items():
        for reading in row.readings:
            assert _good(reading.source), name
        assert len(row.readings) <= 2, "trace.c has room for two"


def test_every_board_says_where_its_wait_states_are_from_or_why_there_are_none() -> None:
    for board in boards.all():
        said = board.wait_states_source
        assert said, board.id
        assert not GUESS.search(said), board.id
        if board.wait_states is not None:
            assert EVIDENCE.search(said), board.id
        assert (board.wait_states or 0) == 0 or board.accelerator is not None, board.id
    named = {board.accelerator for board in boards.all()} - {None}
    assert named == set(ACCELERATORS) - {"stm32f7"}


def test_every_current_has_a_source_or_is_null() -> None:
    for board in boards.all():
        power = board.power
        assert power.source, board.id
        assert not GUESS.search(power.source), board.id
        known = power.active_ma is not None
        assert known == (power.voltage is not None) or not known, board.id
        words = ("datasheet", "specification", "MLPerf")
        assert known == any(w in power.source for w in words if "no figure" not in power.source)


def test_shares_of_energy_have_a_source() -> None:
    assert "Horowitz" in energy.DEFAULT.source
    assert "elektroniknet" in energy.DEFAULT.source
    assert energy.DEFAULT.flash_pj == 3 * energy.DEFAULT.sram_pj


def test_ranges() -> None:
    rule = between(2, 12, "Arm")
    assert (float(rule), rule.low, rule.high, rule.ranged) == (7, 2, 12, True)
    assert [float(rule.at(bound)) for bound in BOUNDS] == [2, 7, 12]
    assert not rule.at("high").ranged
    with pytest.raises(ValueError, match="13 is not between 2 and 12"):
        Rule(13, "Arm", 2, 12)
    for made in (pickle.loads(pickle.dumps(rule)), copy.deepcopy(rule)):
        assert (made, made.source, made.low, made.high) == (7, "Arm", 2, 12)
    assert len(latency(1, "Arm", factor=2)) == len(READERS)
    with pytest.raises(ValueError, match="no such reader"):
        latency(1, "Arm", nobody=2)


@pytest.mark.parametrize("core", TIMED)
def test_an_end_of_every_range(core: str) -> None:
    table = _table(core)
    low, high = table.at("low"), table.at("high")
    assert not low.ranged
    assert not high.ranged
    ends = zip(low.rules(), table.rules(), high.rules(), strict=True)
    for (a, least), (b, rule), (c, most) in ends:
        assert a == b == c
        assert least <= rule <= most
        assert (least, most) == (rule.low, rule.high)


@pytest.mark.parametrize(
    ("core", "line", "span"),
    [
        ("cortex-m3", "udiv r0, r1, r2", (2, 7, 12)),
        ("cortex-m4", "sdiv r0, r1, r2", (2, 7, 12)),
        ("cortex-m4", "add r0, r1, r2", (1, 1, 1)),
        ("cortex-m3", "umull r0, r1, r2, r3", (3, 4, 5)),
        ("cortex-m3", "umlal r0, r1, r2, r3", (4, 5.5, 7)),
        ("hazard3", "divu a0, a1, a2", (18, 18.5, 19)),
        ("cortex-m55", "pop {r4, r5, r6, r7}", (2, 3, 4)),
    ],
)
def test_a_block_has_a_least_and_a_most(
    core: str, line: str, span: tuple[float, float, float]
) -> None:
    assert cycles.block_span([Instruction(0, 2, *line.split(" ", 1))], core) == span


@pytest.mark.parametrize(
    ("core", "span"),
    [("cortex-m4", (2, 2, 2)), ("cortex-m33", (0, 1, 2)), ("cortex-m55", (0, 1.5, 3)),
     ("cortex-m85", (0, 0.5, 1)), ("cortex-m7", (0, 0, 0))],
)  # fmt: skip
def test_a_taken_branch_has_a_least_and_a_most(core: str, span: tuple[float, float, float]) -> None:
    branch = Instruction(0, 2, "bne", "8")
    assert cycles.taken_span(branch, Instruction(8, 2, "nop", ""), core) == span


def test_latency_is_between_what_the_rules_and_the_error_leave() -> None:
    known = estimate_latency(1, 1000.0, "estimated", 1e6, 0.1, (900.0, 1200.0))
    assert known.low == pytest.approx(0.81)
    assert known.high == pytest.approx(1.32)
    open_end = estimate_latency(1, 1000.0, "estimated", 1e6, 0.1, (900.0, 1200.0), at_least=True)
    assert (open_end.low, open_end.high) == (known.low, None)
    assert estimate_latency(1, 1000.0, "measured", 1e6, 0.1).low is None
    assert estimate_latency(1, 1000.0, "estimated", 1e6).low is None


@pytest.mark.parametrize(
    ("low", "high", "inside"),
    [(None, None, None), (90, 110, True), (101, 110, False), (90, 99, False), (90, None, True)],
)
def test_what_a_board_measured_is_inside_or_not(
    low: float | None, high: float | None, inside: bool | None
) -> None:
    row = boards.Measured.model_validate({
        "schema": 1, "board": "pico", "date": "2026-01-01", "version": "1", "model": "kws",
        "flashed_by": "uf2", "echo": True, "identical": 8, "total": 8, "cycles": 100,
        "estimated": 100, "estimated_low": low, "estimated_high": high,
    })  # fmt: skip
    assert row.inside is inside
    said = {None: "+0.0%", True: "(inside its range)", False: "(OUTSIDE its range)"}[inside]
    assert str(row).endswith(said)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"wait_states": 3, "wait_states_source": ""}, "wait_states has no wait_states_source"),
        ({"accelerator": None}, "accelerator is missing, which says what holds its lines"),
    ],
)
def test_a_manifest_without_evidence_is_refused(
    change: dict[str, object], sentence: str, tmp_path: Path
) -> None:
    manifest = json.loads((boards.assets.root() / "boards" / "pico.json").read_text())
    manifest["secateur"].update(change)
    path = tmp_path / "pico.json"
    path.write_text(json.dumps(manifest))
    with pytest.raises(TargetError, match=sentence):
        boards.check(path)
