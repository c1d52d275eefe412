"""L1 filter pruning: Li, Kadav, Durdanovic, Samet, Graf, "Pruning Filters for Efficient ConvNets",
ICLR 2017, arXiv 1608.08710.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..network import ChannelGroup, Network
from ..solver import Kept, Limits
from ..targets import Goal
from ..trace import LayerView
from .base import Criterion, criterion, from_filters


@criterion("l1")
@dataclass(kw_only=True)
class L1Filters(Criterion):
    """s_j = the sum of |K| over all kernels of filter j; the smallest of a layer go.

    The paper's settings: one share for each stage of the network (`keep` by layer name), filters of
    a block's last convolution chosen on the projection shortcut, all layers at once, then training
    goes on at a small constant rate for a quarter of the epochs. With scope="global", scores are
    divided by their layer's mean.

    Args:
        greedy: leave out the kernels that read channels which have already gone (the paper's
            "greedy" strategy, better at high shares); layers are then judged front to back.
        Others: see `Criterion`.
    """

    greedy: bool = False

    def scores(self, network: Network) -> np.ndarray:
        """The L1 norm of every filter."""
        return self._scores(network, network.all())

    def _scores(self, network: Network, kept: np.ndarray) -> np.ndarray:
        def norm(kernel: np.ndarray, view: LayerView) -> np.ndarray:
            if not kept.all() and view.read is not None:
                kernel = _without(network, view, kept)
            return np.abs(kernel).sum(1)

        return from_filters(network, self.shortcuts, norm, self.scope == "global")

    def choose(
        self, network: Network, groups: Sequence[ChannelGroup], aim: Goal | None, limits: Limits,
        scores: np.ndarray,
    ) -> Kept:  # fmt: skip
        """The smallest norms; if greedy, as many as those, judged again layer by layer."""
        choice = super().choose(network, groups, aim, limits, scores)
        if not self.greedy:
            return choice
        kept = network.all()
        for g in groups:  # in the order of the graph
            lost = int((~choice.kept[g.units]).sum())
            again = self._scores(network, kept)[g.units]
            kept[g.units[np.argsort(again, kind="stable")[:lost]]] = False
        return Kept(kept, choice.notes)


def _without(network: Network, view: LayerView, kept: np.ndarray) -> np.ndarray:
    """The filters of a layer, zero where they read what has gone."""
    for w in view.weights.values():
        axes = dict(w.axes)
        made = next((a for a, ids in axes.items() if ids is view.made), None)
        if made is None or len(w.variable.shape) < 2:
            continue
        value = np.array(np.asarray(w.variable.value), np.float64)
        for axis, ids in axes.items():
            if axis != made:
                shape = [1] * value.ndim
                shape[axis] = len(ids)
                value *= kept[network.units(ids)].reshape(shape)
        return np.moveaxis(value, made, 0).reshape(value.shape[made], -1)
    raise AssertionError("no filters")


@criterion("l2")
@dataclass(kw_only=True)
class L2Filters(Criterion):
    """s_j = the root of the sum of K^2 over filter j. A baseline. Arguments: see `Criterion`."""

    def scores(self, network: Network) -> np.ndarray:
        """The L2 norm of every filter."""
        return from_filters(
            network, self.shortcuts, lambda k, _: np.sqrt((k**2).sum(1)), self.scope == "global"
        )
