"""What a network of a step costs and keeps, beside a whole window of the same network."""

from __future__ import annotations

import io
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from secateur.errors import DataError
from secateur.files import looks_like, write

from . import html
from .console import PlainConsole

SCHEMA = 1
_JSON = looks_like(rb'\{\s*"schema": \d+,\s*"stream": ')


@dataclass(frozen=True)
class CallCost:
    """Estimated for a core."""

    instructions: float
    arena: int  #: bytes


@dataclass(frozen=True)
class KeptTensor:
    """What lasts from one step to the next in the arena."""

    layer: str  #: operator that writes it anew
    kind: str  #: "rows" of a ring, "sums" that slide along, "state" of a recurrent layer
    shape: tuple[int, ...]
    dtype: str
    bytes: int


@dataclass(frozen=True)
class StreamReport:
    """A step beside a window. Estimates of the planner for `core`.

    step: where everything is due; mean: instructions of a step on average. warm_up: steps before
    the first answer; period: every how many steps there is one.
    """

    stream: str  #: the model
    core: str
    step: CallCost
    mean: float
    window: CallCost
    warm_up: int
    period: int
    kept: tuple[KeptTensor, ...]

    @property
    def kept_bytes(self) -> int:
        """Bytes of all that lasts."""
        return sum(k.bytes for k in self.kept)

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """(what, of a step, of a window, how many times as much the window takes)."""
        each = [
            ("instructions, all due", self.step.instructions, self.window.instructions),
            ("instructions, on average", self.mean, self.window.instructions),
            ("arena, bytes", self.step.arena, self.window.arena),
        ]
        return [(n, f"{a:,.0f}", f"{b:,.0f}", f"{b / max(a, 1.0):.1f}x") for n, a, b in each]

    @property
    def often(self) -> str:
        """How often there is an answer, in words."""
        return "every step" if self.period == 1 else f"every {self.period} steps"

    @property
    def note(self) -> str:
        """One sentence."""
        each = [self.window.instructions / max(1.0, c) for c in (self.step.instructions, self.mean)]
        return (
            f"estimated: a step costs {self.step.instructions:,.0f} instructions where all of it "
            f"is due, {self.mean:,.0f} on average, and {self.step.arena:,} bytes of arena; a whole "
            f"window would cost {self.window.instructions:,.0f} ({each[0]:.1f} and {each[1]:.1f} "
            f"times as many) and {self.window.arena:,} bytes"
        )

    def to_dict(self) -> dict[str, Any]:
        """Schema 1."""
        return {"schema": SCHEMA, **asdict(self), "kept_bytes": self.kept_bytes}

    def to_json(self) -> str:
        """Schema 1 as indented JSON, ending in a newline."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    def to_html(self) -> str:
        """A page of its own: no scripts, nothing fetched."""
        return html.environment().get_template("stream.html.j2").render(report=self)

    def save(self, path: str | Path) -> Path:
        """Write `path` (.json or .html) in one step.

        Raises DataError for another suffix, FileError if something else is there.
        """
        suffix = Path(path).suffix
        if suffix == ".json":
            return write(path, self.to_json(), _JSON)
        if suffix == ".html":
            return write(path, self.to_html(), html.OURS)
        raise DataError(f"a stream's report is .json or .html, not '{path}'; give one of these")

    def __str__(self) -> str:
        """Plain text, no control codes."""
        costs = Table(title=Text(f"{self.stream}: a step beside a window, estimated, {self.core}"))
        for i, name in enumerate(("", "step", "window", "window / step")):
            costs.add_column(name, justify="right" if i else "left")
        for row in self.rows:
            costs.add_row(*map(Text, row))
        kept = Table(title=Text(f"kept between steps: {self.kept_bytes:,} bytes"))
        for i, name in enumerate(("layer", "what", "shape", "type", "bytes")):
            kept.add_column(name, justify="right" if i == 4 else "left")
        for k in self.kept:
            cells = (k.layer, k.kind, "x".join(map(str, k.shape)), k.dtype, f"{k.bytes:,}")
            kept.add_row(*map(Text, cells))
        buffer = io.StringIO()
        console = PlainConsole(file=buffer, width=100, color_system=None)
        console.print(costs)
        if self.kept:
            console.print(kept)
        return f"{buffer.getvalue()}first answer after {self.warm_up} steps, then {self.often}"
