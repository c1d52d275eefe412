"""The tiled convolution: geometry, loops, unpacking; what it does with a row is in `rows`.

What an executor outside this package needs is here.
"""

from __future__ import annotations

from .conv import TiledConv, register_rows
from .executor import RowCode, RowExecutor, Rows, RowTable, Slots
from .schedule import TileSchedule
from .store import accumulator_store, tile_store
from .unpack import RowForm

__all__ = [
    "RowCode",
    "RowExecutor",
    "RowForm",
    "RowTable",
    "Rows",
    "Slots",
    "TileSchedule",
    "TiledConv",
    "accumulator_store",
    "register_rows",
    "tile_store",
]  # fmt: skip
