"""Weights made of factors (SmartDeal): the integer arithmetic of docs/integer-spec.md, "Factors".

A filter of n weights, S to a row, is rebuilt from coefficients [rows, S], each 0 or +-2^p with p in
0..6, and a basis [S, S] of int8. Arrays here have the filters, [co, ...], in front. Training, the
front end, lowering and coding all share this module; it needs NumPy alone.
"""

from __future__ import annotations

import numpy as np

TOP = 64  #: the largest coefficient
BASIS = 127  #: the largest entry of a basis
MOST_SHIFT = 15

#: Where a trained model keeps its factors: an attribute of the model, a group of the saved file.
ATTRIBUTE = "_secateur_factors"


def products(coefficients: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Coefficients times basis, int64 [co, rows, S], below 2^17 in size."""
    return np.asarray(coefficients.astype(np.int64) @ basis.astype(np.int64))


def shifts(coefficients: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """By filter the least shift that brings its products into -127..127, rounded; int64 [co]."""
    most = np.abs(products(coefficients, basis)).max(axis=(1, 2))
    return (2 * most[:, None] >= 255 << np.arange(MOST_SHIFT + 1)).sum(axis=1)


def rebuild(coefficients: np.ndarray, basis: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The weights, int64 [co, rows, S]: products >> shift, rounded to nearest, ties up."""
    s = shift.astype(np.int64)[:, None, None]
    return (products(coefficients, basis) + ((1 << s) >> 1)) >> s


def whole(coefficients: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Integer factors int8 of trained float ones: coefficients 0, +-2^-p up to 1, any basis."""
    most = np.abs(basis).max(axis=(1, 2), keepdims=True)
    step = np.where(most > 0, most, 1) / BASIS
    return (
        np.rint(coefficients * TOP).astype(np.int8),
        np.rint(basis / step).astype(np.int8),
    )
