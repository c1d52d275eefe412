"""Random weight matrices for the coding tests."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from secateur.coding.deal import FactoredMatrix
from secateur.lowering.factored import Factors


@st.composite
def matrices(draw: st.DrawFn, max_side: int = 300) -> np.ndarray:
    """int8 [rows, cols] of any density and number of levels, with empty rows and wide gaps."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows = draw(st.integers(1, 12))
    cols = draw(st.one_of(st.integers(1, 12), st.integers(1, max_side)))
    density = draw(st.sampled_from([0.0, 0.002, 0.02, 0.1, 0.3, 0.7, 1.0]))
    levels = draw(st.sampled_from([1, 2, 3, 5, 16, 40, 200]))
    if levels <= 2:
        book = np.array([1, -1][:levels], np.int8)
    elif levels == 5:  # powers of two, perhaps with steps of the square root of two
        halves = draw(st.booleans())
        book = np.array([12, -17, 24, 68, -96] if halves else [1, -2, 4, 16, -64], np.int8)
    else:
        book = rng.permutation(np.setdiff1d(np.arange(-127, 128), [0]))[:levels].astype(np.int8)
    skew = rng.dirichlet(np.full(book.size, 0.5)) if draw(st.booleans()) else None
    w = rng.choice(book, size=(rows, cols), p=skew)
    w[rng.random((rows, cols)) >= density] = 0
    if draw(st.booleans()):
        w[rng.random(rows) < 0.5] = 0
    return w.astype(np.int8)


def laplacian(rows: int, cols: int, density: float, levels: int, seed: int = 0) -> np.ndarray:
    """A pruned Laplacian layer quantised to `levels` non-zero levels (2: ternary)."""
    rng = np.random.default_rng(seed)
    w = rng.laplace(size=(rows, cols))
    cut = np.quantile(np.abs(w), 1 - density)
    kept = np.abs(w) > cut
    if levels == 2:
        return (np.sign(w) * kept).astype(np.int8)
    half = levels // 2
    step = (np.abs(w).max() - cut) / half
    mag = 1 + np.minimum(((np.abs(w) - cut) / step).astype(int), half - 1)
    scale = 127 // half
    return (np.sign(w) * kept * mag * scale).astype(np.int8)


def factored(rng: np.random.Generator, rows: int, cols: int) -> FactoredMatrix:
    """int8 weights with the factors they are made of; columns perhaps in another order."""
    side = int(rng.integers(2, 9))
    shape = (rows, -(-cols // side), side)
    coefficients = rng.choice([-1, 1], shape) << rng.integers(int(rng.integers(7)), 7, shape)
    coefficients *= rng.random(shape) < rng.choice([0.2, 0.6, 1.0])
    coefficients[rng.random(shape[:2]) < rng.choice([0.0, 0.5])] = 0
    basis = rng.integers(-127, 128, (rows, side, side))
    whole = [d for d in range(1, cols + 1) if cols % d == 0]
    i = int(rng.choice(whole))
    j = int(rng.choice([d for d in whole if (cols // i) % d == 0]))
    dims = (i, j, cols // i // j)
    # stored as (k, i, j), or as it is
    strides = (j, 1, i * j) if rng.random() < 0.5 else (j * dims[2], dims[2], 1)
    made = Factors(coefficients.astype(np.int8), basis.astype(np.int8), dims, strides)
    return FactoredMatrix.of(made.weights(), made)
