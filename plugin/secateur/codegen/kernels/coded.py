"""Coded weights: a layer's streams and the descriptor that its decoder is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ... import coding
from ...coding.base import Encoded
from ...names import model
from .. import descriptor
from ..emit import CArray, Constant
from ..tables import stream_array
from .base import Layer


def is_coded(e: Encoded | None) -> bool:
    """Whether the encoding's streams must be decoded."""
    return e is not None and coding.get(e.encoding).coded


@dataclass(frozen=True)
class Coded:
    """A coded layer's arrays and descriptor."""

    encoded: Encoded
    name: str  #: of the descriptor
    arrays: tuple[CArray, ...]
    names: Mapping[str, str]  #: of them by stream; "0" for an empty one

    @property
    def header(self) -> str:
        """Of the decoder, where there is one."""
        decoder = coding.get(self.encoded.encoding).decoder
        assert decoder is not None
        return decoder

    @property
    def constant(self) -> Constant:
        """The descriptor."""
        encoding = coding.get(self.encoded.encoding)
        struct = f"sc_{self.c_name}_stream"
        text = encoding.c_stream(self.encoded, dict(self.names))
        values = descriptor.initializer(self.header, struct, text)
        return Constant(
            f"static const {struct} {self.name} = {values};",
            descriptor.size(self.header, struct),
            encoding.c_macros(self.encoded),
        )

    @property
    def c_name(self) -> str:
        """Stem of the decoder's C names."""
        return coding.get(self.encoded.encoding).c_name

    @property
    def room(self) -> int:
        """Elements of a row buffer."""
        return room(self.encoded)


def room(e: Encoded) -> int:
    """Elements of a buffer for one row's columns."""
    return max(1, e.meta["row_nnz"])


def rows_of(layer: Layer[Any]) -> Encoded:
    """What a layer's decoder gives rows of."""
    return layer.encoding.rows_of(layer.weights)


def coded(layer: Layer[Any]) -> Coded:
    """Arrays and descriptor of a layer whose streams are decoded."""
    e = rows_of(layer)
    arrays = []
    names = {}
    for s in e.streams:
        # a code table that several layers share is one array (see coding/sharing.py)
        owner = f"{model(layer.graph.name)}_shared_{s.shared}" if s.shared else layer.prefix
        user = "shared" if s.shared else layer.op.name
        a = stream_array(owner, s, f"{user}: {e.encoding}, {s.kind}")
        names[s.name] = a.name
        if a.values.size:
            arrays.append(a)
        else:
            names[s.name] = "0"
    return Coded(e, f"{layer.prefix}_stream", tuple(arrays), names)


def decode_work(e: Encoded | None) -> dict[str, float]:
    """Units of decoding a layer once, for `Kernel.work`; none where kernels read in place."""
    if e is None or not is_coded(e):
        return {}
    rows = coding.get(e.encoding).rows_of(e)
    work = coding.get(rows.encoding).work(rows)
    return {f"{rows.encoding}.{unit}": n for unit, n in work.items()}
