"""Random choice: the baseline every ranking has to beat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..network import Network
from .base import Criterion, criterion


@criterion("random")
@dataclass(kw_only=True)
class RandomFilters(Criterion):
    """Scores are drawn, the same ones for the same seed. Arguments: see `Criterion`."""

    seed: int = 0

    def scores(self, network: Network) -> np.ndarray:
        """Uniform in 0..1."""
        return np.random.default_rng(self.seed).random(network.size)
