"""What an exploration found: points, their front, the best one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from secateur.names import shown

from . import page
from .points import HEADINGS, Point, front, row
from .quality import formula
from .study import Budgets


@dataclass(frozen=True)
class Exploration:
    """The result of `explore`. `print(e.table())`, `e.front`, `e.best`, `e.report()`.

    points: every trial that is over. finals: those of the front that were retrained, built, run
    and measured. limits: the budgets. notes: what is to be said in words.
    """

    model: str
    board: str
    baseline: Mapping[str, float | None]
    points: tuple[Point, ...]
    finals: tuple[Point, ...]
    limits: Budgets
    tau: float
    folder: Path
    notes: tuple[str, ...] = ()
    peers: tuple[Mapping[str, Any], ...] = ()
    failed: int = 0

    @property
    def front(self) -> list[Point]:
        """Retrained points if there are any, else trials, that keep the budgets and that no other
        beats in accuracy, flash and latency; by flash. Without one in budget, of all."""
        return front(self._in_budget())

    @property
    def best(self) -> Point | None:
        """The point of the front of the highest quality; None without points."""
        return max(self.front, key=lambda p: p.figures["quality"] or 0.0, default=None)

    @property
    def in_budget(self) -> bool:
        """Whether some point keeps every budget."""
        return any(self.limits.kept(p.figures) for p in self.finals or self.points)

    def _in_budget(self) -> list[Point]:
        some = list(self.finals or self.points)
        return [p for p in some if self.limits.kept(p.figures)] or some

    def report(self) -> Path:
        """Writes `explore.html` into the folder; its path."""
        return page.save(self)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as plain values: `exploration.json`."""
        best = self.best
        return {
            "exploration": 1,
            "model": self.model,
            "board": self.board,
            "formula": formula(self.tau),
            "baseline": dict(self.baseline),
            "budgets": dict(self.limits.most),
            "in_budget": self.in_budget,
            "best": None if best is None else best.number,
            "front": [p.number for p in self.front],
            "finals": [p.to_dict() for p in self.finals],
            "points": [p.to_dict() for p in self.points],
            "failed": self.failed,
            "notes": list(self.notes),
            "peers": [dict(p) for p in self.peers],
        }

    def rows(self) -> list[list[str]]:
        """The front for people: a row a point, as `HEADINGS`."""
        return [row(p) for p in self.front]

    def table(self) -> str:
        """The front as a Markdown table, with the formula of quality."""
        lines = ["| " + " | ".join(HEADINGS) + " |", "|---" * len(HEADINGS) + "|"]
        lines += ["| " + " | ".join(r) + " |" for r in self.rows()]
        return "\n".join([*lines, "", formula(self.tau)])

    def _repr_html_(self) -> str:
        from html import escape

        head = "".join(f"<th scope=col>{escape(h)}</th>" for h in HEADINGS)
        body = "".join(
            "<tr>" + "".join(f"<td>{escape(shown(c))}</td>" for c in r) + "</tr>"
            for r in self.rows()
        )
        return (
            f"<table><caption>{escape(shown(self.model))} on {escape(shown(self.board))}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
            f"<p>{escape(formula(self.tau))}</p>"
        )
