"""Cores: what the registry promises to those that read it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import secateur
from secateur import cores, targets
from secateur.errors import TargetError
from secateur.targets import assets, boards, tools
from secateur.targets.runners.sim import Sim

from .targets.conftest import ECHO, need


def test_the_builders_file_says_what_the_registry_says() -> None:
    """PlatformIO runs firmware/platform without this package: `python -m secateur.cores > ...`."""
    text = (assets.firmware() / "platform" / "cores.json").read_text(encoding="utf-8")
    command = [sys.executable, "-m", "secateur.cores"]  # afresh: tests register cores of their own
    rows = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(text) == json.loads(rows)


def test_flags_are_those_of_the_core_with_and_without_this_package() -> None:
    flags = tools.flags()
    for board in boards.all():
        if not board.hosted:
            assert flags.link_flags(board.manifest) == flags.link_flags(board.build_manifest)
            assert flags.machine_flags(board.manifest) == list(board.cpu.machine)


def test_a_core_is_registered_once_and_stands_on_a_known_one() -> None:
    m4 = cores.get("cortex-m4")
    assert cores.register(m4) is m4
    with pytest.raises(TargetError, match="a core named cortex-m4 is registered already"):
        cores.register(replace(m4, renode=None))
    with pytest.raises(TargetError, match="core odd: prices names cortex-m5, which is no"):
        cores.register(replace(m4, name="odd", prices="cortex-m5"))
    assert "odd" not in cores.names()
    with pytest.raises(TargetError, match=r"core odd is unknown: .*cortex-m4"):
        cores.get("odd")


def test_no_core_is_named_outside_its_row() -> None:
    """Whoever asks which core it is asks its row. "host" is a board and a target, too."""
    package = Path(secateur.__file__).parent
    sources = [p for p in package.rglob("*.py") if "cores" not in p.relative_to(package).parts]
    sources += (assets.firmware() / "platform").rglob("*.py")
    names = set(cores.names()) - {"host"}
    found = [
        f"{path.name}:{node.lineno}"
        for path in sources
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not found


@pytest.mark.emulator
def test_a_board_with_a_cortex_m85_builds_and_has_no_emulator(tmp_path: Path) -> None:
    """It is compiled and planned as the Cortex-M55, whose code it executes."""
    need("arm-none-eabi-gcc")
    manifest = json.loads((assets.root() / "boards" / "mps3_an547.json").read_text())
    manifest["name"] = "A board with a Cortex-M85"
    manifest["secateur"]["core"] = "cortex-m85"
    manifest["secateur"]["emulator"] = {}
    path = tmp_path / "m85.json"
    path.write_text(json.dumps(manifest))
    board = boards.check(path)
    assert board.emulators == []
    assert board.cpu.priced_as == "cortex-m55"
    assert targets.build(ECHO, board, tmp_path / "firmware").elf.is_file()
    assert not Sim().supports(board)
    with pytest.raises(TargetError, match="nothing here runs board m85"):
        targets.pick(board, None)
    m55 = cores.get("cortex-m55").cycles
    m85 = board.cpu.cycles
    assert m55 is not None
    assert m85 is not None
    assert "approximate" in m85.source
    assert m85.error is None
    assert m55.pipeline is not None
    assert m85.pipeline is not None
    assert m85.pipeline.units == m55.pipeline.units
