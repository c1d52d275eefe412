"""NISP: Yu, Li, Chen, Lai, Morariu, Han, Gao, Lin, Davis, "NISP: Pruning Networks using Neuron
Importance Score Propagation", CVPR 2018, arXiv 1711.05908.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.errors import DataError

from .. import observe
from ..network import Key, LayerCall, Network
from .activation import needed
from .base import Criterion, criterion

#: features float64 [samples, n] -> their importance, float64 [n]
Ranking = Callable[[np.ndarray], np.ndarray]


@criterion("nisp")
@dataclass(kw_only=True)
class NISP(Criterion):
    """Features of the last layer before the classifier are ranked, and s_k = |W|^T s_(k+1) carries
    their importance back through the whole network.

    Convolutions sum |W| over space; poolings, activations and norms pass scores on, additions give
    them to both sides. Every layer is cut by the same share at once (scope="layer"), then
    fine-tuned. A unit that several layers make has the sum of its scores where they make it.

    Args:
        data: inputs that the features are ranked on; an array, a list or dict, or (x, labels).
        ranking: features [samples, n] -> importance [n], not negative; by default infinite
            feature selection (Roffo, Melzi, Cristani, ICCV 2015), as in the paper.
        batch_size: of the passes.
        Others: see `Criterion`.
    """

    data: Any = field(default=None, repr=False)
    ranking: Ranking | None = None
    batch_size: int = 32

    def scores(self, network: Network) -> np.ndarray:
        """Importance of every unit where it is made."""
        heads = classifiers(network)
        if not heads:
            raise DataError("NISP finds no layer with weights before the outputs of this model")
        features = self._features(network, heads)
        importance: dict[Key, np.ndarray] = {}
        for head in heads:
            view = head.visit.layer
            assert view is not None
            assert view.read is not None
            units, where = np.unique(network.units(view.read), return_inverse=True)
            rank = np.asarray((self.ranking or infinite)(features[id(head)]), np.float64)
            if rank.shape != units.shape or not np.isfinite(rank).all() or (rank < 0).any():
                raise DataError(
                    f"the ranking of {len(units)} features gave {rank.shape} numbers; it must give "
                    "one for each, finite and not negative"
                )
            _give(importance, head.inputs[0], rank[where])
        out = np.zeros(network.size)
        after = {id(h) for h in heads}
        for call in reversed(network.calls):
            view = call.visit.layer
            for k, key in enumerate(call.outputs):
                s = importance.get(key)
                axis = call.visit.outputs[k]
                if s is None or axis is None:
                    continue
                if view is not None and view.made is not None:
                    np.add.at(out, network.units(axis.ids), s)
                if id(call) not in after:
                    _back(importance, call, k, s)
        return out

    def _features(self, network: Network, heads: list[LayerCall]) -> dict[int, np.ndarray]:
        """What the classifiers read: mean activations of every channel, [samples, units read]."""
        wanted = {id(h) for h in heads}
        found: dict[int, list[np.ndarray]] = {i: [] for i in wanted}

        def look(call: LayerCall, inputs: list[Any]) -> list[Any]:
            if id(call) in wanted:
                x = observe.channels_last(call, inputs[0])
                x = x.reshape(len(x), -1, x.shape[-1]).mean(1)
                view = call.visit.layer
                assert view is not None
                assert view.read is not None
                units, where = np.unique(network.units(view.read), return_inverse=True)
                sums = np.zeros((len(units), len(x)))
                np.add.at(sums, where, x.T)
                found[id(call)].append((sums / np.bincount(where)[:, None]).T)
            return inputs

        for batch in observe.batches(needed(self, network), self.batch_size):
            observe.run(network, list(batch), look)
        return {i: np.concatenate(parts) for i, parts in found.items()}


def classifiers(network: Network) -> list[LayerCall]:
    """The calls with weights that mix channels and have no other such call behind them."""
    reached, heads = set(network.outputs), []
    for call in reversed(network.calls):
        if not reached & set(call.outputs):
            continue
        if call.visit.layer is not None and call.visit.layer.read is not None:
            heads.append(call)
        else:
            reached |= set(call.inputs)
    # one that another head's features come from is no classifier
    before: set[Key] = set()
    ends = {id(h) for h in heads}
    for call in reversed(network.calls):
        if id(call) in ends or before & set(call.outputs):
            before |= set(call.inputs)
    last = [h for h in heads if not before & set(h.outputs)]
    return last or heads[:1]


def _back(importance: dict[Key, np.ndarray], call: LayerCall, output: int, s: np.ndarray) -> None:
    """Hand the importance of an output to the inputs it was made of."""
    visit, view = call.visit, call.visit.layer
    index = visit.links[output]
    if index is not None:
        if view is not None and view.strength is not None:  # depthwise
            s = s * view.strength()
        for key, axis, where in zip(call.inputs, visit.inputs, index, strict=True):
            if axis is not None and where is not None:
                there = where >= 0
                given = np.zeros(len(axis.ids))
                np.add.at(given, where[there], s[there])
                _give(importance, key, given)
    elif (
        view is not None
        and view.strength is not None
        and view.read is not None
        and visit.inputs[0] is not None
        and len(visit.inputs[0].ids) == len(view.read)
    ):
        _give(importance, call.inputs[0], view.strength() @ s)


def _give(importance: dict[Key, np.ndarray], key: Key, s: np.ndarray) -> None:
    importance[key] = importance[key] + s if key in importance else s


def infinite(features: np.ndarray, alpha: float = 0.5) -> np.ndarray:
    """Infinite feature selection: all paths through a graph of spread and lack of correlation.

    features: float [samples, n]. Edges are alpha max(s_i, s_j) + (1 - alpha)(1 - |rho_ij|) with
    the standard deviation s and Spearman's rho; the sum over paths of all lengths is
    (I - r A)^-1 - I with r = 0.9 / the spectral radius, and a feature's score its row sum.
    """
    n = features.shape[1]
    spread = features.std(0)
    spread = spread / spread.max() if spread.max() > 0 else np.ones(n)
    ranks = features.argsort(0, kind="stable").argsort(0, kind="stable").astype(np.float64)
    ranks -= ranks.mean(0)
    length = np.sqrt((ranks**2).sum(0))
    unit = ranks / np.where(length > 0, length, 1)
    edges = alpha * np.maximum(spread[:, None], spread[None]) + (1 - alpha) * (
        1 - np.abs(unit.T @ unit)
    )
    radius = float(np.abs(np.linalg.eigvalsh(edges)).max())
    if radius == 0:
        return np.ones(n)
    paths = np.linalg.solve(np.eye(n) - 0.9 / radius * edges, np.ones(n)) - 1
    return np.maximum(paths, 0)
