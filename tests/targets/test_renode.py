"""Renode: the files are checked everywhere; what needs Renode is not run where it is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from secateur import targets
from secateur.errors import TargetError, ToolError
from secateur.targets import Image, boards, renode_files, tools
from secateur.targets.renode import Renode

from .conftest import echo, need, samples

BOARDS = [board.id for board in boards.all() if board.emulator.renode]


@pytest.mark.parametrize("board", BOARDS)
def test_platform(board: str) -> None:
    text = renode_files.platform(boards.load(board))
    renode_files.check_platform(text)
    assert "ApplySVD" not in text  # would fetch from the network
    assert "http" not in text


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("cpu: CPU.CortexM @ sysbus", "there twice"),
        ("uart UART.PL011 @ sysbus 0x1000", "not understood"),
        ("uart: UART.PL011 @ sysbus 1000", "not understood"),
        ("x: UART.PL011 @ sysbus 0x1000\n    IRQ -> nobody@3", "names nobody"),
        ("x: UART.PL011 @ sysbus 0x1000\n    size 0x10", "not understood"),
    ],
)
def test_a_broken_platform_names_the_line(line: str, named: str) -> None:
    text = renode_files.platform(boards.load("nucleo_f446re")).split("sysbus:")[0]
    with pytest.raises(TargetError, match=rf"platform line \d+.*{named}"):
        renode_files.check_platform(text + line + "\n")


def test_script_and_robot(image: Callable[[str], Image], tmp_path: Path) -> None:
    paths = renode_files.write(image("nucleo_f446re"), tmp_path, "echo")
    script = paths["resc"].read_text()
    assert f"LoadPlatformDescription @{paths['repl']}" in script
    assert "VectorTableOffset 0x8000000" in script
    assert "PerformanceInMips 168" in script
    assert "SetAdvanceImmediately true" in script
    robot = paths["robot"].read_text()
    assert f"include @{paths['resc']}" in robot
    assert "m-model-[echo]" in robot


def test_missing_renode_is_named(
    monkeypatch: pytest.MonkeyPatch, image: Callable[[str], Image]
) -> None:
    built = image("nucleo_f446re")
    monkeypatch.setattr(tools, "find", lambda program: None)
    with pytest.raises(ToolError, match="renode is not installed: see https"):
        Renode().run(built, samples(1))
    with pytest.raises(TargetError, match="renode is not installed"):
        targets.pick("nucleo_f446re", "renode")


@pytest.mark.emulator
@pytest.mark.parametrize("board", BOARDS)
def test_renode(board: str, image: Callable[[str], Image]) -> None:
    need("renode")
    inputs = samples(2)
    result = Renode().run(image(board), inputs)
    assert np.array_equal(result.outputs, echo(inputs))


@pytest.mark.emulator
def test_robot(image: Callable[[str], Image], tmp_path: Path) -> None:
    need("renode-test")
    paths = renode_files.write(image("nucleo_f446re"), tmp_path, "echo")
    tools.run(["renode-test", str(paths["robot"])], "the robot test", cwd=tmp_path)
