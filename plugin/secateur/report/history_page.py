"""The history as one HTML file: accuracy, size and latency from commit to commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from markupsafe import Markup

from secateur.files import write

from . import html, svg
from .history import FIGURES, Entry, figure
from .units import change, show

#: Whether a file is such a page, which another one may replace.
OURS = html.OURS


def _write(unit: str) -> Callable[[float], str]:
    return lambda value: f"{value:,.0f}" if unit == "count" else show(value, unit)


#: Units of history.FIGURES.
_UNITS = {
    "accuracy": "fraction", "instructions": "count", "cycles": "count", "ms": "ms", "uJ": "uj",
}  # fmt: skip
#: What is drawn: title of history.FIGURES, heading.
_DRAWN = {
    "accuracy": "Accuracy", "stored bytes": "Stored weights", "flash model": "Flash of the model",
    "RAM arena": "RAM, arena", "instructions": "Instructions", "ms": "Latency", "uJ": "Energy",
}  # fmt: skip


@dataclass(frozen=True)
class _Row:
    """A deployment in the table: cells of (value, change from the one before)."""

    entry: Entry
    cells: list[tuple[str, str]]


@dataclass(frozen=True)
class _Series:
    """The deployments of a model on a board, and its pictures by heading."""

    name: str
    rows: list[_Row]
    pictures: list[tuple[str, Markup]]


def _label(entry: Entry) -> str:
    return entry.revision or entry.at[:10]


def _series(name: str, entries: Sequence[Entry], number: int) -> _Series:
    """entries: oldest first."""
    paths = {title: path for title, path in FIGURES if title in _DRAWN}
    pictures: list[tuple[str, Markup]] = []
    columns: list[list[tuple[str, str]]] = []
    for title, path in paths.items():
        unit = _UNITS.get(title, "bytes")
        written = _write(unit)
        found = [figure(e.report, path) for e in entries]
        points = [(_label(e), v) for e, v in zip(entries, found, strict=True) if v is not None]
        if points:
            drawn = svg.course(f"s{number}-{len(pictures)}", _DRAWN[title], points, written)
            pictures.append((_DRAWN[title], Markup(drawn)))
        column: list[tuple[str, str]] = []
        before: float | None = None
        for value in found:
            shown = "-" if value is None else written(value)
            column.append((shown, change(before, value, unit)))
            before = value if value is not None else before
        columns.append(column)
    rows = [
        _Row(e, list(cells)) for e, cells in zip(entries, zip(*columns, strict=True), strict=True)
    ]
    return _Series(name, rows[::-1], pictures)


def render(entries: Sequence[Entry]) -> str:
    """The page of entries, newest first as `history.entries` gives them."""

    def name(e: Entry) -> str:
        return f"{e.model} on {e.board}" + (f" ({e.emulator})" if e.emulator else "")

    ordered = sorted(entries, key=lambda e: (name(e), e.id))
    series = [
        _series(title, list(group), i) for i, (title, group) in enumerate(groupby(ordered, name))
    ]
    titles = [_DRAWN[title] for title, _ in FIGURES if title in _DRAWN]
    page = html.environment().get_template("history.html.j2")
    return page.render(series=series, titles=titles, count=len(entries))


def save(path: str | Path, entries: Sequence[Entry]) -> Path:
    """Write the page in one step. Raises FileError if something else is there."""
    return write(path, render(entries), OURS)
