"""What would go, before it goes: channels by layer, costs, and everything that is to be said."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from secateur import notebook
from secateur.errors import DataError

from .constants import Folds, folds
from .criteria.base import Criterion
from .network import ChannelGroup, Costs, Network
from .solver import Limits, check_patterns, matches, remove
from .surgery import rebuild

#: shares of a group that the sensitivity scan cuts
SHARES = (0.25, 0.5, 0.75)


@dataclass(frozen=True)
class LayerRow:
    """One layer before and after."""

    name: str
    kind: str
    channels: tuple[int, int]
    parameters: tuple[int, int]
    flops: tuple[int, int]  #: multiply-accumulates


@dataclass(frozen=True)
class GroupRow:
    """Channels that go together: how many stay, and why all do if they do."""

    name: str
    makers: tuple[str, ...]
    channels: tuple[int, int]
    why: str = ""


@dataclass(eq=False)
class FilterPlan:
    """A choice of filters for one model; `print` shows it, `apply` makes the smaller model.

    removed: layer -> indices of its output channels that go. inexact: layer -> why what is folded
    into its bias is not exact ("zero padding": it is inside, not at the border). sensitivity:
    group -> share cut -> top-1 in percent, the others untouched; `baseline` is without a cut.
    """

    network: Network = field(repr=False)  #: the model's channels
    kept: np.ndarray = field(repr=False)  #: the choice, bool [units]
    folds: Folds = field(repr=False)
    scales: dict[int, np.ndarray] = field(repr=False)
    criterion: str
    target: str
    layers: tuple[LayerRow, ...]
    groups: tuple[GroupRow, ...]
    before: Costs
    after: Costs
    removed: dict[str, list[int]]
    inexact: dict[str, str]
    notes: list[str]
    sensitivity: dict[str, dict[float, float]] = field(default_factory=dict)
    baseline: float | None = None

    def apply(self, reinitialise: bool = False, compile: bool = False) -> Any:
        """The smaller model, a functional `keras.Model` with the same layer names.

        reinitialise: new weights from the initializers instead of the kept ones. compile: with the
        loss, metrics and settings of the old one; the optimizer starts without state.
        """
        made = rebuild(self.network, self.kept, self.folds, self.scales, reinitialise)
        old = self.network.model
        if compile:
            if not old.compiled:
                raise DataError(
                    f"model '{old.name}' is not compiled, so the smaller one cannot be compiled "
                    "like it; leave compile=True out, or compile it first"
                )
            made.compile_from_config(old.get_compile_config())
            if not made.compiled:
                raise DataError(
                    f"how model '{old.name}' is compiled cannot be copied (an own loss or metric); "
                    "leave compile=True out and compile the smaller one"
                )
        return made

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""

        def costs(c: Costs) -> dict[str, int]:
            return {"parameters": c.parameters, "flops": c.flops, "memory": c.memory}

        return {
            "criterion": self.criterion,
            "target": self.target,
            "before": costs(self.before),
            "after": costs(self.after),
            "layers": [
                {
                    "name": r.name, "kind": r.kind, "channels": list(r.channels),
                    "parameters": list(r.parameters), "flops": list(r.flops),
                }
                for r in self.layers
            ],
            "groups": [
                {
                    "name": g.name, "layers": list(g.makers), "channels": list(g.channels),
                    "why": g.why,
                }
                for g in self.groups
            ],
            "removed": self.removed,
            "inexact": self.inexact,
            "notes": self.notes,
            "sensitivity": {
                g: {f"{s:g}": a for s, a in curve.items()} for g, curve in self.sensitivity.items()
            },
            "baseline": self.baseline,
        }  # fmt: skip

    def _repr_html_(self) -> str:
        rows = [[r.name, r.kind, *r.channels, *r.parameters, *r.flops] for r in self.layers]
        columns = (
            "layer", "kind", "channels", "left", "parameters", "left", "MACs", "left",
        )  # fmt: skip
        return notebook.table(f"{self.criterion}, {self.target}", columns, rows, self.notes)

    def __rich__(self) -> Any:
        from .page import terminal

        return terminal(self)

    def __str__(self) -> str:
        from rich.console import Console

        buffer = io.StringIO()
        Console(file=buffer, width=100, color_system=None).print(self)
        return buffer.getvalue()

    def html(self, path: str | os.PathLike[str]) -> Path:
        """Write the plan as one HTML page with its pictures; the path."""
        from .page import write_html

        return write_html(self, Path(path))

    def picture(self, path: str | os.PathLike[str]) -> Path:
        """Write channels before and after by layer as an SVG; the path."""
        from .page import write_svg

        return write_svg(self, Path(path))


def make_plan(
    model: Any,
    criterion: Criterion,
    limits: Limits,
    exclude: Sequence[str] = (),
    sensitivity: Any = None,
) -> FilterPlan:
    """Score, choose, and say what comes of it."""
    if not isinstance(criterion, Criterion):
        raise DataError(
            f"{criterion!r} is no criterion; give one like secateur.L1Filters(keep=0.6)"
        )
    network = Network(model)
    whole = {g.index: g.why for g in network.groups if g.why}
    groups = chosen(network, criterion, exclude, whole)
    if isinstance(limits.max_share, Mapping):
        check_patterns(network, list(limits.max_share), "max_share")
    aim = criterion.aim(network)
    scores = criterion.scores(network)
    for g in groups:
        if np.isnan(scores[g.units]).any():
            whole[g.index] = criterion.why_unjudged()
    groups = [g for g in groups if g.index not in whole]
    choice = criterion.choose(network, groups, aim, limits, scores)
    scales = criterion.scales(network, choice.kept)
    found = folds(network, choice.kept) if criterion.constants == "fold" else Folds()
    target = f"keep {criterion.keep}" if aim is None else f"{aim.kind} {aim.show(aim.limit)}"
    notes = [*choice.notes, *criterion.remarks(network)]
    if aim is not None and aim.note:
        notes.append(aim.note)
    plan = describe(network, choice.kept, criterion.name, target, notes, whole, found, scales)
    if sensitivity is not None:
        plan.baseline, plan.sensitivity = scan(network, groups, scores, criterion, sensitivity)
    return plan


def one_group(model: Any, criterion: Criterion, name: str, left: int) -> FilterPlan:
    """The plan that leaves `left` channels of the group `name` and cuts nothing else."""
    network = Network(model)
    group = next(g for g in network.groups if g.name == name)
    scores = criterion.scores(network)
    kept = remove(network, [group], scores, {group.index: len(group) - left}, Limits())
    found = folds(network, kept) if criterion.constants == "fold" else Folds()
    scales = criterion.scales(network, kept)
    return describe(network, kept, criterion.name, f"keep {left}", [], {}, found, scales)


def chosen(
    network: Network, criterion: Criterion, exclude: Sequence[str], whole: dict[int, str]
) -> list[ChannelGroup]:
    """The groups that may be cut; `whole` gets the others with their reasons."""
    patterns = [exclude] if isinstance(exclude, str) else list(exclude)
    check_patterns(network, patterns, "exclude")
    whole.update(criterion.groups(network))
    for g in network.cuttable:
        if any(matches(g, p) for p in patterns):
            whole[g.index] = "excluded"
    return [g for g in network.cuttable if g.index not in whole]


def describe(
    network: Network,
    kept: np.ndarray,
    criterion: str,
    target: str,
    notes: list[str],
    whole: Mapping[int, str],
    found: Folds,
    scales: dict[int, np.ndarray],
) -> FilterPlan:
    """The plan of a choice."""
    everything = network.all()
    before, after = network.by_layer(everything), network.by_layer(kept)
    counts = network.counts(kept)
    removed: dict[str, list[int]] = {}
    layers = []
    for view in network.views():
        name, ids = view.name, view.made if view.made is not None else view.held
        if ids is not None:
            gone = np.flatnonzero(~kept[network.units(ids)])
            if len(gone):
                removed[name] = [int(i) for i in gone]
        layers.append(
            LayerRow(
                name,
                type(view.op).__name__,
                counts.get(name, (0, 0)),
                (before[name].parameters, after[name].parameters),
                (before[name].flops, after[name].flops),
            )
        )
    groups = tuple(
        GroupRow(g.name, g.makers, (len(g), int(kept[g.units].sum())), whole.get(g.index, ""))
        for g in network.groups
    )
    return FilterPlan(
        network, kept, found, scales, criterion, target, tuple(layers), groups,
        network.costs(everything), network.costs(kept), removed, dict(found.inexact), notes,
    )  # fmt: skip


def scan(
    network: Network,
    groups: Sequence[ChannelGroup],
    scores: np.ndarray,
    criterion: Criterion,
    data: Any,
) -> tuple[float, dict[str, dict[float, float]]]:
    """Top-1 in percent with a share of one group cut and nothing trained, group by group."""
    from . import observe

    if not (isinstance(data, tuple) and len(data) == 2):
        raise DataError("the sensitivity scan needs labels: give sensitivity=(x, y)")
    x, y = observe.as_inputs(network, data), np.asarray(data[1])
    labels = y.argmax(-1) if y.ndim > 1 and y.shape[-1] > 1 else y.reshape(-1)
    if len(labels) != len(x[0]):
        raise DataError(f"sensitivity has {len(x[0])} inputs and {len(labels)} labels")

    def top1(model: Any) -> float:
        out = model.predict(x if len(x) > 1 else x[0], verbose=0)
        return 100.0 * float((out.reshape(len(out), -1).argmax(1) == labels).mean())

    curves: dict[str, dict[float, float]] = {}
    for g in groups:
        curves[g.name] = {}
        order = g.units[np.argsort(scores[g.units], kind="stable")]
        for share in SHARES:
            kept = network.all()
            kept[order[: min(len(g) - 1, round(share * len(g)))]] = False
            fold = folds(network, kept) if criterion.constants == "fold" else None
            small = rebuild(network, kept, fold, criterion.scales(network, kept))
            curves[g.name][share] = top1(small)
    return top1(network.model), curves
