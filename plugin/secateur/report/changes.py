"""What changed between a committed baseline and the runs at hand: figures, and layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from secateur.names import cell

from .budget import FIGURES
from .figures import Report
from .layers import LayerFigures
from .units import change


@dataclass(frozen=True)
class LayerState:
    """What a baseline keeps of a layer. Bytes and counts."""

    encoding: str
    stored: int
    nonzeros: int
    effectual_macs: int

    @classmethod
    def of(cls, layer: LayerFigures) -> LayerState:
        """From a report's row."""
        return cls(layer.encoding, layer.stored_bytes, layer.nonzeros, layer.effectual_macs)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> LayerState:
        """From a baseline. Raises KeyError, TypeError or ValueError if it is not one."""
        found = {f.name: data[f.name] for f in fields(cls)}
        return cls(str(found.pop("encoding")), **{name: int(v) for name, v in found.items()})


#: Of a run: its layers in their order.
Layers = Mapping[str, LayerState]


def layers_of(report: Report) -> dict[str, LayerState]:
    """The layers of a run; of those that share a name the last."""
    return {layer.name: LayerState.of(layer) for layer in report.layers}


@dataclass(frozen=True)
class FigureChange:
    """A figure of budget.FIGURES there and here; None where it was not determined."""

    figure: str
    before: float | None
    after: float | None

    @property
    def text(self) -> str:
        """How far, see `units.change`."""
        return change(self.before, self.after, FIGURES[self.figure].unit)


@dataclass(frozen=True)
class LayerChange:
    """A layer there and here; None where it does not exist."""

    layer: str
    before: LayerState | None
    after: LayerState | None

    @property
    def stored(self) -> int:
        """Bytes more than before."""
        return (self.after.stored if self.after else 0) - (self.before.stored if self.before else 0)

    def cells(self) -> tuple[str, str, str, str]:
        """Encoding, stored bytes, weights kept and effectual MACs: "old → new" where two."""
        both = [None if s is None else asdict(s) for s in (self.before, self.after)]

        def pair(name: str) -> str:
            values = [s[name] for s in both if s is not None]
            shown = [v if isinstance(v, str) else f"{v:,}" for v in values]
            return " → ".join(dict.fromkeys(shown)) or "none"

        encoding, stored, kept, macs = (pair(f.name) for f in fields(LayerState))
        if self.before is None:
            encoding = f"new: {encoding}"
        elif self.after is None:
            encoding = f"gone: {encoding}"
        return encoding, stored, kept, macs


@dataclass(frozen=True)
class RunChanges:
    """One run beside the same one of a baseline."""

    model: str
    board: str
    known: bool  #: whether the baseline has this run
    layered: bool  #: whether it tells layers
    figures: tuple[FigureChange, ...] = ()  #: of all that either knows
    layers: tuple[LayerChange, ...] = ()  #: that differ, those that grew most first

    @property
    def changed(self) -> tuple[FigureChange, ...]:
        """The figures that differ."""
        return tuple(c for c in self.figures if c.before != c.after)

    @property
    def note(self) -> str:
        """A sentence about what the baseline lacks; empty where it lacks nothing."""
        name = f"{self.model} on {self.board}"
        if not self.known:
            return f"{name} is not in the baseline: `secateur baseline update` adds it"
        if not self.layered:
            return (
                f"the baseline of {name} tells no layers, an earlier version wrote it: "
                "`secateur baseline update` adds them"
            )
        return ""

    def to_dict(self) -> dict[str, Any]:
        """For --json."""
        return {
            "model": self.model,
            "board": self.board,
            "figures": [asdict(c) for c in self.changed],
            "layers": [asdict(c) for c in self.layers],
            "note": self.note or None,
        }


def between(
    report: Report,
    now: Mapping[str, float],
    figures: Mapping[str, float] | None,
    layers: Layers | None,
) -> RunChanges:
    """A run beside the `figures` and `layers` of its baseline; None: the baseline lacks them.

    now: `budget.snapshot` of the report.
    """
    if figures is None:
        return RunChanges(report.model, report.board, known=False, layered=False)
    names = [name for name in FIGURES if name in figures or name in now]
    rows = tuple(FigureChange(name, figures.get(name), now.get(name)) for name in names)
    if layers is None:
        return RunChanges(report.model, report.board, True, False, rows)
    here = layers_of(report)
    found = [
        LayerChange(name, layers.get(name), here.get(name))
        for name in dict.fromkeys((*here, *layers))
        if layers.get(name) != here.get(name)
    ]
    found.sort(key=lambda c: -c.stored)  # stable: the model's order among equals
    return RunChanges(report.model, report.board, True, True, rows, tuple(found))


def markdown(runs: Sequence[RunChanges], ref: str | None) -> str:
    """Sections of a pull request's comment: every figure, and the layers that differ."""
    there = cell(ref) if ref else "baseline"
    out: list[str] = []
    for run in runs:
        out += ["", f"#### {cell(run.model)} on {cell(run.board)}", ""]
        if run.note:
            out += [f"{cell(run.note)}.", ""]
        if not run.known:
            continue
        if not run.changed and not run.layers:
            out.append(f"Every figure is that of {there}.")
            continue
        out += [f"| figure | {there} | now | |", "|---|---:|---:|---:|"]
        for c in run.figures:
            show = FIGURES[c.figure].show
            out.append(f"| {c.figure} | {show(c.before)} | {show(c.after)} | {c.text} |")
        if run.layers:
            grown = sum(c.stored for c in run.layers)
            count = f"{len(run.layers)} layer{'s' * (len(run.layers) != 1)}"
            out += [
                "",
                f"<details><summary>{count} differ, {grown:+,} bytes stored</summary>",
                "",
                "| layer | encoding | stored bytes | | weights kept | effectual MACs |",
                "|---|---|---:|---:|---:|---:|",
            ]
            for change in run.layers:
                encoding, stored, kept, macs = change.cells()
                out.append(
                    f"| {cell(change.layer)} | {cell(encoding)} | {stored} | {change.stored:+,} | "
                    f"{kept} | {macs} |"
                )
            out += ["", "</details>"]
        elif run.layered:
            out += ["", "Every layer is as it was."]
    return "\n".join(out) + "\n" if out else ""
