"""What a weight encoding is: encode, decode, size, and how the device reads it.

An encoding sees a layer as an int8 matrix [rows, cols]: rows are output channels (or neurons, or
the channels of a depthwise layer), cols the flattened (ci, kh, kw) in that order. It knows nothing
of kernels' geometry: code generation maps columns to addresses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

#: Causes a stored bit can have; `inspect` adds them up by these names.
KINDS = frozenset({"value", "index", "gap", "sign", "count", "codebook", "table", "offset", "pad"})


@dataclass(frozen=True)
class Stream:
    """One array as it will lie in flash. `bits` <= 8 * len(data): the rest is padding."""

    name: str  #: unique within the layer; becomes part of the C array's name
    kind: str  #: one of KINDS
    data: bytes
    bits: int
    ctype: str = "uint8_t"  #: element type of the C array ("uint16_t", "int8_t", ...), little endian


@dataclass(frozen=True)
class Encoded:
    """An encoded layer."""

    encoding: str
    rows: int
    cols: int
    streams: tuple[Stream, ...]
    meta: dict[str, int] = field(default_factory=dict)  #: integers the decoder is specialised to

    @property
    def stored_bytes(self) -> int:
        """Bytes in flash, all streams, padding included."""
        return sum(len(s.data) for s in self.streams)

    def stream(self, name: str) -> Stream:
        """The stream called `name`; KeyError if there is none."""
        for s in self.streams:
            if s.name == name:
                return s
        raise KeyError(name)

    def bits_by_kind(self) -> dict[str, int]:
        """Stored bits by cause; the sum is 8 * stored_bytes."""
        out: dict[str, int] = {}
        for s in self.streams:
            out[s.kind] = out.get(s.kind, 0) + s.bits
            pad = 8 * len(s.data) - s.bits
            if pad:
                out["pad"] = out.get("pad", 0) + pad
        return out


class Encoding(ABC):
    """One way to store a layer. Stateless; registered by `@register` under `name`."""

    name: ClassVar[str]
    #: The form the device's kernels read:
    #: "dense"   every weight, row-major int8
    #: "sparse"  per row: columns and int8 values of the non-zeros
    #: "ternary" per row: columns of the +1s, columns of the -1s
    form: ClassVar[str]
    #: None if kernels execute the streams as they lie in flash, else the C header in coding/c
    #: whose functions turn them into `form`, row by row.
    decoder: ClassVar[str | None] = None

    @abstractmethod
    def applies(self, weight: np.ndarray) -> bool:
        """Whether this encoding can hold `weight` (int8 [rows, cols]) exactly."""

    @abstractmethod
    def encode(self, weight: np.ndarray) -> Encoded:
        """Encode int8 [rows, cols]. Raises ValueError if `applies` is false."""

    @abstractmethod
    def decode(self, encoded: Encoded) -> np.ndarray:
        """The matrix again, int8 [rows, cols]. Raises StreamError on a damaged stream."""


_REGISTRY: dict[str, Encoding] = {}


def register(cls: type[Encoding]) -> type[Encoding]:
    """Class decorator: make the encoding known under its name."""
    if cls.name in _REGISTRY:
        raise ValueError(f"encoding {cls.name!r} is registered twice")
    _REGISTRY[cls.name] = cls()
    return cls


def get(name: str) -> Encoding:
    """The encoding registered as `name`; KeyError names the known ones."""
    try:
        return _REGISTRY[name]
    except KeyError:
        raise KeyError(f"no encoding {name!r}; known: {', '.join(sorted(_REGISTRY))}") from None


def all_encodings() -> list[Encoding]:
    """Every registered encoding, by name."""
    return [_REGISTRY[k] for k in sorted(_REGISTRY)]


def best(weight: np.ndarray, among: list[str] | None = None) -> Encoded:
    """The smallest encoding of `weight`, ties to the alphabetically first."""
    names = among if among is not None else sorted(_REGISTRY)
    fits = [get(n).encode(weight) for n in names if get(n).applies(weight)]
    if not fits:
        raise ValueError("no encoding holds this matrix")
    return min(fits, key=lambda e: (e.stored_bytes, e.encoding))
