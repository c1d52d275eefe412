"""Points of an exploration, their front, and how they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from secateur.report.units import show

from .space import Settings
from .study import GOALS

#: Figures a heat map of combinations is drawn of: heading and format.
MAPPED = {
    "accuracy": ("accuracy, %", "{:.1f}"),
    "stored": ("bytes stored", "{:,.0f}"),
    "quality": ("quality", "{:.2f}"),
    "instructions": ("instructions (estimated)", "{:,.0f}"),
}


@dataclass(frozen=True)
class Point:
    """Settings and what they gave.

    figures: accuracy on validation rows (percent, integer model) and the planner's estimates.
    measured: of a point that was retrained: accuracy on the test rows, counted instructions, bytes
    of the linked image, outputs identical; None until then. folder: where it lies ready.
    """

    number: int
    settings: Settings
    figures: Mapping[str, float | None]
    rung: int = 0
    measured: Mapping[str, Any] | None = None
    folder: str = ""
    layers: tuple[Mapping[str, Any], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "number": self.number, "settings": dict(self.settings), "rung": self.rung,
            "figures": dict(self.figures),
            "measured": None if self.measured is None else dict(self.measured),
            "folder": self.folder, "layers": [dict(layer) for layer in self.layers],
        }  # fmt: skip


def front(points: Sequence[Point], goals: Mapping[str, str] = GOALS) -> list[Point]:
    """The points that no other one beats: at least as good in every goal, better in one."""
    out: list[Point] = []
    for p in points:
        mine = _costs(p, goals)
        beaten = any(
            all(a <= b for a, b in zip(theirs, mine, strict=True)) and theirs != mine
            for theirs in (_costs(q, goals) for q in points if q is not p)
        )
        if not beaten and all(_costs(q, goals) != mine for q in out):
            out.append(p)
    return sorted(out, key=lambda p: p.figures["flash"] or 0.0)


def _costs(p: Point, goals: Mapping[str, str]) -> tuple[float, ...]:
    values = []
    for name, way in goals.items():
        value = p.figures.get(name)
        cost = float("inf") if value is None else float(value)
        values.append(-cost if way == "maximize" and value is not None else cost)
    return tuple(values)


HEADINGS = (
    "point", "accuracy", "on test", "stored", "flash", "RAM", "latency", "energy", "instructions",
    "quality", "settings",
)  # fmt: skip


def row(p: Point) -> list[str]:
    """One point for people; flash and instructions as counted where they were."""
    f, m = p.figures, p.measured or {}
    test = m.get("accuracy")
    instructions = m.get("instructions") or f.get("instructions")
    return [
        f"{p.number}",
        percent(f["accuracy"]),
        percent(test),
        show(f["stored"], "bytes"),
        show(m.get("flash") or f["flash"], "bytes"),
        show(f["ram"], "bytes"),
        show(f["latency"], "ms"),
        show(f["energy"], "uj"),
        "-" if instructions is None else f"{instructions:,.0f}" + ("" if m else " est."),
        f"{f['quality'] or 0.0:.2f}",
        settings_text(p.settings),
    ]


def percent(value: float | None) -> str:
    """Percent points, or a dash."""
    return "-" if value is None else f"{value:.2f} %"


def settings_text(settings: Mapping[str, Any]) -> str:
    """Settings in a line: what differs from the network as it is."""
    said = []
    if settings.get("start", "model") != "model":
        said.append(f"from {settings['start']}")
    if settings.get("keep", 1.0) != 1.0:
        said.append(f"{settings.get('slim', 'l1')} {settings['keep']:.0%}")
    for name, method in settings.items():
        role, _, what = name.partition(".")
        if what != "method":
            continue
        zeros = float(settings.get(f"{role}.zeros", 0.0))
        if method != "int8" or zeros:
            said.append(f"{role} {method}" + (f" {zeros:.0%} zeros" if zeros else ""))
    if settings.get("distil"):
        said.append(f"distil {settings['distil']:g}")
    if settings.get("activation_bits", 8) != 8:
        said.append(f"{settings['activation_bits']}-bit activations")
    if settings.get("optimize", "balanced") != "balanced":
        said.append(f"for {settings['optimize']}")
    return ", ".join(said) or "int8"
