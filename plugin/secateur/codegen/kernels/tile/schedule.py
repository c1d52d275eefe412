"""How a convolution walks over its input: tiles, bands and, where it pays, gathered windows.

The sixteen pixels that a weight of a window reads for sixteen neighbouring outputs may be copied
side by side, one group a column (im2col of one tile): the layer becomes a pointwise one. The copy
is aligned, its outputs run on from row to row, and it costs the same for every output channel: it
pays where many weights read few inputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np

from ....lowering.qgraph import QConv
from ...emit import CFunction, by_isa, render
from ...geometry import Geometry, conv_geometry
from ..base import Layer

#: Pixels of a gathered tile.
PIXELS = 16
#: Most columns that are gathered; their tile takes 16 bytes each.
COLUMNS = 64
#: Non-zero weights a column from which on the copy pays.
READERS = 6

T = TypeVar("T")


def weight_matrix(op: QConv) -> np.ndarray:
    """The weights as [rows, cols]."""
    return op.weight.reshape(op.weight.shape[0], -1)


def density(weight: np.ndarray) -> float:
    """Share of non-zeros."""
    return float(np.count_nonzero(weight) / weight.size)


@dataclass(frozen=True)
class TileSchedule:
    """Tiles of a layer as it is, and as it is executed."""

    window: Geometry
    g: Geometry  #: pointwise where the window is gathered

    @property
    def gathered(self) -> bool:
        """Whether windows are gathered."""
        return self.g != self.window

    @property
    def unit(self) -> int:
        """Steps from column to column are in units of 2**unit bytes: for kernels of 16 pixels the
        columns themselves."""
        if not self.g.pointwise:
            return 0
        return 2 if self.g.channel_pitch % PIXELS else 4

    @property
    def order(self) -> np.ndarray:
        """Weight columns in the order in which the band holds what they read."""
        return memory_order(self.window)

    def offsets(self) -> np.ndarray:
        """Where each weight column reads, in the band or among the gathered ones, int64 [cols]."""
        if not self.gathered:
            return self.g.offsets()
        offsets = np.empty(self.g.ci, np.int64)
        offsets[self.order] = self.g.offsets()
        return offsets

    @property
    def band_bytes(self) -> int:
        """Scratch for tiles and bands; a copy may reach past a gathered tile by less than a
        group."""
        return self.tile_bytes + self.window.band_bytes if self.gathered else self.g.band_bytes

    @property
    def tile_bytes(self) -> int:
        """Scratch of the gathered tile."""
        return self.g.band_bytes + PIXELS

    @property
    def key(self) -> str:
        """Part of functions' names."""
        return shape_key(self.window)


def schedule(
    layer: Layer[QConv], pixels: int, gathers: bool = False, pitch: int = 0
) -> TileSchedule:
    """Tiles of `pixels`.

    gathers: whether windows may be gathered; pitch: bytes from column to column of a pointwise tile
    and of a gathered one, where they do not lie side by side.
    """
    window = conv_geometry(layer.op, layer.graph, pixels, stripe=layer.stripe)
    flat = _gathered(layer.op, window) if gathers and layer.stripe is None else None
    if pitch and window.pointwise:
        window = replace(window, channel_pitch=pitch)
    if pitch and flat:
        flat = replace(flat, channel_pitch=pitch)
    return TileSchedule(window, flat or window)


def _gathered(op: QConv, window: Geometry) -> Geometry | None:
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


def gather_function(window: Geometry, pitch: int = PIXELS) -> CFunction:
    """C that gathers the tile which begins at output pixel x, `pitch` bytes a column: behind one
    of twice its pixels lies its mirror (rows/mirror.py)."""
    name = f"gather_{shape_key(window)}" + ("_mirror" if pitch > PIXELS else "")
    # the i-th column of a row as the band holds them, phase by phase
    at, first = "i", len(range(0, window.kw, window.sx))
    for p in range(1, window.phases):
        at = f"i < {first} ? {at} : i + {p * window.phase_pitch - first}"
        first += len(range(p, window.kw, window.sx))
    return CFunction(name, render("tile/gather.c.j2", name=name, g=window, phases=at, pitch=pitch))


def memory_order(g: Geometry) -> np.ndarray:
    """Columns of a convolution in the order in which the band holds what they read."""
    return np.argsort(g.offsets(), kind="stable")


