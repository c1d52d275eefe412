"""Two values a row: where the rarer one is, stored by an encoding of zeros and ones.

A row of values a and b is b everywhere and a - b more in a few places: its sum is a - b times the
sum of few inputs plus b times the sum of all inputs, which the rows share.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import StreamError
from . import context, range_sparse, rice  # noqa: F401  whose encodings hold the masks
from .base import Encoded, Encoding, Stream, as_matrix, common_meta, get, register


@dataclass(frozen=True)
class TwoLevels:
    """mask int8 [rows, cols] of 0 and 1; weight = where(mask, rare, base), both int8 [rows]."""

    mask: np.ndarray
    base: np.ndarray
    rare: np.ndarray

    @property
    def levels(self) -> np.ndarray:
        """int8 [rows, 2]: base, rare."""
        return np.stack([self.base, self.rare], axis=1)


def two_levels(weight: np.ndarray) -> TwoLevels | None:
    """The split of an int8 matrix; None where a row has three values, or every base is zero."""
    low, high = weight.min(axis=1), weight.max(axis=1)
    is_high: np.ndarray = weight == high[:, None]
    if not np.all(is_high | (weight == low[:, None])):
        return None
    often: np.ndarray = 2 * is_high.sum(axis=1) > weight.shape[1]
    base, rare = np.where(often, high, low), np.where(often, low, high)
    if not base.any():
        return None
    mask = (weight != base[:, None]).astype(np.int8)
    return TwoLevels(mask, base.astype(np.int8), rare.astype(np.int8))


class TwoLevel(Encoding):
    """The streams of `inner` for the mask, and "l": base and rarer value of each row, int8.

    Meta: the inner encoding's, its "nnz" and "row_nnz" as "mask_nnz" and "mask_row_nnz".
    """

    form: ClassVar[str] = "two_level"
    inner: ClassVar[str]

    def applies(self, weight: np.ndarray) -> bool:
        """At most two values a row, the more frequent one not zero in all rows."""
        split = two_levels(weight)
        return split is not None and get(self.inner).applies(split.mask)

    def encode(self, weight: np.ndarray) -> Encoded:
        """See the base class."""
        w = as_matrix(weight)
        split = two_levels(w)
        if split is None:
            raise ValueError("a row has more than two values, or all rows are zero but for one")
        mask = get(self.inner).encode(split.mask)
        levels = Stream("l", "codebook", split.levels.tobytes(), 16 * len(w), "int8_t")
        own = {f"mask_{k}": mask.meta[k] for k in _COMMON}
        meta = mask.meta | own | common_meta(w)
        rows, cols = w.shape
        return Encoded(self.name, rows, cols, (*mask.streams, levels), meta)

    def rows_of(self, encoded: Encoded) -> Encoded:
        """See the base class: the mask as its own encoding has it."""
        streams = tuple(s for s in encoded.streams if s.name != "l")
        meta = encoded.meta | {k: encoded.meta[f"mask_{k}"] for k in _COMMON}
        return Encoded(self.inner, encoded.rows, encoded.cols, streams, meta)

    def decode(self, encoded: Encoded) -> np.ndarray:
        """See the base class."""
        mask = get(self.inner).decode(self.rows_of(encoded))
        levels = np.frombuffer(encoded.stream("l").data, np.int8)
        if levels.size != 2 * encoded.rows:
            raise StreamError(f"{levels.size} levels for {encoded.rows} rows")
        base, rare = levels.reshape(-1, 2).T
        return np.where(mask != 0, rare[:, None], base[:, None]).astype(np.int8)

    def work(self, encoded: Encoded) -> dict[str, float]:
        """See the base class."""
        return get(self.inner).work(self.rows_of(encoded))

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """See the base class: the mask's."""
        return get(self.inner).c_stream(self.rows_of(encoded), arrays)

    def c_macros(self, encoded: Encoded) -> dict[str, int]:
        """See the base class."""
        return get(self.inner).c_macros(self.rows_of(encoded))

    def ram(self, encoded: Encoded) -> int:
        """See the base class."""
        return get(self.inner).ram(self.rows_of(encoded))


_COMMON = ("nnz", "row_nnz")


@register
class TwoLevelDirect(TwoLevel):
    """Columns of the rarer value, executed in place."""

    name: ClassVar[str] = "two_level"
    in_place: ClassVar[str] = "two_level"
    inner: ClassVar[str] = "ternary"


def _coded(family: str) -> type[Encoding]:
    inner = f"{family}_ternary"
    attributes = {
        "__doc__": f"The mask as `{inner}`.",
        "name": f"{family}_levels",
        "inner": inner,
        "decoder": get(inner).decoder,
        "family": get(inner).family,
        "unpacker": get(inner).unpacker,
        "c_name": get(inner).c_name,
    }
    return register(type(f"{family.title()}Levels", (TwoLevel,), attributes))


CODED = tuple(_coded(family) for family in ("rice", "range", "context"))
