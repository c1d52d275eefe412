"""`secateur mlperf`: what the runner reads, and its dialogue over a pseudo-terminal."""

from __future__ import annotations

import contextlib
import csv
import json
import os
import pty
import re
import struct
import subprocess
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import serial
from click.testing import CliRunner

from secateur import data, targets
from secateur.cli import main
from secateur.cli.mlperf import NAMES
from secateur.flow import mlperf
from secateur.targets import boards
from secateur.targets.runners.sim import Machine

from .targets.conftest import need

yaml = pytest.importorskip("yaml")


class Device:
    """As the runner speaks: a command and '%', lines until m-ready, data in pieces of 31 bytes."""

    def __init__(self, port: serial.Serial, piece: int = 31) -> None:
        self.port, self.piece = port, piece

    def lines(self) -> list[str]:
        text, end = "", time.monotonic() + 60
        while not text.endswith("m-ready\r\n"):
            assert time.monotonic() < end, text
            text += self.port.read(max(1, self.port.in_waiting)).decode("ascii")
        return text.split("\r\n")[:-2]

    def send(self, command: str) -> list[str]:
        self.port.write(f"{command}%".encode())
        return self.lines()

    def identity(self) -> tuple[str, str]:
        (name,) = (m[1] for line in self.send("name")
                   if (m := re.match(r"^m-name-dut-\[([^]]+)]$", line)))  # fmt: skip
        found = dict(m.groups() for line in self.send("profile")
                     if (m := re.match(r"^m-(model|profile)-\[([^]]+)]$", line)))  # fmt: skip
        assert found["profile"].startswith("ULPMark for tinyML Firmware")
        return name, found["model"]

    def load(self, data: bytes) -> list[str]:
        self.send(f"db load {len(data)}")
        answer: list[str] = []
        for at in range(0, len(data), self.piece):
            answer = self.send(f"db {data[at : at + self.piece].hex()}")
        return answer

    def infer(self, runs: int, warm: int) -> tuple[list[float], int]:
        """Results, and microseconds between the two time stamps."""
        lines = self.send(f"infer {runs} {warm}")
        (said,) = (m[1] for line in lines if (m := re.match(r"^m-results-\[([^]]+)\]$", line)))
        laps = [int(m[1]) for line in lines if (m := re.match(r"^m-lap-us-([0-9]+)$", line))]
        assert len(laps) == 2
        return [float(x) for x in said.split(",")], laps[1] - laps[0]


@contextmanager
def device(elf: Path) -> Iterator[Device]:
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    with serial.Serial(os.ttyname(theirs), 115200, timeout=0.5) as port:
        child = subprocess.Popen([str(elf)], stdin=ours, stdout=ours)
        client = Device(port)
        assert client.lines()[0] == "m-timestamp-mode-performance"
        yield client
    child.terminate()
    child.wait(5)
    os.close(ours)
    os.close(theirs)


class InterfaceBoard(threading.Thread):
    """The board between runner and device in energy mode: passes on what follows `dut `.

    It says that it has done so, and m-ready, before the device's lines come, each with `[dut]: `.
    """

    def __init__(self, end: int, machine: Machine) -> None:
        super().__init__(daemon=True)
        self._end, self._machine = end, machine
        self.greeting = self._until_ready()

    def _until_ready(self) -> bytes:
        said = b""
        while not said.endswith(b"m-ready\r\n"):
            said += self._machine.read(1.0)
        return said

    def run(self) -> None:
        with contextlib.suppress(OSError):  # the runner's end is closed
            self._serve()

    def _serve(self) -> None:
        text = b""
        while data := os.read(self._end, 256):
            text += data
            while b"%" in text:
                command, text = text.split(b"%", 1)
                os.write(self._end, b"m-[passed on]\r\nm-ready\r\n")
                self._machine.write(command.removeprefix(b"dut ") + b"%")
                for line in self._until_ready().splitlines():
                    os.write(self._end, b"[dut]: " + line + b"\r\n")


class BehindBoard(Device):
    """The runner in energy mode: 26 bytes a piece, `dut ` before each command."""

    def __init__(self, port: serial.Serial) -> None:
        super().__init__(port, 26)

    def send(self, command: str) -> list[str]:
        assert super().send(f"dut {command}") == ["m-[passed on]"]
        return [line.removeprefix("[dut]: ") for line in self.lines()]

    def lines(self) -> list[str]:
        text, end = "", time.monotonic() + 60
        while not re.search(r"^(\[dut]: )?m-ready\r\n", text, re.MULTILINE):
            assert time.monotonic() < end, text
            text += self.port.read(1).decode("ascii")
        return text.split("\r\n")[:-2]


