"""What a weight encoding is: encode, decode, size, and how the device reads it.

An encoding sees a layer as an int8 matrix [rows, cols]: rows are output channels (or neurons, or
the channels of a depthwise layer), cols the flattened (ci, kh, kw) in that order. It knows nothing
of kernels' geometry: code generation maps columns to addresses.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np

#: Causes a stored bit can have, each with the column of `inspect` that adds it up.
_CAUSES: dict[str, str] = {}


def register_cause(name: str, column: str) -> str:
    """Make a cause of bits known, and under which heading reports count it."""
    if _CAUSES.setdefault(name, column) != column:
        raise ValueError(f"cause {name!r} is counted under {_CAUSES[name]!r} already")
    return name


def causes() -> dict[str, str]:
    """Every cause's column."""
    return dict(_CAUSES)


def columns_of_causes() -> dict[str, tuple[str, ...]]:
    """The causes that each column adds up, in the order in which columns became known."""
    out: dict[str, tuple[str, ...]] = {}
    for name, column in _CAUSES.items():
        out[column] = (*out.get(column, ()), name)
    return out


register_cause("value", "values")  # a weight's value or its codebook index
register_cause("sign", "values")
register_cause("joint", "values")  # a symbol that tells gap and value at once
register_cause("index", "positions")  # an absolute position
register_cause("gap", "positions")  # a position relative to the last one
register_cause("count", "positions")
register_cause("offset", "positions")
register_cause("table", "tables")
register_cause("codebook", "codebooks")
register_cause("requant", "requant")  # the output channels' multipliers and offsets
register_cause("descriptor", "descr.")  # what a decoder is told
register_cause("pad", "padding")


@dataclass(frozen=True)
class Stream:
    """One array as it will lie in flash. `bits` <= 8 * len(data): the rest is padding."""

    name: str  #: unique within the layer; becomes part of the C array's name
    kind: str  #: a registered cause of bits
    data: bytes
    bits: int
    ctype: str = "uint8_t"  #: element type of the C array, little endian: "uint16_t", "int8_t"...
    shared: str = ""  #: streams of several layers with the same key are one array, stored once

    def __post_init__(self) -> None:
        if self.kind not in _CAUSES or not 0 <= self.bits <= 8 * len(self.data):
            raise ValueError(f"stream {self.name!r}: kind {self.kind!r}, {self.bits} bits")


