"""What a criterion is: scores of units, and a way to choose by them under a target."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

import numpy as np

from secateur.errors import DataError

from ..network import ChannelGroup, Network
from ..solver import (
    Kept,
    Limits,
    by_layer,
    check_patterns,
    floor_notes,
    globally,
    matches,
    remove,
    solve,
)
from ..targets import Goal, target
from ..trace import LayerView

SCOPES = ("layer", "global")
SHORTCUTS = ("projection", "sum", "skip")


_C = TypeVar("_C", bound="type[Criterion]")
#: name on the command line -> class
CRITERIA: dict[str, type[Criterion]] = {}


def criterion(name: str) -> Callable[[_C], _C]:
    """Register a criterion under the name the command line has for it."""

    def register(cls: _C) -> _C:
        CRITERIA[name] = cls
        return cls

    return register


@dataclass(kw_only=True)
class Criterion:
    """Base of the criteria. Exactly one target is given.

    Args:
        keep: share of the channels that stays, or by layer name (with * and ?): what no name
            means is not cut.
        parameters, flops, memory: share of the network's own that is left (a float up to 1), or an
            absolute number (an int). FLOPs are counted as multiply-accumulates; memory is the
            peak of live activations.
        flash, ram, latency, energy: what the planner estimates for `board`: "32 kB", "8 kB",
            "20 ms", "300 uJ".
        board: whose core, clock and current that is.
        calibration: real inputs for the planner, float [n, *input shape]; random if None.
        scope: "layer" takes the same share of every layer, "global" what scores lowest anywhere.
        shortcuts: channels that several layers make, joined by additions: "projection" judges
            them by the group's 1x1 convolutions where it has both kinds, "sum" by all layers that
            make them, "skip" leaves them whole.
        constants: "fold" adds what removed channels leave behind to the next biases, "drop"
            takes them for zero.

    Raises:
        DataError: no target, several, or a value that is none.
    """

    keep: float | Mapping[str, float] | None = None
    parameters: float | int | None = None
    flops: float | int | None = None
    memory: float | int | None = None
    flash: str | int | None = None
    ram: str | int | None = None
    latency: str | float | None = None
    energy: str | float | None = None
    board: str | None = None
    calibration: Any = None
    scope: str = "layer"
    shortcuts: str = "projection"
    constants: str = "fold"

    #: whether layers are scored one after the other, with a fit between them
    sequential: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for name, allowed in (
            ("scope", SCOPES), ("shortcuts", SHORTCUTS), ("constants", ("fold", "drop")),
        ):  # fmt: skip
            if getattr(self, name) not in allowed:
                raise DataError(f"{name}={getattr(self, name)!r} is none of {', '.join(allowed)}")
        given = [k for k in ("keep", *self.targets()) if getattr(self, k) is not None]
        if len(given) != 1:
            raise DataError(
                f"{self.name} has {' and '.join(given) or 'no target'}; give exactly one "
                "of keep, parameters, flops, memory, flash, ram, latency, energy"
            )
        shares = self.keep.values() if isinstance(self.keep, Mapping) else [self.keep]
        for share in shares:
            if share is not None and not 0 < share <= 1:
                raise DataError(f"keep={share!r} is no share; give more than 0, at most 1")

    @property
    def name(self) -> str:
        """The class' name, for messages."""
        return type(self).__name__

    def targets(self) -> dict[str, Any]:
        names = ("parameters", "flops", "memory", "flash", "ram", "latency", "energy")
        return {n: getattr(self, n) for n in names}

    def aim(self, network: Network) -> Goal | None:
        """The target of a network; None if it is a share of the channels."""
        return target(network, self.targets(), self.board, self.calibration)

    # What a criterion fills in -----------------------------------------------------------------

    def scores(self, network: Network) -> np.ndarray:
        """The importance of every unit, float64 [units]; NaN for one that it cannot judge."""
        raise NotImplementedError

    def scales(self, network: Network, kept: np.ndarray) -> dict[int, np.ndarray]:
        """Layer identity -> a factor for every channel it reads; nothing by default."""
        return {}

    def remarks(self, network: Network) -> list[str]:
        """What is to be said about the scores."""
        return []

    def why_unjudged(self) -> str:
        """Why a group without a score stays."""
        return f"{self.name} has no score for it"

    # Choosing ----------------------------------------------------------------------------------

    def groups(self, network: Network) -> dict[int, str]:
        """Cuttable groups this criterion leaves whole: index -> reason."""
        if self.shortcuts != "skip":
            return {}
        why = "several layers make it (shortcuts='skip')"
        return {g.index: why for g in network.cuttable if network.added[g.units].any()}

    def choose(
        self, network: Network, groups: Sequence[ChannelGroup], aim: Goal | None, limits: Limits,
        scores: np.ndarray,
    ) -> Kept:  # fmt: skip
        """Which units of `groups` stay."""
        if aim is not None:
            removal = (
                globally(network, groups, scores) if self.scope == "global" else by_layer(groups)
            )
            return solve(network, groups, scores, removal, aim, limits)
        assert self.keep is not None
        if isinstance(self.keep, Mapping):
            check_patterns(network, list(self.keep), f"keep of {self.name}")
            named = {
                g.index: min(s for p, s in self.keep.items() if matches(g, p))
                for g in groups
                if any(matches(g, p) for p in self.keep)
            }
            lost: Mapping[int, int] = {
                g.index: len(g) - round(named[g.index] * len(g)) for g in groups if g.index in named
            }
        elif self.scope == "global":
            lost = globally(network, groups, scores)(1 - self.keep)
        else:
            lost = {g.index: len(g) - round(self.keep * len(g)) for g in groups}
        kept = remove(network, groups, scores, lost, limits)
        return Kept(kept, floor_notes(network, groups, kept, limits))


def filters(view: LayerView) -> np.ndarray | None:
    """The filters a layer makes its channels with, float64 [channels, elements]."""
    for w in view.weights.values():
        for axis, ids in w.axes.items():
            if ids is view.made and len(w.variable.shape) > 1:
                value = np.asarray(w.variable.value, np.float64)
                return np.moveaxis(value, axis, 0).reshape(value.shape[axis], -1)
    return None


def makers(network: Network, group: ChannelGroup, shortcuts: str) -> list[LayerView]:
    """The layers by whose filters a group is judged."""
    views = [
        v for v in network.views()
        if v.made is not None and np.isin(group.units, network.units(v.made)).any()
    ]  # fmt: skip
    if shortcuts == "projection" and len(views) > 1:
        small = [v for v in views if set(getattr(v.op, "kernel_size", ())) == {1}]
        if small and len(small) < len(views):
            return small
    return views


def from_filters(network: Network, shortcuts: str, score: Any, normalize: bool) -> np.ndarray:
    """Unit scores from `score`(filters [channels, elements], view) -> [channels].

    normalize: divide by the group's mean, so that scores of different layers compare.
    """
    out = np.full(network.size, np.nan)
    cache: dict[int, np.ndarray | None] = {}
    for g in network.cuttable:
        total = np.zeros(network.size)
        judged = False
        for view in makers(network, g, shortcuts):
            if id(view) not in cache:
                kernel = filters(view)
                cache[id(view)] = None if kernel is None else score(kernel, view)
            values = cache[id(view)]
            if values is not None and view.made is not None:
                np.add.at(total, network.units(view.made), values)
                judged = True
        if judged:
            own = total[g.units]
            out[g.units] = own / own.mean() if normalize and own.mean() > 0 else own
    return out
