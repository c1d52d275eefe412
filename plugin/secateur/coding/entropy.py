"""Shannon's figures of a layer, to hold stored sizes against. All zeroth order, in bytes.

Entropies are of the empirical distribution: what an ideal coder that already knew the statistics
would need. Tables and learning come on top in any real coder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .base import as_matrix
from .gaps import gaps_of


def entropy_bits(symbols: np.ndarray) -> float:
    """Entropy of all of `symbols` together, bits (0 for none)."""
    counts = np.unique(symbols, return_counts=True)[1].astype(np.float64)
    total = counts.sum()
    return float(-(counts * np.log2(counts / total)).sum()) if counts.size > 1 else 0.0


@dataclass(frozen=True)
class LayerEntropy:
    """A layer under four models. Bytes."""

    weights: float  #: every weight by itself, zeros included
    gaps: float  #: numbers of zeros before the non-zeros, running on across rows
    values: float  #: values of the non-zeros
    joint: float  #: (gap, value) pairs as one symbol

    @property
    def separate(self) -> float:
        """Gaps and values, independent of each other."""
        return self.gaps + self.values

    @property
    def least(self) -> float:
        """The lowest of the models: the bound `inspect` prints beside the stored bytes."""
        return min(self.weights, self.separate, self.joint)


def layer_entropy(weight: np.ndarray) -> LayerEntropy:
    """Entropies of int8 [rows, cols].

    The joint figure counts every (gap, value) pair that occurs as a symbol; with hundreds of levels
    most pairs occur once, and the figure is too good to be reached by any coder.
    """
    w = as_matrix(weight)
    gaps, values = gaps_of(w)
    return LayerEntropy(
        weights=entropy_bits(w) / 8,
        gaps=entropy_bits(gaps) / 8,
        values=entropy_bits(values) / 8,
        joint=entropy_bits(gaps * 256 + values) / 8,
    )


def entropy_bytes(weight: np.ndarray) -> float:
    """The joint (gap, value) entropy of a layer, bytes."""
    return layer_entropy(weight).joint
