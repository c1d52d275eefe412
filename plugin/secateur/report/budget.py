"""Budgets: limits on the figures of a report, and tolerances against a committed baseline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from secateur.errors import SecateurError

from .figures import Report
from .layers import LayerFigures
from .units import parse, show

Value = str | float | int | bool


@dataclass(frozen=True)
class Figure:
    """Something a budget can limit. `cost` ranks the layers; None where layers do not apply."""

    unit: str
    read: Callable[[Report], float | None]
    higher_is_better: bool = False
    cost: Callable[[LayerFigures], float] | None = None

    def show(self, value: float | None) -> str:
        """For people."""
        if self.unit == "count" and value is not None:
            return f"{value:,.0f}"
        return show(value, self.unit)


def _instructions(report: Report) -> float | None:
    return report.latency.instructions


FIGURES: dict[str, Figure] = {
    "flash": Figure("bytes", lambda r: r.flash.headline, cost=lambda x: x.stored_bytes),
    "stored": Figure("bytes", lambda r: r.size.headline, cost=lambda x: x.stored_bytes),
    "ram": Figure("bytes", lambda r: r.ram.headline),
    "arena": Figure("bytes", lambda r: r.ram.arena),
    "stack": Figure("bytes", lambda r: r.ram.stack),
    "latency": Figure("ms", lambda r: r.latency.headline, cost=lambda x: x.effectual_macs),
    "instructions": Figure("count", _instructions, cost=lambda x: x.effectual_macs),
    "energy": Figure("uj", lambda r: r.energy.headline, cost=lambda x: x.effectual_macs),
    "accuracy": Figure("fraction", lambda r: r.accuracy.headline, higher_is_better=True),
    "mae": Figure("number", lambda r: _of(r, "mae")),
    "r2": Figure("number", lambda r: _of(r, "r2"), True),
    "bit_exact": Figure("fraction", lambda r: _identical(r), higher_is_better=True),
}


def _of(report: Report, figure: str) -> float | None:
    regression = report.regression
    return None if regression is None else getattr(regression, figure)["device"]


def _identical(report: Report) -> float | None:
    outputs = report.outputs
    return outputs.identical / outputs.total if outputs.total else None


@dataclass(frozen=True)
class Verdict:
    """One budget of one run. `kept` is None when the figure was not determined."""

    model: str
    board: str
    figure: str
    limit: float  #: in the figure's unit
    measured: float | None
    kept: bool | None
    last_good: float | None = None  #: of the baseline
    costliest: str = ""  #: layer
    source: str = "budget"  #: or "tolerance"
    line: int = 1  #: of the budget file, where it is set
    seconds: float = 0.0  #: that the run took, of the first verdict of a run

    @property
    def text(self) -> str:
        """One sentence."""
        f = FIGURES[self.figure]
        name = f"{self.model} on {self.board}: {self.figure}"
        if self.kept is None:
            return f"{name} was not determined (budget {f.show(self.limit)})"
        relation = "at least" if f.higher_is_better else "at most"
        what = "budget" if self.source == "budget" else "baseline with tolerance"
        text = f"{name} is {f.show(self.measured)}, {what} {relation} {f.show(self.limit)}"
        if self.last_good is not None:
            text += f"; last known good {f.show(self.last_good)}"
        if not self.kept and self.costliest:
            text += f"; costliest layer: {self.costliest}"
        return text

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "model": self.model,
            "board": self.board,
            "figure": self.figure,
            "source": self.source,
            "limit": self.limit,
            "measured": self.measured,
            "kept": self.kept,
            "last_good": self.last_good,
            "costliest": self.costliest or None,
        }


def limit_of(figure: str, value: Value) -> float:
    """`"32 kB"` as the figure's limit. Raises SecateurError for an unknown figure or unit."""
    if figure not in FIGURES:
        near = get_close_matches(figure, FIGURES, 1)
        meant = f"; did you mean {near[0]!r}? There are" if near else ": choose from"
        raise SecateurError(f"no figure {figure!r} to budget{meant} {', '.join(FIGURES)}.")
    unit = FIGURES[figure].unit
    if isinstance(value, bool):
        if figure != "bit_exact" or not value:
            raise SecateurError(f"budget {figure} = {value} makes no sense: write a quantity.")
        return 1.0
    if figure == "bit_exact":
        raise SecateurError("budget bit_exact can only be true.")
    if unit == "count":
        if isinstance(value, str):
            raise SecateurError(f"budget {figure} = {value!r} is not a number: write a count.")
        return float(value)
    return parse(value, unit)


def costliest(report: Report, figure: str) -> str:
    """The layer that costs most of a figure, with its share; empty where layers do not apply."""
    cost = FIGURES[figure].cost
    if cost is None or not report.layers:
        return ""
    whole = sum(cost(x) for x in report.layers)
    layer = max(report.layers, key=cost)
    return f"{layer.name} ({100 * cost(layer) / whole:.0f} %)" if whole else ""


def check(
    report: Report,
    budgets: Mapping[str, Value],
    baseline: Mapping[str, float] | None = None,
    tolerance: Mapping[str, Value] | None = None,
) -> list[Verdict]:
    """One verdict a budget, and one a tolerance where the baseline knows the figure.

    Limits are inclusive. tolerance: how much worse than the baseline a figure may be, as a share
    of it ("2 %", 0.02); for accuracy the share is of 1, so "0.5 %" is half a point.
    """
    good = baseline or {}
    verdicts = []
    for name, value in budgets.items():
        limit = limit_of(name, value)
        verdicts.append(_judge(report, name, limit, good.get(name), "budget"))
    for name, value in (tolerance or {}).items():
        if name not in FIGURES:
            limit_of(name, value)  # raises with the list of figures
        if name not in good:
            continue
        slack, last = parse(value, "fraction"), good[name]
        # A hair of room for floats that went through JSON.
        if FIGURES[name].higher_is_better:
            limit = last - slack - 1e-9
        else:
            limit = last * (1 + slack) + 1e-9
        verdicts.append(_judge(report, name, limit, last, "tolerance"))
    return verdicts


def _judge(report: Report, name: str, limit: float, last: float | None, source: str) -> Verdict:
    figure = FIGURES[name]
    value = figure.read(report)
    kept = None
    if value is not None:
        kept = value >= limit if figure.higher_is_better else value <= limit
    return Verdict(
        model=report.model,
        board=report.board,
        figure=name,
        limit=limit,
        measured=value,
        kept=kept,
        last_good=last,
        costliest=costliest(report, name),
        source=source,
    )


def snapshot(report: Report) -> dict[str, float]:
    """Every determined figure: what a baseline keeps of a run."""
    values = {name: figure.read(report) for name, figure in FIGURES.items()}
    return {name: value for name, value in values.items() if value is not None}
