"""Windows gathered tile by tile, so that a convolution of few inputs becomes a pointwise one.

The sixteen pixels that a weight reads for sixteen neighbouring outputs are copied side by side, one
group a column (im2col of one tile). The copy is aligned, its outputs run on from row to row, and it
costs the same for every output channel: it pays where many weights read few inputs.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ...lowering.qgraph import QConv
from ..emit import CFunction, render
from ..geometry import Geometry
from .convtile import shape_key

PIXELS = 16
#: Most columns that are gathered; their tile takes 16 bytes each.
COLUMNS = 64
#: Non-zero weights a column from which on the copy pays.
READERS = 6


def gathered(op: QConv, window: Geometry) -> Geometry | None:
    """The pointwise geometry of `op` over gathered columns, where it pays; `window`: its own."""
    columns = window.ci * window.kh * window.kw
    if (
        window.pointwise or window.partial or columns > COLUMNS or window.ow < PIXELS
        or not (window.direct or window.rows == window.oh)
        or np.count_nonzero(op.weight) < READERS * columns
    ):  # fmt: skip
        return None
    pixels = window.oh * window.ow
    return replace(
        window, ci=columns, h=1, w=pixels, oh=1, ow=pixels, kh=1, kw=1, sy=1, sx=1,
        pads=(0, 0, 0, 0), tw=PIXELS, th=1, pointwise=True, direct=False, rows=1, in_rows=1, step=1,
        phases=1, phase_pitch=PIXELS, row_pitch=PIXELS, channel_pitch=PIXELS,
    )  # fmt: skip


def tile_bytes(flat: Geometry) -> int:
    """Scratch of the gathered tile; a copy may reach past it by less than a group."""
    return flat.band_bytes + PIXELS


def gather_function(window: Geometry) -> CFunction:
    """C that gathers the tile which begins at output pixel x."""
    name = f"gather_{shape_key(window)}"
    # the i-th column of a row as the band holds them, phase by phase
    at, first = "i", len(range(0, window.kw, window.sx))
    for p in range(1, window.phases):
        at = f"i < {first} ? {at} : i + {p * window.phase_pitch - first}"
        first += len(range(p, window.kw, window.sx))
    return CFunction(name, render("gather.c.j2", name=name, g=window, phases=at))