@dataclass(frozen=True)
class Encoded:
    """An encoded layer."""

    encoding: str
    rows: int
    cols: int
    streams: tuple[Stream, ...]
    #: Integers the decoder is specialised to. Every encoding has "nnz" (non-zeros of the layer) and
    #: "row_nnz" (most non-zeros of a row); the rest is the encoding's own.
    meta: dict[str, int] = field(default_factory=dict)
    #: The matrix, where the streams only stand for their lengths (`Encoding.sketch`).
    sketch_of: np.ndarray | None = field(default=None, compare=False, repr=False)

    @cached_property
    def exact(self) -> Encoded:
        """Itself, or what it is a sketch of."""
        return self if self.sketch_of is None else get(self.encoding).encode(self.sketch_of)

    @property
    def stored_bytes(self) -> int:
        """Bytes in flash, all streams, padding included, shared ones in full (see `sharing`)."""
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
    #: "two_level" per row: the frequent value, the rarer one and the columns of that
    #: "shift"   per row and magnitude: columns of the negative, columns of the positive weights
    #: "mirrored ternary" all rows at once, as numbers of one list each (mirrored.py)
    form: ClassVar[str]
    #: The form in which kernels execute the streams where they lie in flash, often `form` itself;
    #: None where they need a decoder.
    in_place: ClassVar[str | None] = None
    #: The C header in coding/c whose functions turn the streams into `form`, row by row; None
    #: where there is none.
    decoder: ClassVar[str | None] = None
    #: Decoders that share most of their code.
    family: ClassVar[str] = ""
    #: The routine of code generation that unpacks all rows of a convolution at once
    #: (codegen/kernels/tile/unpack.py); "": rows come one by one from the decoder. Where
    #: there is no decoder, nothing else reads the streams.
    unpacker: ClassVar[str] = ""
    #: Whether it stores every weight as one byte: what other plans are measured against.
    baseline: ClassVar[bool] = False
    #: Stem of the C names: sc_<c_name>_stream, sc_<c_name>, sc_<c_name>_open, sc_<c_name>_row.
    c_name: ClassVar[str] = ""

    @abstractmethod
    def applies(self, weight: np.ndarray) -> bool:
        """Whether this encoding can hold `weight` (int8 [rows, cols]) exactly."""

    @abstractmethod
    def encode(self, weight: np.ndarray) -> Encoded:
        """Encode int8 [rows, cols]. Raises ValueError if `applies` is false."""

    def sketch(self, weight: np.ndarray) -> Encoded:
        """`encode` to weigh plans by: where coding takes long, streams may be a few bytes longer or
        shorter and hold nothing; `Encoded.exact` codes them."""
        return self.encode(weight)

    @abstractmethod
    def decode(self, encoded: Encoded) -> np.ndarray:
        """The matrix again, int8 [rows, cols]. Raises StreamError on a damaged stream."""

    def _matrix(self, weight: np.ndarray) -> np.ndarray:
        """`weight` as of `as_matrix`; ValueError, too, where this encoding does not hold it."""
        w = as_matrix(weight)
        if not self.applies(w):
            raise ValueError(f"{self.name} does not hold this matrix")
        return w

    def _encoded(self, weight: np.ndarray, streams: tuple[Stream, ...], **meta: int) -> Encoded:
        """Put an `Encoded` of `weight` together, with the meta entries every encoding has."""
        rows, cols = weight.shape
        return Encoded(self.name, rows, cols, streams, common_meta(weight) | meta)

    @property
    def coded(self) -> bool:
        """Whether kernels need its streams decoded, row by row or all at once."""
        return bool(self.decoder or self.unpacker)

    @property
    def readings(self) -> frozenset[str]:
        """What kernels can read of it: the form in place, and the decoded one."""
        ways = {self.in_place, coded_form(self.form) if self.coded else None}
        return frozenset(way for way in ways if way is not None)

    def rows_of(self, encoded: Encoded) -> Encoded:
        """What a decoder gives rows of, where the streams hold more than that."""
        return encoded

    def index_bits(self, encoded: Encoded) -> int:
        """Bits of the packed indices that stand for weights; 0 where weights are stored."""
        return 0

    def most_nonzeros(self, encoded: Encoded) -> int:
        """How many non-zeros decoding may write, of a damaged stream, too."""
        return encoded.meta["nnz"]

    def unpacking(self, encoded: Encoded) -> dict[str, float]:
        """What its `unpacker` does, in units of it (prices of the family `unpacker`)."""
        return {}

    def estimate(self, weight: np.ndarray) -> float | None:
        """About how many bytes `encode` would need, where that is far cheaper to know.

        `best` asks before it encodes. None: just encode.
        """
        return None

    def work(self, encoded: Encoded) -> dict[str, float]:
        """What the decoder does to turn the layer into its row form once, in units of its own
        (prices of the family `name`); a unit without a price is one instruction."""
        return {}

    def c_stream(self, encoded: Encoded, arrays: dict[str, str]) -> str:
        """Initializer of the const sc_<c_name>_stream; `arrays` maps stream names to C arrays."""
        raise NotImplementedError(f"{self.name} is executed in place")

    def c_macros(self, encoded: Encoded) -> dict[str, int]:
        """Macros to define before the decoder's header, each to its maximum over the layers."""
        return {}

    def ram(self, encoded: Encoded) -> int:
        """sizeof the decoder's state on a 32-bit core, bytes, given exactly `c_macros`."""
        return 0


def coded_form(form: str) -> str:
    """What a kernel reads (`Kernel.forms`) where a decoder gives it rows of `form`."""
    return f"coded {form}"


def as_matrix(weight: np.ndarray) -> np.ndarray:
    """`weight` as contiguous int8 [rows, cols]; ValueError if it is anything else."""
    if weight.ndim != 2 or weight.dtype != np.int8 or weight.size == 0:
        raise ValueError(f"need a non-empty int8 matrix, got {weight.dtype} {weight.shape}")
    if max(weight.shape) > 65535:
        raise ValueError(f"a layer has at most 65535 rows and columns, got {weight.shape}")
    return np.ascontiguousarray(weight)


def common_meta(weight: np.ndarray) -> dict[str, int]:
    """The meta entries every encoding has: "nnz" and "row_nnz"."""
    per_row = np.count_nonzero(weight, axis=1)
    return {"nnz": int(per_row.sum()), "row_nnz": int(per_row.max())}


def is_ternary(weight: np.ndarray) -> bool:
    """Whether every weight is -1, 0 or 1."""
    return bool(weight.min() >= -1 and weight.max() <= 1)


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
    fits = [get(n) for n in (among if among is not None else sorted(_REGISTRY))]
    fits = [e for e in fits if e.applies(weight)]
    if not fits:
        raise ValueError("no encoding holds this matrix")
    guesses = [(e.estimate(weight), e) for e in fits]
    done = [e.encode(weight) for guess, e in guesses if guess is None]
    for guess, encoding in sorted(
        ((g, e) for g, e in guesses if g is not None), key=lambda pair: pair[0]
    ):
        # Estimates are good to a few tenths of a percent or a few bytes.
        if not done or guess < 8 + 1.002 * min(e.stored_bytes for e in done):
            done.append(encoding.encode(weight))
    return min(done, key=lambda e: (e.stored_bytes, e.encoding))
