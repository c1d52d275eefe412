"""What is going on: told step by step, shown on a terminal only, never in a result."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

import secateur
from secateur.cli import output
from secateur.progress import listening, tell
from secateur.targets import boards
from secateur.targets.base import Image, Sizes
from secateur.targets.flashing import flash

Told = list[tuple[str, int, "int | None"]]


@pytest.fixture
def told() -> Any:
    steps: Told = []
    with listening(lambda what, done, total: steps.append((what, done, total))):
        yield steps


@pytest.mark.train
def test_every_step_from_training_to_the_last_run_is_told(told: Told, tmp_path: Path) -> None:
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")], name="m")
    model.compile("sgd", "mse")
    x = np.ones((8, 4), np.float32)
    model.fit(x, np.ones((8, 3)), epochs=2, verbose=0, callbacks=[secateur.Prune(0.5, end_step=1)])
    compiled = secateur.convert(model, calibration=x)
    secateur.deploy(compiled, board="host", inputs=x[:3], build_dir=tmp_path)
    assert told[:2] == [("training, rounds done", i, 2) for i in range(2)]
    names = [what for what, _, _ in told]
    order = ["reading the model", "calibrating", "choosing", "building for host", "running on host"]
    places = [next(i for i, name in enumerate(names) if name.startswith(step)) for step in order]
    assert places == sorted(places)
    assert [step for step in told if step[0] == "running on host"] == [
        ("running on host", i, 3) for i in (1, 2, 3)
    ]


def test_flashing_is_told(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "pyocd"
    tool.write_text("#!/bin/sh\nexit 0\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(flash, "check_size", lambda image: None)
    monkeypatch.setattr(flash.elf, "segments", lambda path: [(0, bytes(4))])
    image = Image(tmp_path / "firmware.elf", boards.load("nrf52840_dk"), Sizes(0, 0, 0, 0, 0, 0))
    flash.flash(image, "pyocd")
    assert told == [("flashing nrf52840_dk with pyocd", 0, None)]


def test_a_terminal_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)
    monkeypatch.setattr(output, "stderr", lambda: console)
    with output.progress("converting"):
        tell("running on host", 2, 3)
    assert "running on host: 2 of 3" in screen.getvalue()


def test_nothing_is_shown_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(output, "stderr", lambda: Console(file=screen, width=80))
    with output.progress("converting") as step:
        step("flashing")
        tell("running on host", 2, 3)
    assert screen.getvalue() == ""


def test_a_log_gets_a_line_every_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert output.EVERY == 10.0
    monkeypatch.setattr(output, "EVERY", 0.02)
    with output.progress("converting"):
        tell("training, rounds done", 2, 8)
        time.sleep(0.3)
        tell("flashing\x1b[2J")
        time.sleep(0.3)
    lines = capsys.readouterr().err.splitlines()
    told = re.compile(r"secateur: training, rounds done: 2 of 8, \d+ s(, about \d+ s left)?")
    assert any(told.fullmatch(line) for line in lines), lines
    assert "secateur: flashing\\x1b[2J: 0 s" in lines
    time.sleep(0.1)
    assert capsys.readouterr().err == ""  # over is over


def test_a_log_says_how_long_it_will_take() -> None:
    log = output._Log("training")
    log.began -= 30.0
    log.tell("training", 3, 9)
    assert log.line() == "training: 3 of 9, 30 s, about 60 s left"


@pytest.mark.train
@pytest.mark.slow
def test_json_is_pure_and_a_pipe_is_quiet_while_a_terminal_is_told(tmp_path: Path) -> None:
    """The same command with standard error as a pipe and as a (pseudo) terminal."""
    import keras

    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, name="d")], name="m")
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).normal(size=(8, 4)).astype(np.float32))
    args = ["deploy", "m.keras", "--board", "host", "--inputs", "x.npz", "--json"]
    command = [sys.executable, "-c", "from secateur.cli import main; main()", *args]
    env = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}  # the tests' own
    piped = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert piped.returncode == 0
    # A log gets a line every 10 s, on a slow machine this one, too.
    assert all(line.startswith("secateur: ") for line in piped.stderr.splitlines())
    assert json.loads(piped.stdout)["outputs"]["identical"] == 8
    ours, theirs = pty.openpty()
    seen = subprocess.run(
        command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=theirs, text=True
    )
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert json.loads(seen.stdout) == json.loads(piped.stdout)
    assert b"building for host" in shown
