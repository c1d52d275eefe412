"""MLPerf Tiny's text protocol over a pseudo-terminal, by a client written from its description."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import time
import tty
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import serial

from secateur import targets
from secateur.flow.mlperf import flags as runner_flags
from secateur.targets import Image
from secateur.targets.runners.sim import Machine

from .conftest import ECHO, echo, need, samples


class Runner:
    """As the benchmark's runner does: a command, '%', and lines up to m-ready."""

    def __init__(self, port: serial.Serial) -> None:
        self.port = port

    def lines(self) -> list[str]:
        text, end = "", time.monotonic() + 30
        while not text.endswith("m-ready\r\n"):
            assert time.monotonic() < end, text
            text += self.port.read(1).decode("ascii")
        return text.split("\r\n")[:-2]

    def ask(self, command: str) -> list[str]:
        self.port.write(f"{command}%".encode())
        return self.lines()

    def load(self, data: bytes) -> list[str]:
        answer = self.ask(f"db load {len(data)}")
        assert answer == [f"m-[Expecting {len(data)} bytes]"]
        for at in range(0, len(data), 31):
            answer = self.ask(f"db {data[at : at + 31].hex()}")
        return answer


@pytest.fixture
def runner(image: Callable[[str], Image]) -> Iterator[Runner]:
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    # The port first: opening it throws away what has come.
    with serial.Serial(os.ttyname(theirs), 115200, timeout=0.5) as port:
        child = subprocess.Popen([str(image("host").elf)], stdin=ours, stdout=ours)
        client = Runner(port)
        assert client.lines()[-1] == "m-init-done"
        yield client
    child.terminate()
    child.wait(5)
    os.close(ours)
    os.close(theirs)


def test_name_and_profile(runner: Runner) -> None:
    assert runner.ask("name") == ["m-name-dut-[secateur]"]
    assert runner.ask("profile") == [
        "m-profile-[ULPMark for tinyML Firmware V0.0.1]",
        "m-model-[echo]",
    ]
    assert re.fullmatch(r"m-lap-us-\d+", runner.ask("timestamp")[0])
    assert "infer N" in runner.ask("help")[0]
    assert runner.ask("") == []


def _results(lines: list[str]) -> list[float]:
    found = re.fullmatch(r"m-results-\[([-0-9.,]+)\]", lines[-1])
    assert found
    assert all(re.fullmatch(r"-?\d+\.\d{3}", x) for x in found[1].split(","))
    return [float(x) for x in found[1].split(",")]


def test_load_infer_results(runner: Runner) -> None:
    for one in samples(3):
        assert runner.load(one.tobytes()) == ["m-load-done"]
        lines = runner.ask("infer 5 2")
        assert lines[:3] == ["m-warmup-start-2", "m-warmup-done", "m-infer-start-5"]
        assert all(re.fullmatch(r"m-lap-us-\d+", x) for x in lines[3:5])
        assert lines[5] == "m-infer-done"
        wanted = echo(one[None])[0] * 0.5
        assert np.allclose(_results(lines), wanted, atol=0.0005)
        assert _results(runner.ask("results")) == _results(lines)


def test_default_warm_up_is_ten(runner: Runner) -> None:
    assert runner.ask("infer 1")[0] == "m-warmup-start-10"


def test_print(runner: Runner) -> None:
    runner.load(bytes(range(10)))
    assert runner.ask("db print") == [
        "m-buffer-00-01-02-03-04-05-06-07",
        "m-buffer-08-09",
    ]


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("bogus 1 2", "e-[Unknown command: bogus]"),
        ("db", "e-[Command 'db' requires a subcommand]"),
        ("db load", "e-[Command 'db load' requires the # of bytes]"),
        ("db load 0", "e-[Command 'db load' must be >0 bytes]"),
        ("db load 491", "e-[The model takes 490 bytes]"),
        ("db load 99999999999", "e-[Command 'db load' must be >0 bytes]"),
        ("db 012", "e-[Insufficient number of hex digits]"),
        ("infer 0", "e-[Inference iterations must be >0]"),
        ("infer x", "e-[Inference iterations must be >0]"),
        ("infer 1 -1", "e-[Inference warmup must be >=0]"),
    ],
)
def test_errors(runner: Runner, command: str, answer: str) -> None:
    assert runner.ask(command) == [answer]


def test_bad_digits_are_named(runner: Runner) -> None:
    runner.ask("db load 4")
    assert runner.ask("db 01zz") == ["e-[Invalid hex digit 'zz']"]


def test_a_command_longer_than_the_buffer(runner: Runner) -> None:
    answer = runner.ask("x" * 500)
    assert answer == [f"e-[Unknown command: {'x' * 80}]"]


def test_digits_beyond_what_was_announced_are_dropped(runner: Runner) -> None:
    runner.ask("db load 2")
    assert runner.ask("db 01020304") == ["m-load-done"]
    assert runner.ask("db print") == ["m-buffer-01-02"]


def test_time_passes_on_a_microcontroller(image: Callable[[str], Image]) -> None:
    """25 MHz, some 5,000 instructions a run: 100 runs take 20 ms of the simulator's clock."""
    machine = Machine(image("mps2_an386"))
    machine.count(True)
    machine.write(b"db load 1%db 00%infer 100 0%")
    text = machine.read(1).decode()
    laps = [int(x) for x in re.findall(r"m-lap-us-(\d+)", text)]
    assert 15_000 < laps[1] - laps[0] < 25_000


@pytest.mark.parametrize("board", ["nucleo_l4r5zi", "nrf52840_dk", "pico", "arduino_zero"])
def test_energy_mode_stamps_time_with_edges(board: str, tmp_path: Path) -> None:
    """Two falling edges of a microsecond or more around the runs, none by the runs themselves."""
    need("arm-none-eabi-gcc")
    flags = runner_flags("kws", energy=True)
    built = targets.build(ECHO, board, tmp_path, flags=flags)
    machine = Machine(built)
    machine.count(True)
    assert "m-timestamp-mode-energy\r\nm-init-done\r\nm-ready" in _said(machine, b"%")
    start = len(machine.marks)
    assert machine.marks[-1][0] == 1  # released
    said = _said(machine, b"db load 1%db 00%infer 3 2%timestamp%profile%")
    assert "m-lap-us" not in said
    assert "m-model-[kws01]" in said
    edges = machine.marks[start:]
    assert [level for level, _ in edges] == [0, 1, 0, 1, 0, 1]
    for (_, fell), (_, rose) in zip(edges[::2], edges[1::2], strict=True):
        assert rose - fell >= built.board.clock_hz / 1e6  # an instruction takes a cycle or more
    between = edges[2][1] - edges[1][1]
    assert 3 * 5464 < between < 3 * 5464 + 5000


def test_energy_mode_runs_at_9600_baud(tmp_path: Path) -> None:
    """The divider the firmware writes is that of the benchmark's isolated serial line."""
    need("arm-none-eabi-gcc")
    for energy, baud in ((False, 115_200), (True, 9_600)):
        built = targets.build(
            ECHO, "nucleo_l4r5zi", tmp_path / str(baud), flags=runner_flags(None, energy)
        )
        code = built.elf.read_bytes()
        divider = 256 * 120_000_000 // baud
        assert divider.to_bytes(4, "little") in code


def _said(machine: Machine, command: bytes) -> str:
    machine.write(command)
    return machine.read(1).decode()
