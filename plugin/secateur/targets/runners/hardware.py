"""A real board on a serial port."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ...errors import TargetError
from ...progress import tell
from ..base import DrawnEnergy, Image, RunResult, Target
from ..boards import Board
from ..flashing import flash
from ..power.base import integrate
from ..wire.client import Client
from ..wire.serial_line import SerialLine
from ..wire.session import Conversation, converse

if TYPE_CHECKING:
    from ..power.base import Meter


#: Seconds a board is given to greet; one that was reset before its port was open has done so.
GREETING = 0.5

SECONDS = 1.0  #: of a window in which energy is measured, at least


class Hardware(Target):
    """Flashes an image (unless `upload` is off) and speaks with it; cycles are measured.

    `port` is the serial port, found by the board's USB id if None; `probe` picks the probe, by
    default the one whose serial port it is. With a `meter` the energy of an inference is measured,
    in `windows` windows of `seconds` (default SECONDS) at least.
    """

    name: ClassVar[str] = "board"

    def __init__(
        self,
        port: str | None = None,
        protocol: str | None = None,
        probe: str | None = None,
        upload: bool = True,
        run_time: float = 60.0,
        meter: Meter | None = None,
        windows: int = 5,
        seconds: float | None = None,
    ) -> None:
        self.port = port
        self.protocol = protocol
        self.probe = probe
        self.upload = upload
        self.run_time = run_time
        self.meter = meter
        self.windows = windows
        self.seconds = SECONDS if seconds is None else seconds

    def available(self) -> str | None:
        return None

    def supports(self, board: Board) -> bool:
        return bool(board.flasher.protocols)

    def run(self, image: Image, inputs: np.ndarray) -> RunResult:
        board = image.board
        if self.meter is not None:
            self.meter.supply()
        port = self.port or only_port(board)
        if self.upload:
            flash.flash(image, self.protocol, self.probe or flash.probe_of(board, port))
        line = SerialLine(port, board.uart.baud)
        try:
            client = Client(line, 1.0, self.run_time, greeting=GREETING)
            talk = converse(image, client, inputs)
            energy = None if self.meter is None else self._measure(self.meter, client, talk)
        finally:
            line.close()
        rate = board.clock_hz / talk.info.timer_hz
        per_run = [round(run.ticks * rate) for run in talk.runs]
        mean = sum(per_run) / len(per_run) if per_run else None
        return RunResult(
            talk.outputs, None, mean, "measured", talk.stack, talk.arena, per_run, energy
        )

    def _measure(self, meter: Meter, client: Client, talk: Conversation) -> DrawnEnergy:
        """Runs on the last input: windows of equal runs, idle before, between and behind them."""
        if not talk.runs:
            raise TargetError("energy is measured on an input: give --inputs")
        one = max(talk.runs[-1].ticks / talk.info.timer_hz, 1e-6)
        # A recording that the runs' first edge starts shows where they begin, but not where they
        # end: one window, and twice as long idle.
        windows = 1 if meter.armed else self.windows
        rest = self.seconds * (2 if meter.armed else 0.3)
        runs = max(1, math.ceil(self.seconds / one))
        tell(f"measuring energy: {windows} x {runs} inferences")
        meter.start()
        if not meter.armed:
            time.sleep(rest)
        ticks = 0
        for _ in range(windows):
            ticks += client.run(runs).ticks
            time.sleep(rest)
        recording = meter.stop()
        seconds = ticks / windows / talk.info.timer_hz
        return integrate(
            recording, runs, seconds if meter.armed else None, None if meter.armed else windows
        )


def only_port(board: Board) -> str:
    """The serial port of the one such board that is plugged in. Raises TargetError."""
    ports = flash.find(board)
    if len(ports) == 1:
        return ports[0]
    if ports:
        raise TargetError(
            f"{len(ports)} boards look like {board.id} ({', '.join(ports)}): choose with --port"
        )
    ids = ", ".join(board.flasher.usb) or "id unknown"
    raise TargetError(
        f"no serial port of {board.id} was found (USB {ids}): plug it in, or name the port with "
        "--port"
    )