def test_names_are_those_there_are() -> None:
    assert tuple(mlperf.BENCHMARKS) == NAMES


def test_flags() -> None:
    assert mlperf.flags("kws", False) == ["-DSECATEUR_TEXT_MODEL=kws01"]
    assert "-DSECATEUR_TEXT_UNSIGNED" in mlperf.flags("vww", False)
    assert "-DSECATEUR_TEXT_UNSIGNED" not in mlperf.flags("vww", False, True)
    assert "-DSECATEUR_TEXT_ANOMALY" in mlperf.flags("ad", False)
    assert "-DSECATEUR_BAUD=9600u" in mlperf.flags("sww", True)


def test_devices() -> None:
    board = boards.load("nucleo_l4r5zi")
    (row,) = yaml.safe_load(mlperf.devices(board, energy=False))
    assert row["type"] == "dut"
    assert row["baud"] == {"energy": 9600, "performance": 115200, "accuracy": 115200}
    assert row["usb"] == {0x0483: [0x374B]}
    kinds = [r["type"] for r in yaml.safe_load(mlperf.devices(board, energy=True))]
    assert "dut" not in kinds, "a device the runner reaches itself gets no power manager"
    assert {"interface", "power"} <= set(kinds)
    assert "usb" not in yaml.safe_load(mlperf.devices(boards.load("mps2_an386"), False))[0]


@pytest.fixture
def halves(tmp_path: Path) -> Path:
    """A library in C whose model gives back half of its input, 8 numbers."""
    src = tmp_path / "halves" / "src"
    src.mkdir(parents=True)
    (src.parent / "library.json").write_text(json.dumps({"name": "halves"}))
    (src / "halves.h").write_text(
        "#ifndef HALVES_H\n#define HALVES_H\n#include <stdint.h>\n"
        "#define HALVES_INPUT_SIZE 8\n#define HALVES_OUTPUT_SIZE 8\n#define HALVES_ARENA_BYTES 8\n"
        "#define HALVES_INPUT_SCALE 0.5f\n#define HALVES_INPUT_ZERO_POINT 10\n"
        "#define HALVES_OUTPUT_SCALE 0.25f\n#define HALVES_OUTPUT_ZERO_POINT -3\n"
        "extern uint8_t halves_arena[8];\n"
        "static inline int halves_check_weights(void) { return 0; }\n"
        "int halves_run(const int8_t *in, int8_t *out);\n#endif\n"
    )
    (src / "halves.c").write_text(
        '#include "halves.h"\nuint8_t halves_arena[8];\n'
        "int halves_run(const int8_t *in, int8_t *out) {\n"
        "  for (int i = 0; i < 8; i++) out[i] = (int8_t)(in[i] - 10 - 3);\n  return 0;\n}\n"
    )
    return src.parent


@pytest.mark.emulator
def test_an_anomaly_is_scored_by_how_far_the_output_is_off(halves: Path, tmp_path: Path) -> None:
    need("cc")
    image = targets.build(halves, "host", tmp_path / "fw", flags=mlperf.flags("ad", False))
    with device(image.elf) as dut:
        assert dut.identity() == ("secateur", "ad01")
        for x in (
            [0.0] * 8,
            [1.0, 2, 3, 4, 5, 6, 7, 8],
            [-7.5] * 8,
            [0.2, -0.2, 0.3, 0, 0, 0, 0, 0],
        ):
            codes = np.clip(np.floor(np.array(x) / 0.5 + 10.5), -128, 127)
            score = float(np.mean(((codes - 10) * 0.25 - np.array(x)) ** 2))
            assert dut.load(struct.pack("<8f", *x)) == ["m-load-done"]
            (found,), _ = dut.infer(1, 0)
            assert found == pytest.approx(score, abs=0.0006)
        dut.load(struct.pack("<8f", *[float("nan")] * 8))
        assert dut.infer(1, 0)[0] == [1e9]
        assert dut.send("db load 33") == ["e-[The model takes 32 bytes]"]


