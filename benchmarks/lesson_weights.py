"""Weights of the layers that the cost model learns from."""

from __future__ import annotations

import numpy as np

from secateur.lowering.qgraph import Requant

#: Kind of weights -> (share of non-zeros, distinct non-zero values; 0: any).
KINDS = {
    "int8": (1.0, 0),
    "sparse": (0.3, 0),
    "thin": (0.08, 0),
    "ternary": (0.35, 2),
    "thin_ternary": (0.1, 2),
    "sixteen": (0.9, 15),
    "few": (0.3, 14),
    "seven": (0.9, 6),
    "forty": (0.9, 40),
    "binary": (1.0, 2),
    "powers": (0.5, -1),
    "sixty": (0.2, 62),
    "blocks": (0.25, 0),
}

#: Kinds of which rows and columns, so many at a time, are zeros together.
BLOCKS = {"blocks": (4, 2)}


def weights(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """int8 of a kind; "powers" are powers of two."""
    density, levels = KINDS[kind]
    w: np.ndarray
    if levels < 0:
        w = rng.choice([-1, 1], shape) * (1 << rng.integers(0, 7, shape))
    elif levels == 2:
        w = rng.choice([-1, 1], shape)
    elif levels:
        book = np.setdiff1d(np.linspace(-100, 101, levels).astype(int), [0])
        w = rng.choice(book, shape)
    else:
        w = np.clip(np.rint(rng.normal(0, 40, shape)), -127, 127)
        w += w == 0
    if kind in BLOCKS:
        rows, cols = BLOCKS[kind]
        few = (-(-shape[0] // rows), -(-shape[1] // cols))
        there = np.kron(rng.random(few) < density, np.ones((rows, cols), bool))
        return (w * there[: shape[0], : shape[1]]).astype(np.int8)
    return (w * (rng.random(shape) < density)).astype(np.int8)


def requant_of(weight: np.ndarray) -> Requant:
    """Multipliers of a layer with these weights."""
    narrow = np.abs(weight).reshape(len(weight), -1).sum(axis=1).max() * 255 <= 32767
    m, pre, shift = (700, 0, 16) if narrow else (8000, 16, 6)
    rows = len(weight)
    # no two multipliers alike, as after batch normalisation
    multiplier = (m + np.arange(rows)).astype(np.int16)
    return Requant(multiplier, np.full(rows, 128 << shift, np.int32), pre, shift)
