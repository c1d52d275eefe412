"""The host: the library as a program of this computer, with or without sanitizers."""

from __future__ import annotations

import os

import numpy as np

from ...errors import TargetError
from .. import tools
from ..base import Image, RunResult, Target
from ..boards import Board
from ..wire.client import Client
from ..wire.process import ProcessLine
from ..wire.session import converse


class Host(Target):
    """Runs images built for the board `host`."""

    name = "host"

    def available(self) -> str | None:
        return tools.missing("cc")

    def supports(self, board: Board) -> bool:
        return board.hosted

    def run(self, image: Image, inputs: np.ndarray) -> RunResult:
        line = ProcessLine([str(image.elf)], env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        try:
            try:
                talk = converse(image, Client(line, reply_time=30, retries=0, greeting=30), inputs)
            except TargetError as error:
                code = line.ended()
                if code is None:
                    raise
                why = line.complaint() or f"exit code {code}"
                raise TargetError(f"{image.elf} ended early on the host: {why}") from error
        finally:
            line.close()
        return RunResult(talk.outputs, None, None, "estimated", 0, talk.arena)