@pytest.mark.train
@pytest.mark.emulator
def test_a_run_as_the_runner_does_it(tmp_path: Path) -> None:
    """Accuracy mode: every file is sent, the class compared; performance mode: ten runs a file."""
    need("cc")
    for name, count in (("test", 6), ("train", 64)):
        x, y = data.load(f"kws_{name}")
        np.savez(
            tmp_path / f"{name}.npz",
            x=x[:: len(x) // count][:count],
            y=y[:: len(x) // count][:count],
        )
    out = tmp_path / "run"
    words = ["mlperf", str(data.KWS_MODEL), "--benchmark", "kws", "--board", "host",
             "--inputs", str(tmp_path / "test.npz"), "--calibration", str(tmp_path / "train.npz"),
             "--input-scale", "0.6", "--input-zero-point", "83", "--out", str(out),
             "--json"]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    result = json.loads(done.stdout)
    assert [c.split("--mode=")[1] for c in result["commands"]] == ["p", "a"]
    folder = out / "datasets" / "kws01"
    with (folder / "y_labels.csv").open() as file:
        rows = list(csv.reader(file))
    assert len(rows) == 6
    right = 0
    with device(Path(result["firmware"])) as dut:
        assert dut.identity() == ("secateur", "kws01")
        for name, classes, label in rows:
            sent = (folder / name).read_bytes()
            assert len(sent) == 490
            assert dut.load(sent) == ["m-load-done"]
            scores, _ = dut.infer(1, 0)
            assert len(scores) == int(classes)
            right += int(np.argmax(scores)) == int(label)
            again, elapsed = dut.infer(10, 1)
            assert again == scores
            assert elapsed >= 0
    assert right >= 4
    header = "".join(p.read_text() for p in (out / "library" / "src").glob("*.h"))
    assert re.search(r"_INPUT_SCALE 0\.6\d*f?\n", header)
    assert re.search(r"_INPUT_ZERO_POINT \(83\)", header)


@pytest.mark.emulator
def test_a_window_of_the_streaming_wake_word(halves: Path, tmp_path: Path) -> None:
    """Scores of single windows, asked for again by `results`; there is no I2S to stream by."""
    need("cc")
    image = targets.build(halves, "host", tmp_path / "fw", flags=mlperf.flags("sww", False))
    with device(image.elf) as dut:
        assert dut.identity() == ("secateur", "sww01")
        codes = np.array([10, 20, -30, 127, -100, 0, 1, 2], np.int8)
        assert dut.load(codes.tobytes()) == ["m-load-done"]
        scores, _ = dut.infer(1, 0)
        assert scores == [(int(c) - 10) * 0.25 for c in codes]
        (line,) = dut.send("results")
        assert [float(x) for x in line.removeprefix("m-results-[").rstrip("]").split(",")] == scores
        for command in ("start", "stop"):
            assert dut.send(command) == [f"e-[Unknown command: {command}]"]


@pytest.mark.emulator
def test_energy_mode_behind_an_interface_board(halves: Path, tmp_path: Path) -> None:
    """No time stamps in text; one falling edge of the pin before the runs and one behind them."""
    need("arm-none-eabi-gcc")
    pytest.importorskip("unicorn")
    flags = mlperf.flags("kws", True)
    machine = Machine(targets.build(halves, "nucleo_l4r5zi", tmp_path / "fw", flags=flags))
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    with serial.Serial(os.ttyname(theirs), 115200, timeout=0.5) as port:
        board = InterfaceBoard(ours, machine)
        assert board.greeting.startswith(b"m-timestamp-mode-energy\r\n")
        board.start()
        dut = BehindBoard(port)
        assert dut.identity() == ("secateur", "kws01")
        codes = np.array([10, 20, -30, 127, -100, 0, 1, 2], np.int8)
        assert dut.load(codes.tobytes()) == ["m-load-done"]
        assert [level for level, _ in machine.marks] == [1]
        lines = dut.send("infer 10 2")
        assert [level for level, _ in machine.marks] == [1, 0, 1, 0, 1]
        assert not any(line.startswith("m-lap-us") for line in lines)
        (said,) = (line for line in lines if line.startswith("m-results-["))
        found = [float(x) for x in said.removeprefix("m-results-[").rstrip("]").split(",")]
        assert found == [(int(c) - 10) * 0.25 for c in codes]
    os.close(ours)
    os.close(theirs)


def test_energy_mode_needs_a_pin() -> None:
    words = ["mlperf", "m.keras", "--benchmark", "ad", "--board", "mps2_an386", "--energy",
             "--inputs", "x.npz", "--calibration", "x.npz"]  # fmt: skip
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 2
    assert "no trigger pin" in done.output
