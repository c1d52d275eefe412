"""FPGM: He, Liu, Wang, Hu, Yang, "Filter Pruning via Geometric Median for Deep Convolutional Neural
Networks Acceleration", CVPR 2019, arXiv 1811.00250.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..network import Network
from ..trace import LayerView
from .base import Criterion, criterion, from_filters


@criterion("fpgm")
@dataclass(kw_only=True)
class FPGM(Criterion):
    """s_j = the sum over k of ||F_j - F_k||: what is nearest to all others is replaceable.

    Arguments: see `Criterion`.
    """

    def scores(self, network: Network) -> np.ndarray:
        """The sum of distances to the other filters of the layer."""
        return from_filters(network, self.shortcuts, _distances, self.scope == "global")


def _distances(kernel: np.ndarray, _view: LayerView) -> np.ndarray:
    square = (kernel**2).sum(1)
    gaps = square[:, None] + square[None] - 2 * kernel @ kernel.T
    return np.sqrt(np.maximum(gaps, 0)).sum(1)
