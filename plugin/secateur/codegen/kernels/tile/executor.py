"""What a row executor is: how one row of weights is stored and applied to a tile of inputs.

`TiledConv` (tile/conv.py) does everything else: loops, bands, unpacking, calls, scratch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ....lowering.qgraph import QConv
from ...emit import DTYPES, CArray, CFunction
from ...requant import RequantTable, requantization
from ...tables import RequantizedTable, counter_type
from ..base import Layer
from ..coded import Coded
from .schedule import TileSchedule, schedule
from .unpack import RowForm


@dataclass(frozen=True)
class Rows:
    """The executable rows of a layer: what its routine reads."""

    form: RowForm
    values: np.ndarray
    each: int  #: bytes a non-zero takes
    comment: str
    bits: Mapping[str, int]  #: by cause

    @classmethod
    def of_steps(
        cls, values: np.ndarray, counts: int, comment: str, lists: tuple[int, ...] = (),
        mirror: bool = False,
    ) -> Rows:  # fmt: skip
        """Steps, and `counts` counts among them, of the smallest type that holds them."""
        elem = counter_type(int(values.max(initial=0)))
        each = np.dtype(DTYPES[elem]).itemsize
        bits = {"count": 8 * each * counts, "gap": 8 * each * (values.size - counts)}
        return cls(RowForm(elem, lists=lists, mirror=mirror), values, each, comment, bits)

    def array(self, prefix: str) -> CArray:
        """They as they lie in flash."""
        return CArray(f"{prefix}_rows", self.form.element, self.values, self.comment, self.bits)


@dataclass(frozen=True, kw_only=True)
class RowTable(RequantizedTable):
    """What a tiled convolution keeps in flash: its rows, or the streams they are unpacked from;
    the executor's other arrays; the requantization."""

    rows: Rows
    coded: Coded | None  #: set where rows are unpacked
    others: tuple[CArray, ...]


@dataclass(frozen=True)
class Slots:
    """C for the slots of tile/conv.c.j2.

    The row's code finds the row at `s`, the tile at `tile` and moves `s` behind the row; `finish`
    has the requantization's m and c and stores at `o`, with what a residual adds at `r`.
    """

    row: str = ""
    finish: str = ""
    prologue: str = ""  #: of a tile, before the first channel
    whole: str = ""  #: C that makes all channels of a tile, in place of the three above
    copy: str = ""  #: C that copies a pointwise tile and sets x
    parameters: tuple[str, ...] = ()  #: of the function, for the executor's other arrays


@dataclass(frozen=True)
class RowCode:
    """The C of an executor for one layer."""

    functions: list[CFunction]  #: that the slots call
    slots: Slots
    forms: Mapping[str, tuple[Slots, TileSchedule]] = field(default_factory=dict)
    #: by instruction set (`emit.ISAS`) what takes the slots' place on its cores, and their tiles


class RowExecutor(ABC):
    """One way to store and apply rows. Stateless."""

    name: ClassVar[str]  #: of the kernel
    c_name: ClassVar[str]  #: in the names of C functions
    forms: ClassVar[frozenset[str]]  #: as of a kernel
    pixels: ClassVar[int] = 16  #: of a tile
    gathers: ClassVar[bool] = False  #: whether it pays to gather windows for it
    narrow: ClassVar[int] = 0  #: the same of a pointwise layer where RAM is short; 0: no others
    pitch: ClassVar[int] = 0  #: bytes a column of a tile, where they do not lie side by side
    plain_factor: ClassVar[float] = 1.0
    assembler: ClassVar[frozenset[str]] = frozenset()

    def schedule(self, layer: Layer[QConv]) -> TileSchedule:
        """Tiles and bands of the layer."""
        if not layer.thrift.narrow:
            return schedule(layer, self.pixels, self.gathers, self.pitch)
        s = schedule(layer, self.pixels)
        return schedule(layer, self.narrow) if s.g.pointwise else s

    @abstractmethod
    def applies(self, layer: Layer[QConv]) -> bool:
        """Whether it computes the layer's weights exactly."""

    @abstractmethod
    def rows(self, layer: Layer[QConv], s: TileSchedule) -> Rows:
        """The executable rows."""

    def shortens(self, layer: Layer[QConv], s: TileSchedule) -> bool:
        """Whether its rows have steps of two bytes, and would have steps of one with
        `Thrift.short`."""
        return False

    def requant(self, layer: Layer[QConv]) -> RequantTable:
        """The requantization of the layer's sums."""
        return requantization(layer.prefix, layer.op.requant)

    def others(self, layer: Layer[QConv]) -> tuple[CArray, ...]:
        """Arrays beside the rows."""
        return ()

    @abstractmethod
    def units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        """Work of rows and tiles, as of `Kernel.work`."""

    def dsp_units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        """The same with two 16-bit lanes a word."""
        return self.units(layer, s)

    def vector_units(self, layer: Layer[QConv], s: TileSchedule) -> dict[str, float]:
        """The same with vectors."""
        return self.units(layer, s)

    def band_bytes(self, s: TileSchedule, layer: Layer[QConv]) -> int:
        """Scratch for tiles and bands."""
        return s.band_bytes

    @abstractmethod
    def title(self, s: TileSchedule) -> str:
        """Comment above the convolution's function."""

    @abstractmethod
    def emit(self, layer: Layer[QConv], s: TileSchedule, table: RowTable) -> RowCode:
        """The C that applies a row."""
