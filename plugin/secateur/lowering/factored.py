"""Weights that training made of factors: int8 weights that the device can rebuild exactly."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from secateur.factors import rebuild, shifts
from secateur.lowering.weights import QWeights

_TOLERANCE = 1e-5  #: of the largest weight of a filter; float32 leaves 1e-7


@dataclass(frozen=True)
class Factors:
    """How the rows of a weight matrix come about: docs/integer-spec.md, "Factors".

    coefficients int8 [co, rows, S] and basis int8 [co, S, S]. A filter's weights come out in the
    order in which it was trained, (i, j, k) of sizes `dims`; weight (i, j, k) is stored in column
    i * strides[0] + j * strides[1] + k * strides[2].
    """

    coefficients: np.ndarray
    basis: np.ndarray
    dims: tuple[int, int, int]
    strides: tuple[int, int, int]

    @property
    def shift(self) -> np.ndarray:
        """By filter, int64 [co]."""
        return shifts(self.coefficients, self.basis)

    @property
    def columns(self) -> np.ndarray:
        """Where each weight of a filter is stored."""
        i, j, k = np.indices(self.dims)
        return np.ravel(i * self.strides[0] + j * self.strides[1] + k * self.strides[2])

    def weights(self) -> np.ndarray:
        """The matrix, int8 [co, columns]."""
        flat = rebuild(self.coefficients, self.basis, self.shift).reshape(len(self.basis), -1)
        out = np.zeros((len(flat), int(np.prod(self.dims))), np.int8)
        out[:, self.columns] = flat[:, : out.shape[1]]
        return out

    def transposed(self, shape: tuple[int, int, int]) -> Factors:
        """For columns, planes (C, H, W) of `shape`, that become (C, W, H)."""
        _, h, w = shape

        def move(stride: int) -> int:
            c, y, x = stride // (h * w), stride // w % h, stride % w
            return c * h * w + x * h + y

        a, b, c = (move(s) for s in self.strides)
        return replace(self, strides=(a, b, c))


def factored(
    w: np.ndarray,
    pair: tuple[np.ndarray, np.ndarray] | None,
    dims: tuple[int, int, int],
    strides: tuple[int, int, int],
) -> tuple[QWeights, Factors] | None:
    """The integer form of float weights [rows, cols], if they are what the factors say.

    None where they are not (they were changed after training), or there are no factors.
    """
    if pair is None:
        return None
    coefficients, basis = pair
    fits = len(coefficients) == len(basis) == len(w) and np.prod(dims) == w.shape[1]
    if not fits or coefficients.shape[1] != -(-w.shape[1] // basis.shape[2]):
        return None
    found = Factors(coefficients, basis, dims, strides)
    values = found.weights()
    v = values.astype(np.float64)
    square = np.square(v).sum(axis=1)
    scale = np.where(square > 0, (w * v).sum(axis=1) / np.maximum(square, 1), 1.0)
    scale = np.where(scale > 0, scale, 1.0)
    error = np.abs(w - v * scale[:, None]).max(axis=1)
    if np.any(error > _TOLERANCE * np.abs(w).max(axis=1) + 1e-12):
        return None
    return QWeights(values, scale, 8.0, "factors"), found
