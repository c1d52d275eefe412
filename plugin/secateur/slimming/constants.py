"""What removed channels leave behind: constants, added to the biases of the layers that read them.

A channel without its filter is not zero: its bias, or the shift of the norm behind it, goes through
the activations and reaches the next layer as a constant. There it is worth the same everywhere,
unless that layer pads with zeros or the constant is none (a product with something that varies):
then the fold is right inside and wrong at the border, and this says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .network import Key, Network
from .trace import Constant, LayerView


@dataclass
class Folds:
    """By layer (its identity): what to add to its outputs, float64 [all outputs]."""

    added: dict[int, np.ndarray] = field(default_factory=dict)
    #: layer name -> why the fold is not exact
    inexact: dict[str, str] = field(default_factory=dict)


def folds(network: Network, kept: np.ndarray) -> Folds:
    """Follow the removed channels' constants to the layers that mix them."""
    out = Folds()
    values: dict[Key, Constant | None] = dict.fromkeys(network.inputs)
    for call in network.calls:
        visit, view = call.visit, call.visit.layer
        inputs = [values.get(k) for k in call.inputs]
        if view is not None and view.absorb is not None and view.read is not None:
            _absorb(network, kept, view, inputs[0], out)
        for k, key in enumerate(call.outputs):
            axis = visit.outputs[k]
            if axis is None:
                values[key] = None
                continue
            gathered = _gather(inputs, visit.links[k])
            if visit.constant is not None:
                value = visit.constant(k, gathered)
            elif visit.links[k] is not None and (alone := _alone(gathered)) is not None:
                value = alone
            else:
                value = (np.zeros(len(axis.ids)), np.zeros(len(axis.ids), bool))
            values[key] = value
    return out


def _gather(
    inputs: Sequence[Constant | None], index: list[np.ndarray | None] | None
) -> list[Constant | None]:
    if index is None:
        return []
    out: list[Constant | None] = []
    for c, where in zip(inputs, index, strict=True):
        if c is None or where is None:
            out.append(None)
            continue
        there = where >= 0
        out.append((np.where(there, c[0][where], 0.0), np.where(there, c[1][where], True)))
    return out


def _alone(gathered: list[Constant | None]) -> Constant | None:
    known = [c for c in gathered if c is not None]
    return known[0] if len(known) == 1 else None


def _absorb(
    network: Network, kept: np.ndarray, view: LayerView, given: Constant | None, out: Folds
) -> None:
    assert view.read is not None
    assert view.absorb is not None
    gone = ~kept[network.units(view.read)]
    if given is None or not gone.any():
        return
    value, everywhere = given
    added, exact = view.absorb(np.where(gone, value, 0.0))
    name = view.name
    if not everywhere[gone].all():
        out.inexact[name] = "what it read of removed channels is not constant"
    elif not exact and np.any(value[gone] != 0):
        out.inexact.setdefault(name, view.border)
    known = out.added.get(id(view.op))
    if known is not None and not np.allclose(known, added, rtol=1e-6, atol=1e-9):
        out.inexact[name] = "its calls read different constants"
        added = (known + added) / 2
    out.added[id(view.op)] = added
