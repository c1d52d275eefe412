"""Channels by identity: which elements of which tensors are the same channel.

Every tensor of the graph has at most one axis whose elements are channels; it carries a vector of
ids. A layer that makes channels hands out fresh ids, everything that keeps channels apart passes
them on (a concatenation appends, a Flatten repeats, a split picks), and whatever needs two channels
to go together (a residual addition, a shared layer) unites their ids. What has one root in the end
is one *unit*: it stays or goes everywhere at once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Axis:
    """The channel axis of a tensor (batch is axis 0) and the ids along it, int64 [size]."""

    axis: int
    ids: np.ndarray


class Ids:
    """Union-find over channel ids; a frozen id cannot be removed, for a reason that is kept."""

    def __init__(self) -> None:
        self._parent: list[int] = []
        self._frozen: dict[int, str] = {}

    def fresh(self, n: int) -> np.ndarray:
        """n new ids."""
        first = len(self._parent)
        self._parent.extend(range(first, first + n))
        return np.arange(first, first + n)

    def find(self, i: int) -> int:
        """The root of id `i`."""
        parent = self._parent
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    def unite(self, a: np.ndarray, b: np.ndarray) -> None:
        """Element by element, `a` and `b` are the same channel from now on."""
        if a is b:
            return
        for i, j in zip(a.tolist(), b.tolist(), strict=True):
            i, j = self.find(i), self.find(j)
            if i != j:
                low, high = min(i, j), max(i, j)
                self._parent[high] = low
                if high in self._frozen:
                    self._frozen.setdefault(low, self._frozen.pop(high))

    def freeze(self, ids: np.ndarray, why: str) -> None:
        """Nothing of `ids` may go; the first reason counts."""
        for i in ids.tolist():
            self._frozen.setdefault(self.find(i), why)

    def frozen(self, i: int) -> str | None:
        """Why id `i` cannot go; None if it can."""
        return self._frozen.get(self.find(i))

    def roots(self) -> np.ndarray:
        """The root of every id, int64 [ids]."""
        return np.array([self.find(i) for i in range(len(self._parent))], np.int64)
