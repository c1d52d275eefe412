"""What lies in flash for a layer: made once, scored by the planner and written by the library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..coding.base import Stream
from .emit import DTYPES, CArray, Constant
from .requant import RequantTable


def bits_of(arrays: tuple[CArray, ...], constants: tuple[Constant, ...]) -> dict[str, int]:
    """Bits of arrays and descriptors by cause; the sum is 8 times their bytes."""
    out: dict[str, int] = {}
    for a in arrays:
        bits = dict(a.bits) or {"value": 8 * a.size}
        bits["pad"] = 8 * a.size - sum(bits.values())
        for cause, n in bits.items():
            out[cause] = out.get(cause, 0) + int(n)
    if constants:
        out["descriptor"] = 8 * sum(c.size for c in constants)
    return {cause: n for cause, n in out.items() if n}


@dataclass(frozen=True)
class Table:
    """The constants of one layer, as they lie in flash."""

    arrays: tuple[CArray, ...] = ()
    constants: tuple[Constant, ...] = ()  #: decoders' descriptors

    @property
    def bytes(self) -> int:
        """Bytes of flash, those of a table that layers share in full."""
        return sum(a.size for a in self.arrays) + sum(c.size for c in self.constants)

    @property
    def bits(self) -> dict[str, int]:
        """The same in bits, by cause (`coding.base.causes`)."""
        return bits_of(self.arrays, self.constants)

    @property
    def names(self) -> list[str]:
        """The arrays' names: the first arguments of most kernels' functions."""
        return [a.name for a in self.arrays]


@dataclass(frozen=True, kw_only=True)
class RequantizedTable(Table):
    """The same of a layer with one requantization; `q` is the last of its arrays."""

    q: RequantTable

    @classmethod
    def of(cls, q: RequantTable, *arrays: CArray) -> RequantizedTable:
        """`arrays`, then the requantization."""
        return cls(arrays=(*arrays, q.array), q=q)


def counter_type(largest: int) -> str:
    """The smallest unsigned C type that holds numbers up to `largest`."""
    return "uint8_t" if largest < 256 else "uint16_t"


def stream_array(
    prefix: str, stream: Stream, comment: str, rename: Mapping[str, str] | None = None
) -> CArray:
    """A stream of an encoding as an array called `prefix`_NAME, as it is."""
    name = (rename or {}).get(stream.name, stream.name)
    values = np.frombuffer(stream.data, DTYPES[stream.ctype])
    return CArray(f"{prefix}_{name}", stream.ctype, values, comment, {stream.kind: stream.bits})
