"""Outputs of a board, drawn as they come."""

from __future__ import annotations

import os
import pty
import threading
import tty
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from secateur.cli import flash as cli_flash
from secateur.cli import main
from secateur.report import outputs
from secateur.report.console import PlainConsole
from secateur.report.outputs import LiveOutputs, numbers


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("-3 120 7 1043 us", [-3.0, 120.0, 7.0, 1043.0]),
        ("m-results-[0.125,-0.5,1e-3]", [0.125, -0.5, 0.001]),
        ("m-lap-us-123", []),
        ("e-[Unknown command: 3]", []),
        ("conv3 took 5x and v1.2.3", []),
        ("class 4: 0.93", [0.93]),
        ("score=7", [7.0]),
        ("1e999", []),
    ],
)  # fmt: skip
def test_numbers_of_a_line(line: str, wanted: list[float]) -> None:
    assert numbers(line) == wanted


def _drawn(seen: LiveOutputs) -> str:
    console = PlainConsole(width=140, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(seen.draw())
    return console.export_text()


def test_lines_come_in_pieces_and_outputs_may_change() -> None:
    seen = LiveOutputs("pico")
    assert "no numbers yet" in _drawn(seen)
    for piece in ("1 2", "\r", "\n3 ", "4\n", "9"):
        seen.feed(piece)
    assert list(seen.rows) == [[1.0, 2.0], [3.0, 4.0]]
    text = _drawn(seen)
    assert "pico: 2 times; the largest is output 1" in text
    assert "▂▆" in text  # 1 and 3 of 0 to 4
    seen.feed(" 9 9\n")
    assert list(seen.rows) == [[9.0, 9.0, 9.0]]
    seen.feed("x" * (1 << 20))
    seen.feed(" ".join(["5"] * 50) + "\n")  # behind noise: the line is lost, the next is not
    seen.feed(" ".join(["5"] * 50) + "\n")
    assert "10 more outputs are not drawn" in _drawn(seen)
    for i in range(200):
        seen.feed(f"{i}\n")
    assert len(seen.rows) == outputs.KEPT


def test_without_a_terminal_it_is_said() -> None:
    """A file or a pipe gets a sentence, and no port is opened."""
    for more in ([], ["--json"]):
        asked = ["monitor", "--board", "pico", "--port", "/dev/nothing", "--plot", *more]
        done = CliRunner().invoke(main, asked)
        assert done.exit_code == 2
        assert "--plot draws in a terminal, and the output is none" in done.output


@pytest.mark.parametrize("ask", [(), ("infer 1",)])
def test_a_board_is_drawn_while_it_speaks(
    ask: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Listening, and asking: what comes over the line is drawn until Ctrl-C."""
    ours, theirs = pty.openpty()
    tty.setraw(ours)
    tty.setraw(theirs)
    screen = (tmp_path / "screen").open("w")
    terminal = PlainConsole(file=screen, force_terminal=True, width=120)
    monkeypatch.setattr(cli_flash, "stdout", lambda: terminal)
    stop = threading.Event()
    feed = LiveOutputs.feed

    def counted(self: LiveOutputs, text: str) -> None:
        if self.count >= 2:
            raise KeyboardInterrupt
        feed(self, text)

    def board() -> None:
        while not stop.wait(0.02):
            if ask:
                assert os.read(ours, 64).endswith(b"%")
            os.write(ours, b"m-results-[0.250,0.750]\r\nm-ready\r\n" if ask else b"25 75\n")

    monkeypatch.setattr(LiveOutputs, "feed", counted)
    thread = threading.Thread(target=board, daemon=True)
    thread.start()
    arguments: list[Any] = ["monitor", "--board", "pico", "--port", os.ttyname(theirs), "--plot"]
    done = CliRunner().invoke(main, [*arguments, *(w for a in ask for w in ("--ask", a))])
    stop.set()
    screen.close()
    assert done.exit_code == 0, done.output
    drawn = (tmp_path / "screen").read_text()
    assert ("0.75" if ask else "75") in drawn
    assert "the largest is output 1" in drawn
