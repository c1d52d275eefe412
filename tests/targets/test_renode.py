"""Renode: the files are checked everywhere; what needs Renode is not run where it is missing."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from secateur import targets
from secateur.cli import main
from secateur.errors import TargetError, ToolError
from secateur.targets import Image, boards, tools
from secateur.targets.runners import renode_files
from secateur.targets.runners.renode import Renode, Totals, read_totals

from .conftest import ECHO, echo, need, samples

BOARDS = [board.id for board in boards.all() if board.emulator.renode]


@pytest.mark.parametrize("board", BOARDS)
def test_platform(board: str) -> None:
    text = renode_files.platform(boards.load(board))
    renode_files.check_platform(text)
    assert "ApplySVD" not in text  # would fetch from the network
    assert "http" not in text


OWN = [b.id for b in boards.all() if b.emulator.renode and b.emulator.renode.own]


@pytest.mark.parametrize("board", OWN)
def test_platform_on_top_of_renodes_own(board: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_RENODE_PLATFORM", "own")
    text = renode_files.choose(boards.load(board))
    renode_files.check_platform(text)
    assert 'using "platforms/' in text
    assert "UART." not in text  # Renode's own UART, not a second one
    monkeypatch.setenv("SECATEUR_RENODE_PLATFORM", "generated")
    assert "using" not in renode_files.choose(boards.load(board))
    monkeypatch.setenv("SECATEUR_RENODE_PLATFORM", "mine")
    with pytest.raises(TargetError, match="'mine': generated or own"):
        renode_files.choose(boards.load(board))


def test_a_board_of_which_renode_brings_nothing() -> None:
    with pytest.raises(TargetError, match="brings no platform for board pico"):
        renode_files.own_platform(boards.load("pico"))


def test_the_command_writes_all_of_it(tmp_path: Path) -> None:
    need("arm-none-eabi-gcc")
    args = ["renode", str(ECHO), "--board", "nucleo_h743zi", "--out", str(tmp_path), "--json"]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 0, done.output
    (row,) = json.loads(done.stdout)
    for kind in ("repl", "resc", "robot"):
        assert Path(row[kind]).read_text()
    assert f"LoadELF @{tmp_path}/nucleo_h743zi/firmware.elf" in Path(row["resc"]).read_text()
    done = CliRunner().invoke(main, ["renode", str(ECHO), "--board", "nrf5340_dk"])
    assert done.exit_code == 2
    assert "Renode does not know board nrf5340_dk" in done.stderr


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
    assert "sysbus.cpu ExecutedInstructions" in robot


def test_renodes_counters_come_from_its_monitor() -> None:
    """A stand-in that echoes and answers as Renode's monitor does over its socket."""
    said: list[str] = []
    answers = {
        "sysbus.cpu ExecutedInstructions": "0x00000000000F4240",
        "machine ElapsedVirtualTime": "Elapsed Virtual Time: 00:01:02.500000000\r\nLoad: 0.0",
    }
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.sendall(b"Renode, version 1.16\r\n\x1b[33;1m(nucleo_f446re) \x1b[0m")
            for _ in range(3):
                line = connection.recv(4096).decode().strip()
                said.append(line)
                answer = f"\x1b[36m{answers.get(line, '')}\x1b[0m"
                connection.sendall(f"{line}\r\n{answer}\r\n(mach) ".encode())

    thread = threading.Thread(target=serve)
    thread.start()
    found = read_totals(server.getsockname()[1], boards.load("nucleo_f446re"))
    thread.join()
    server.close()
    assert found == Totals(1_000_000, 62.5)
    assert said[0] == "pause"
    assert read_totals(1, boards.load("nucleo_f446re")) is None


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
    target = Renode()
    result = target.run(image(board), inputs)
    assert np.array_equal(result.outputs, echo(inputs))
    assert target.totals is not None
    per_second = target.totals.instructions / target.totals.seconds
    assert per_second <= renode_files.mips(boards.load(board)) * 1.01e6


@pytest.mark.emulator
def test_robot(image: Callable[[str], Image], tmp_path: Path) -> None:
    need("renode-test")
    paths = renode_files.write(image("nucleo_f446re"), tmp_path, "echo")
    tools.run(["renode-test", str(paths["robot"])], "the robot test", cwd=tmp_path)
