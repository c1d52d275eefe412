"""Renode: the files are checked everywhere; what needs Renode is not run where it is missing."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
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
    assert "Test Timeout      5 minutes" in robot  # a fault would run for ever


ANSWERS = {
    "sysbus.cpu ExecutedInstructions": "0x00000000000F4240",
    "machine ElapsedVirtualTime": "Elapsed Virtual Time: 00:01:02.500000000\r\nLoad: 0.0",
}

#: A stand-in for Renode: offers the harness' line, on which a program of the host answers, and a
#: monitor whose answers come byte by byte. What is sent before the greeting is out is lost.
STAND_IN = """\
import re, socket, subprocess, sys, threading, time
PROGRAM, ANSWERS = {program!r}, {answers!r}
if "--version" in sys.argv:
    print("Renode v1.16.1.12345 (abcdef-202601010000)")
    sys.exit()
monitor = socket.create_server(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])))
script = open(sys.argv[-1]).read()
harness = socket.create_server(
    ("127.0.0.1", int(re.search(r"CreateServerSocketTerminal (\\d+)", script)[1])))

def watch():
    line, _ = monitor.accept()
    line.sendall(b"Renode, version 1.16\\r\\n(machine) ")
    text = b""
    while data := line.recv(100):
        text += data
        while b"\\n" in text:
            asked, text = text.split(b"\\n", 1)
            said = asked.decode() + "\\r\\n" + ANSWERS.get(asked.decode(), "") + "\\r\\n(machine) "
            for byte in said.encode():
                line.sendall(bytes([byte]))
                time.sleep(0.002)

threading.Thread(target=watch, daemon=True).start()
line, _ = harness.accept()
time.sleep(0.5)  # the firmware starts
child = subprocess.Popen([PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
said = b""
while b"m-ready" not in said:
    said += child.stdout.read(1)
line.setblocking(False)
try:
    early = line.recv(4096)
except BlockingIOError:
    early = b""
if early:
    sys.exit("error: a request came before the firmware listened")
line.setblocking(True)
line.sendall(said)

def answer():
    while data := child.stdout.read(64):
        line.sendall(data)

threading.Thread(target=answer, daemon=True).start()
while data := line.recv(4096):
    child.stdin.write(data)
threading.Event().wait()
"""


@pytest.mark.parametrize(("size", "late"), [(4096, 0.0), (1, 0.001), (5, 0.05), (4096, 0.7)])
def test_renodes_counters_come_from_its_monitor(size: int, late: float) -> None:
    """A stand-in that answers as Renode's monitor does: with echo and colours, in pieces, late."""
    said: list[str] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = server.accept()

        def send(text: str) -> None:
            data = text.encode()
            for at in range(0, len(data), size):
                time.sleep(late)
                connection.sendall(data[at : at + size])

        with connection, contextlib.suppress(BrokenPipeError):  # it has heard enough
            send("Renode, version 1.16\r\n\x1b[33;1m(nucleo_f446re) \x1b[0m")
            for line in connection.makefile():
                said.append(line.strip())
                answer = f"\x1b[36m{ANSWERS.get(said[-1], '')}\x1b[0m"
                send(f"{said[-1]}\r\n{answer}\r\n(mach) ")

    thread = threading.Thread(target=serve)
    thread.start()
    found = read_totals(server.getsockname()[1], boards.load("nucleo_f446re"))
    thread.join()
    server.close()
    assert found == Totals(1_000_000, 62.5)
    assert said[0] == "pause"


def test_a_monitor_that_is_not_there() -> None:
    assert read_totals(1, boards.load("nucleo_f446re")) is None


@pytest.fixture
def stand_in(
    image: Callable[[str], Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in, first on PATH."""
    program = tmp_path / "bin" / "renode"
    program.parent.mkdir()
    text = STAND_IN.format(program=str(image("host").elf), answers=ANSWERS)
    program.write_text(f"#!{sys.executable}\n{text}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)


def test_a_run_waits_for_the_greeting_and_reads_whole_numbers(
    stand_in: None, image: Callable[[str], Image]
) -> None:
    inputs = samples(2)
    target = Renode()
    result = target.run(image("nucleo_f446re"), inputs)
    assert np.array_equal(result.outputs, echo(inputs))
    assert target.totals == Totals(1_000_000, 62.5)


def test_a_version_that_does_not_run_a_board(
    stand_in: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    board = boards.load("mps3_an547")
    assert "renode" not in board.emulators
    assert not Renode().supports(board)
    args = ["renode", str(ECHO), "--board", "mps3_an547", "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(main, args)
    assert done.exit_code == 2
    for said in ("up to version 1.16.1", "LSLL", "version 1.16.1 is installed", "(qemu)"):
        assert said in done.stderr
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(tools, "version", lambda program: (1, 17, 0))
    assert "renode" in board.emulators
    monkeypatch.setattr(tools, "version", lambda program: None)
    assert "renode" not in board.emulators


@pytest.mark.parametrize("given", ["x", "0", "1", "nan", "-1e-5"])
def test_a_quantum_that_is_none(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECATEUR_RENODE_QUANTUM", given)
    with pytest.raises(TargetError, match="give seconds, 1e-6 to 1e-2"):
        renode_files.quantum()


def test_a_finer_quantum(
    image: Callable[[str], Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = image("nucleo_f446re")
    assert "Quantum" not in renode_files.script(built, tmp_path / "x.repl")
    monkeypatch.setenv("SECATEUR_RENODE_QUANTUM", "1e-5")
    assert 'SetGlobalQuantum "0.000010"' in renode_files.script(built, tmp_path / "x.repl")


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
    if "renode" not in boards.load(board).emulators:
        pytest.skip(str(renode_files.unknown(boards.load(board))))
    inputs = samples(2)
    target = Renode()
    result = target.run(image(board), inputs)
    assert np.array_equal(result.outputs, echo(inputs))
    assert target.totals is not None
    assert target.totals.seconds > 0
    per_second = target.totals.instructions / target.totals.seconds
    assert per_second <= renode_files.mips(boards.load(board)) * 1.01e6


@pytest.mark.emulator
def test_robot(image: Callable[[str], Image], tmp_path: Path) -> None:
    need("renode-test")
    paths = renode_files.write(image("nucleo_f446re"), tmp_path, "echo")
    tools.run(["renode-test", str(paths["robot"])], "the robot test", cwd=tmp_path)