def in_memory_order(columns: np.ndarray, offsets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns sorted by where they read, and the steps from read to read, first from 0."""
    order = np.argsort(offsets[columns], kind="stable")
    columns = columns[order]
    return columns, np.diff(offsets[columns], prepend=0)


#: The farthest step of a byte, and the largest code.
STEP = 255


def reached(reads: np.ndarray, at: int) -> int | None:
    """Of where columns read, ascending from 0, the last that is a step of a byte behind `at`; None
    where none is."""
    last = int(reads[np.searchsorted(reads, at + STEP, side="right") - 1])
    return last if last > at else None


def remembered(rows: Callable[..., T]) -> Callable[..., T]:
    """`rows(weight int8 [rows, cols], offsets [cols], ...)`, remembered by content: the planner
    asks for a layer's rows for every chain it tries."""

    @lru_cache(maxsize=128)
    def of(weight: bytes, cols: int, offsets: bytes, *rest: Any) -> T:
        w = np.frombuffer(weight, np.int8).reshape(-1, cols)
        return rows(w, np.frombuffer(offsets, np.int64), *rest)

    def call(weight: np.ndarray, offsets: np.ndarray, *rest: Any) -> T:
        w, at = weight.astype(np.int8), offsets.astype(np.int64)
        return of(w.tobytes(), w.shape[1], at.tobytes(), *rest)

    return call


def keep_rows(g: Geometry, in_place: bool) -> int:
    """Input rows the band hands on to the next one when the output overwrites the input."""
    return g.in_rows - g.rows * g.sy if in_place and not g.pointwise and g.rows < g.oh else 0


def may_overwrite(op: QConv, g: Geometry) -> tuple[int, ...]:
    """Inputs over which a tiled convolution may write its output."""
    out = [0] if g.can_overwrite else []
    # the residual is read where the output is written, unless edge tiles are computed twice
    once = g.ow % g.tw == 0 and g.oh % g.th == 0 and g.oh % g.rows == 0
    if len(op.inputs) > 1 and once:
        out.append(1)
    return tuple(out)


def shape_key(g: Geometry) -> str:
    """Part of a function's name that tells shapes apart for the reader."""
    if g.pointwise:
        return f"{g.ci}x{g.co}_p{g.ow}"
    s = f"s{g.sy}{g.sx}" if (g.sy, g.sx) != (1, 1) else ""
    return f"{g.kh}x{g.kw}{s}_{g.ci}x{g.co}_{g.oh}x{g.ow}"


def band_phases(g: Geometry) -> list[dict[str, int]]:
    """Where the columns of each phase begin in a band's row and come from in the input's."""
    phases = []
    for p in range(g.phases):
        shift = p - g.pads[1]  # column = j * sx + shift
        first = -(shift // g.sx) if shift < 0 else 0
        last = min(g.phase_pitch, (g.w - 1 - shift) // g.sx + 1)
        phases.append({"first": first, "last": last, "shift": shift, "base": p * g.phase_pitch})
    return phases


def band_halves(g: Geometry) -> tuple[int, int] | None:
    """Where the even and the odd columns of an input's row begin in a band's row, if they are its
    two phases and none is left out."""
    ends = [p["last"] for p in band_phases(g)]
    if g.sx != 2 or ends != [(g.w - 1 - i + g.pads[1]) // 2 + 1 for i in (0, 1)]:
        return None
    even, odd = ((x + g.pads[1]) % 2 * g.phase_pitch + (x + g.pads[1]) // 2 for x in (0, 1))
    return even, odd


def band_margins(g: Geometry) -> list[tuple[int, int, bool]]:
    """What of a band's row is padding beside the input's columns: first, bytes, and whether one
    word may stand for them, which then takes in columns that are written afterwards."""
    columns = [(p["base"] + p["first"], p["base"] + p["last"]) for p in band_phases(g)]
    ends = [0, *(x for first, last in columns for x in (first, max(first, last))), g.row_pitch]
    gaps = [(a, b - a) for a, b in zip(ends[::2], ends[1::2], strict=True) if b > a]
    word = g.row_pitch >= 4
    return [
        (min(a, g.row_pitch - 4) if n <= 4 and word else a, n, n <= 4 and word) for a, n in gaps
    ]


def band_function(g: Geometry, keep: int, compact: bool) -> CFunction | None:
    """The loader of a convolution's band; None where the input is read directly.

    `compact`: rows are filled whole before they are copied.
    """
    if g.direct or g.pointwise:
        return None
    name = f"band_{shape_key(g)}" + ("_keep" if keep else "") + ("_ring" if g.ring else "")
    return by_isa(
        name, "tile/band", "helium", g=g, keep=keep, phases=band_phases(g), halves=band_halves(g),
        margins=band_margins(g), compact=compact,
    )  # fmt: skip


def tile_taps(op: QConv, g: Geometry) -> float:
    """How often a non-zero weight is applied to a tile."""
    return float(g.tiles * np.count_nonzero(op.weight))


def residual_work(layer: Layer[QConv]) -> dict[str, float]:
    """Units of the residual operand."""
    return {"added": float(layer.out_size)} if len(layer.op.inputs) > 1 else {}


def band_work(g: Geometry) -> dict[str, float]:
    """Units of filling the bands of a whole layer, or of copying pointwise tiles."""
    if g.direct:
        return {}
    if g.pointwise:
        return {"copied": float(g.ci * g.ow * g.calls)}
    # bands of a chain do not know of each other
    rows = float(g.ci * (g.oh * g.step if g.rows < g.oh else g.in_rows) * g.calls)
    return {"band_rows": rows, "band" if g.sx == 1 else "band_strided": rows * g.row_pitch}
