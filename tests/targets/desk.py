"""A board on the desk, as far as a serial line and a tool's arguments show it."""

from __future__ import annotations

import os
import pty
import re
import select
import threading
import tty
from pathlib import Path

from secateur.targets import Board, Image
from secateur.targets.builders import elf
from secateur.targets.runners.sim import Machine


class Desk:
    """A board on a serial port: the simulator with its image behind a pseudo-terminal.

    The machine notes when the trigger pin changed. Without an image the desk waits for what a
    stand-in of openocd is asked to flash for `board`; `flashed` is the file of its arguments.
    """

    def __init__(
        self, image: Image | None, board: Board | None = None, flashed: Path | None = None
    ) -> None:
        self.machine: Machine
        self._board = board
        self._flashed = flashed
        if image is not None:
            self._load(image)
        self._ours, self._theirs = pty.openpty()
        tty.setraw(self._ours)
        tty.setraw(self._theirs)
        self.port = os.ttyname(self._theirs)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve)

    def _load(self, image: Image) -> None:
        self.machine = Machine(image)
        self.machine.count(True)

    def _wait_for_image(self) -> None:
        assert self._flashed is not None
        assert self._board is not None
        while not self._stop.wait(0.02):
            if self._flashed.is_file():
                (path,) = re.findall(r"program \{(.*?)\}", self._flashed.read_text())
                self._load(Image(Path(path), self._board, elf.sizes(Path(path), 0)))
                return

    def _serve(self) -> None:
        if self._flashed is not None:
            self._wait_for_image()
        while not self._stop.is_set():
            if select.select([self._ours], [], [], 0.05)[0]:
                self.machine.write(os.read(self._ours, 4096))
                os.write(self._ours, self.machine.read(1))

    def __enter__(self) -> Desk:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        os.close(self._ours)
        os.close(self._theirs)
