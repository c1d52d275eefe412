"""Which units go: from scores and a target, under what every layer must keep."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import numpy as np

from secateur.errors import BudgetError, DataError, ModelError

from .network import ChannelGroup, Network
from .targets import OWN, Goal

#: (level between 0, nothing removed, and 1) -> how many units each group loses
Removal = Callable[[float], Mapping[int, int]]
#: evaluations of a target the planner must be asked for; each one is a conversion
_PLANNED_STEPS = 9
_STEPS = 30


@dataclass(frozen=True)
class Limits:
    """What every group keeps: a floor, a multiple, and at most a share is taken.

    max_share: of all layers, or by layer name (with * and ?).
    """

    round_to: int = 1
    minimum: int = 1
    max_share: float | Mapping[str, float] = 1.0

    def __post_init__(self) -> None:
        for name in ("round_to", "minimum"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise DataError(f"{name}={value!r} is no number of channels; give 1 or more")
        shares = self.max_share
        for share in shares.values() if isinstance(shares, Mapping) else [shares]:
            if not 0 <= share <= 1:
                raise DataError(f"max_share={share!r} is no share; give 0..1")

    def share(self, group: ChannelGroup) -> float:
        """At most this part of the group goes."""
        if not isinstance(self.max_share, Mapping):
            return self.max_share
        return min((s for p, s in self.max_share.items() if matches(group, p)), default=1.0)

    def keep(self, group: ChannelGroup, wanted: int) -> int:
        """The number of units to keep for `wanted`: never fewer."""
        n = len(group)
        floor = max(self.minimum, math.ceil((1 - self.share(group)) * n - 1e-9))
        kept = max(wanted, floor)
        return min(n, math.ceil(kept / self.round_to) * self.round_to)

    def floor(self, group: ChannelGroup) -> int:
        """The fewest units that are ever kept."""
        return self.keep(group, 0)


@dataclass
class Kept:
    """Units kept, and what is to be said about them."""

    kept: np.ndarray
    notes: list[str] = field(default_factory=list)


def matches(group: ChannelGroup, pattern: str) -> bool:
    """Whether a pattern means one of the group's layers."""
    return any(means(name, pattern) for name in group.layers)


def means(name: str, pattern: str) -> bool:
    """Whether a pattern means a layer: by its name, or with the nested models before it."""
    return fnmatchcase(name, pattern) or fnmatchcase(name.rsplit("/", 1)[-1], pattern)


def check_patterns(network: Network, patterns: Sequence[str], what: str) -> None:
    """ModelError for a pattern that means no layer of the network."""
    names = [view.name for view in network.views()]
    for p in patterns:
        if not any(means(name, p) for name in names):
            raise ModelError(
                f"{what} names '{p}', which no layer with weights is called (there are: "
                f"{', '.join(names[:8])}{' ...' if len(names) > 8 else ''})"
            )


def remove(
    network: Network,
    groups: Sequence[ChannelGroup],
    scores: np.ndarray,
    lost: Mapping[int, int],
    limits: Limits,
) -> np.ndarray:
    """The lowest scores of each group go, as many as `lost` says and the limits allow."""
    kept = network.all()
    for g in groups:
        n = limits.keep(g, len(g) - lost.get(g.index, 0))
        order = np.argsort(scores[g.units], kind="stable")
        kept[g.units[order[: len(g) - n]]] = False
    return kept


def by_layer(groups: Sequence[ChannelGroup]) -> Removal:
    """The same share of every group, to one channel: groups round at different levels, so that a
    target is met closely where all are of one size."""
    golden = (math.sqrt(5) - 1) / 2
    turn = {g.index: (i * golden) % 1 for i, g in enumerate(groups)}
    return lambda level: {g.index: math.floor(level * len(g) + turn[g.index]) for g in groups}


def globally(network: Network, groups: Sequence[ChannelGroup], scores: np.ndarray) -> Removal:
    """One threshold over all groups; what scores the same goes from all of them alike."""
    units = np.concatenate([g.units for g in groups] or [np.zeros(0, int)])
    place = np.concatenate([np.arange(len(g)) / len(g) for g in groups] or [np.zeros(0)])
    order = units[np.lexsort((place, scores[units]))]
    group = network.group_of()

    def at(level: float) -> Mapping[int, int]:
        gone = order[: math.floor(level * len(order) + 1e-9)]
        found, counts = np.unique(group[gone], return_counts=True)
        return dict(zip(found.tolist(), counts.tolist(), strict=True))

    return at


def solve(
    network: Network,
    groups: Sequence[ChannelGroup],
    scores: np.ndarray,
    removal: Removal,
    aim: Goal,
    limits: Limits,
) -> Kept:
    """The lowest level of `removal` that meets the target. Raises BudgetError."""

    def at(level: float) -> np.ndarray:
        return remove(network, groups, scores, removal(level), limits)

    if aim.figure(network, network.all()) <= aim.limit:
        return Kept(network.all(), [f"the network is within its target ({aim.kind}) as it is"])
    low, high = 0.0, 1.0
    best = at(high)
    least = aim.figure(network, best)
    if least > aim.limit:
        raise unreachable(network, groups, aim, least)
    for _ in range(_STEPS if aim.kind in OWN else _PLANNED_STEPS):
        middle = (low + high) / 2
        kept = at(middle)
        if np.array_equal(kept, best):
            high = middle
            continue
        if aim.figure(network, kept) <= aim.limit:
            high, best = middle, kept
        else:
            low = middle
    return Kept(best, floor_notes(network, groups, best, limits))


def unreachable(
    network: Network, groups: Sequence[ChannelGroup], aim: Goal, least: float
) -> BudgetError:
    """Why a target cannot be met, and what keeps it from being."""
    whole = [g for g in network.groups if g not in groups]
    held = f"; left whole: {', '.join(repr(g.name) for g in whole[:6])}" if whole else ""
    return BudgetError(
        f"no choice of filters brings {aim.kind} to {aim.show(aim.limit)}: with every layer at its "
        f"floor it is {aim.show(least)}{held}; raise the target, or lower minimum, round_to or "
        "what is excluded"
    )


def floor_notes(
    network: Network, groups: Sequence[ChannelGroup], kept: np.ndarray, limits: Limits
) -> list[str]:
    """Layers that could not lose more."""
    out = []
    for g in groups:
        left = int(kept[g.units].sum())
        if left < len(g) and left <= limits.floor(g):
            many = f"{left} channel" + ("s" if left > 1 else "")
            out.append(f"'{g.name}' is at its floor of {many}")
    return out
