"""Network slimming: Liu, Li, Shen, Huang, Yan, Zhang, "Learning Efficient Convolutional Networks
through Network Slimming", ICCV 2017, arXiv 1708.06519.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..network import Network
from .base import Criterion, criterion


@criterion("slimming")
@dataclass(kw_only=True)
class Slimming(Criterion):
    """s_j = |gamma_j| of the batch norm behind filter j; one threshold for the whole network.

    For networks trained with `NetworkSlimming`, which draws the scales of unimportant channels to
    zero. gamma *and* beta of what is below the threshold go. The paper keeps 30 % of VGG's channels
    and 60 % of a ResNet's or DenseNet's, fine-tunes, and repeats (`passes`). A channel with several
    norms behind it (a residual stream, a dense block) has their mean. Channels without a norm stay.
    Arguments: see `Criterion`.
    """

    scope: str = "global"

    def scores(self, network: Network) -> np.ndarray:
        """The mean |gamma| of the norms that hold a unit."""
        total, count = np.zeros(network.size), np.zeros(network.size)
        for view in network.views():
            if view.norm and view.held is not None and "gamma" in view.weights:
                units = network.units(view.held)
                np.add.at(total, units, np.abs(view.array("gamma").astype(np.float64)))
                np.add.at(count, units, 1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def remarks(self, network: Network) -> list[str]:
        """Scales that say nothing: the network was not trained for this."""
        scores = self.scores(network)[network.free]
        known = scores[~np.isnan(scores)]
        if len(known) and np.ptp(known) == 0:
            return [
                "every |gamma| is the same, so none is better than another: train with "
                "NetworkSlimming first"
            ]
        return []

    def why_unjudged(self) -> str:
        """It has no gamma."""
        return "no norm with a scale is behind it"
