"""A recording of any other meter, as a CSV file."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np

from ...errors import TargetError
from .base import Meter, Recording

_SCALE = {"": 1.0, "m": 1e-3, "u": 1e-6, "µ": 1e-6, "n": 1e-9}
_COLUMN = re.compile(
    r"^\s*(timestamp|time|current|voltage|trigger|d\d)\s*[\[(]?\s*([munµ]?)([sav]?)", re.I
)


class Csv(Meter):
    """Columns by name: time, current, and voltage and trigger if there are any.

    Units stand in the heading, as in `time [s],current [uA],trigger`; without one they are
    seconds, amperes, volts. The trigger is 0 (low) while the model runs. `ready` is called when
    the runs are over, to have the file written.
    """

    name: ClassVar[str] = "csv"

    def __init__(
        self, path: str | Path, voltage: float, ready: Callable[[Path], None] | None = None
    ) -> None:
        self.path = Path(path)
        self.voltage = voltage
        self.ready = ready

    def start(self) -> None:
        """Nothing: another program records, and its file need not be there yet."""

    def stop(self) -> Recording:
        if self.ready is not None:
            self.ready(self.path)
        if not self.path.is_file():
            raise TargetError(f"recording {self.path} does not exist")
        with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
            rows = list(csv.reader(file))
        if len(rows) < 2:
            raise TargetError(f"recording {self.path} is empty")
        columns: dict[str, tuple[int, float]] = {}
        for i, title in enumerate(rows[0]):
            if found := _COLUMN.match(title):
                kind = found[1].lower().replace("timestamp", "time")
                kind = "trigger" if re.match(r"d\d", kind) else kind
                columns.setdefault(kind, (i, _SCALE[found[2].lower()]))
        for kind in ("time", "current"):
            if kind not in columns:
                raise TargetError(
                    f"recording {self.path} has no column '{kind}': its first line must name the "
                    "columns, as in 'time [s],current [uA],trigger'"
                )

        def column(kind: str) -> np.ndarray:
            i, scale = columns[kind]
            try:
                return np.array([float(row[i]) for row in rows[1:] if row]) * scale
            except (ValueError, IndexError):
                raise TargetError(
                    f"recording {self.path}, column '{rows[0][i]}' holds what is no number"
                ) from None

        time = column("time")
        volts = column("voltage") if "voltage" in columns else np.full(len(time), self.voltage)
        active = column("trigger") < 0.5 if "trigger" in columns else None
        return Recording(time, column("current"), volts, active, str(self.path))
