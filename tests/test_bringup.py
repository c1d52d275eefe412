"""`secateur bringup`, with a stand-in of the flashing tool and the simulator on a serial port."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from secateur.cli import main
from secateur.targets import boards

from .targets.conftest import need
from .targets.desk import Desk


@pytest.mark.train
@pytest.mark.emulator
def test_a_first_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("arm-none-eabi-gcc")
    openocd = tmp_path / "openocd"
    openocd.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/flashed\n')
    openocd.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    board = boards.load("nucleo_f446re")
    with Desk(None, board, tmp_path / "flashed") as desk:
        words = ["bringup", "--board", board.id, "--port", desk.port, "--by", "A. Tester"]
        done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.output
    row = boards.read_measured(tmp_path / f"measured-{board.id}.json")
    assert (row.board, row.flashed_by, row.echo) == (board.id, "openocd", True)
    assert (row.identical, row.total) == (8, 8)
    assert row.estimated is not None  # this desk's counter counts instructions, one cycle each
    assert 0 < row.estimated - row.cycles < row.estimated
    assert row.estimated_low < row.estimated < row.estimated_high
    assert row.inside is False
    assert "(OUTSIDE its range)" in done.output
    assert "please send it back" in done.output
    assert [f"{i} of 5" in done.stderr for i in range(1, 6)] == [True] * 5


def test_what_cannot_be_brought_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["bringup", "--board", "mps2_an386"])
    assert done.exit_code == 2
    assert "emulated only" in done.output
    (tmp_path / "mine.json").write_text(json.dumps({"of": "mine"}))
    done = CliRunner().invoke(main, ["bringup", "--board", "pico", "--out", "mine.json"])
    assert done.exit_code == 2
    assert "mine.json" in done.output
