"""Complexity-driven pruning: "Complexity-Driven CNN Compression for Resource-constrained Edge AI",
arXiv 2208.12816. Only its abstract is open: the details of the drawing are ours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from secateur.errors import DataError

from ..network import ChannelGroup, Network
from ..solver import Kept, Limits, floor_notes, unreachable
from ..targets import OWN, Goal
from .base import Criterion, criterion

BY = ("parameters", "flops", "memory")


@criterion("complexity")
@dataclass
class Complexity(Criterion):
    """Layers are drawn by their share of parameters (PA), FLOPs (FA) or memory (MA); each draw
    costs the drawn layer a filter, shares are taken anew, until the target is met.

    Filters are not ranked: a random one goes, and the network is then trained as it is, from its
    kept weights or from new ones (`prune_filters(..., reinitialise=True)`). The drawing rule in
    detail (a layer's share is that of its own weights or of its output; a group of layers that go
    together has the sum; with `round_to` n, a draw takes n) is ours.

    Args:
        by: "parameters", "flops" or "memory".
        seed: of the draws.
        Others: see `Criterion`.
    """

    by: str = "flops"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by not in BY:
            raise DataError(f"Complexity by {self.by!r} is none of {', '.join(BY)}")

    def scores(self, network: Network) -> np.ndarray:
        """The order within a layer is random."""
        return np.random.default_rng(self.seed).random(network.size)

    def choose(
        self, network: Network, groups: Sequence[ChannelGroup], aim: Goal | None, limits: Limits,
        scores: np.ndarray,
    ) -> Kept:  # fmt: skip
        """Draw until the target is met."""
        if isinstance(self.keep, dict):
            raise DataError("Complexity chooses the layers itself: give keep as one share")
        if aim is None:
            total = sum(len(g) for g in groups)
            assert isinstance(self.keep, float | int)
            budget = round(self.keep * total)
            aim = Goal("channels", budget + int(network.free.sum()) - total)
        order = {g.index: g.units[np.argsort(scores[g.units], kind="stable")] for g in groups}
        steps = self._draws(network, groups, order, limits)
        # the target is evaluated where it may be met: dear ones (the planner's) by bisection
        if aim.kind in OWN or aim.kind == "channels":
            kept = network.all()
            for kept in steps:
                if _figure(aim, network, kept) <= aim.limit:
                    return Kept(kept, floor_notes(network, groups, kept, limits))
            raise unreachable(network, groups, aim, _figure(aim, network, kept))
        states = list(steps)
        low, high = 0, len(states) - 1
        least = aim.figure(network, states[high])
        if least > aim.limit:
            raise unreachable(network, groups, aim, least)
        while low < high:
            middle = (low + high) // 2
            if aim.figure(network, states[middle]) <= aim.limit:
                high = middle
            else:
                low = middle + 1
        return Kept(states[high], floor_notes(network, groups, states[high], limits))

    def _draws(
        self,
        network: Network,
        groups: Sequence[ChannelGroup],
        order: dict[int, np.ndarray],
        limits: Limits,
    ) -> Iterator[np.ndarray]:
        rng = np.random.default_rng(self.seed)
        kept = network.all()
        left = {g.index: len(g) for g in groups}
        floors = {g.index: limits.floor(g) for g in groups}
        yield kept.copy()
        while True:
            open_ = [g for g in groups if left[g.index] > floors[g.index]]
            if not open_:
                return
            layers = network.by_layer(kept)
            shares = np.array(
                [sum(getattr(layers[m], self.by) for m in g.makers) for g in open_], float
            )
            if shares.sum() == 0:
                shares[:] = 1
            g = open_[rng.choice(len(open_), p=shares / shares.sum())]
            n = left[g.index]
            after = max(floors[g.index], (n - 1) // limits.round_to * limits.round_to)
            gone = len(g) - n
            kept[order[g.index][gone : gone + n - after]] = False
            left[g.index] = after
            yield kept.copy()


def _figure(aim: Goal, network: Network, kept: np.ndarray) -> float:
    if aim.kind == "channels":
        return float(network.costs(kept).channels)
    return aim.figure(network, kept)
