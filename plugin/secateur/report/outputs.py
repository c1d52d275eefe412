"""Outputs of a board as they come over a serial line: the last values and their course."""

from __future__ import annotations

import math
import re
from collections import deque

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from secateur.names import shown

#: How many points of an output are kept and drawn, and how many outputs.
KEPT, MOST = 60, 40
_LONGEST = 1 << 14  #: characters of a line; what is longer is noise
_BLOCKS = " ▁▂▃▄▅▆▇█"
_BAR = 24
#: A number that is no part of a name, such as the 3 of "conv3" or "t-3x".
_NUMBER = re.compile(r"(?<![\w.-])-?\d+(?:\.\d+)?(?:[eE][-+]?\d{1,3})?(?!\w|[:=]|\.\d)")
#: Of the text protocol's lines those of results alone are outputs.
_RESULTS = re.compile(r"m-results-\[([^\]]*)\]")


def numbers(line: str) -> list[float]:
    """The outputs in a line: of "m-results-[...]" what is inside, else every number by itself.

    Other lines of the text protocol ("m-...", "e-...") have none.
    """
    found = _RESULTS.search(line)
    if found is None and re.match(r"\s*[me]-", line):
        return []
    text = found[1] if found else line
    values = [float(n) for n in _NUMBER.findall(text)]
    return [v for v in values if math.isfinite(v)]


class LiveOutputs:
    """What a board named `board` has said."""

    def __init__(self, board: str) -> None:
        self.board = board
        self.rows: deque[list[float]] = deque(maxlen=KEPT)  #: oldest first
        self.count = 0  #: of rows since the number of outputs last changed
        self._rest = ""

    def feed(self, text: str) -> None:
        """Take what has come; a line counts when its end has come."""
        *lines, rest = re.split(r"[\r\n]+", self._rest + text)
        self._rest = rest if len(rest) <= _LONGEST else ""
        for line in lines:
            values = numbers(line) if len(line) <= _LONGEST else []
            if not values:
                continue
            if self.rows and len(self.rows[-1]) != len(values):
                self.rows.clear()  # another firmware, or another kind of line
                self.count = 0
            self.rows.append(values)
            self.count += 1

    def draw(self) -> RenderableType:
        """A row an output: its number, its last value, a bar, and its course."""
        if not self.rows:
            return Text(f"{shown(self.board)}: no numbers yet; Ctrl-C ends")
        last = self.rows[-1]
        low = min(0.0, *(min(row) for row in self.rows))
        high = max(0.0, *(max(row) for row in self.rows))
        span = high - low or 1.0
        table = Table("output", header_style="bold", box=None)
        table.add_column("now", justify="right", no_wrap=True)
        table.add_column(f"{low:.4g} to {high:.4g}", no_wrap=True, min_width=_BAR)
        table.add_column(f"last {len(self.rows)}", no_wrap=True)
        for i, value in enumerate(last[:MOST]):
            course = "".join(
                _BLOCKS[round((row[i] - low) / span * (len(_BLOCKS) - 1))] for row in self.rows
            )
            style = "bold green" if len(last) > 1 and value == max(last) else ""
            bar = "█" * round((value - low) / span * _BAR)
            table.add_row(str(i), Text(f"{value:.6g}", style), Text(bar, style), Text(course))
        foot = f"{shown(self.board)}: {self.count:,} times; the largest is output "
        foot += f"{last.index(max(last))}; Ctrl-C ends"
        if len(last) > MOST:
            foot = f"{len(last) - MOST} more outputs are not drawn; {foot}"
        return Group(table, Text(foot, "dim"))
