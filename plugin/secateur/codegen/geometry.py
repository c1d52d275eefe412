"""Tiles and bands: how a convolution walks over its input.

A *tile* is `tw` x `th` neighbouring output pixels of one channel that a kernel keeps in registers
while it streams one row of weights. A *band* is the scratch copy of the padded input rows that
`rows` output rows need, columns split by phase (x mod stride), so that in every layer one weight
is one constant offset and a tile's pixels are neighbours in memory. Where the input needs neither
padding nor phases, the band is the input itself (`direct`). A pointwise layer is flattened to one
long row and its band is one tile wide, which lets it write over its own input.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

import numpy as np

from ..lowering.qgraph import QConv, QGraph


def align4(n: int) -> int:
    """`n` rounded up to a multiple of four."""
    return (n + 3) & ~3


@dataclass(frozen=True)
class Stripe:
    """How an operator runs in a chain (see `chain`): some rows of its output at a time."""

    rows: int  #: output rows a call, a divisor of the output's height
    calls: int  #: in an inference
    held: tuple[int, ...]  #: rows that the buffer of each input holds: its height, or a ring's
    out: int  #: rows that the output's buffer holds


@dataclass(frozen=True)
class Thrift:
    """How an operator takes less scratch, or fewer bytes where it can do without scratch, and more
    time."""

    channels: int = 0  #: output channels whose rows are unpacked at a time; 0: all
    narrow: bool = False  #: small tiles, and no windows gathered
    short: bool = False  #: rows in steps of a byte, by way of columns that change no sum


NO_THRIFT = Thrift()


@dataclass(frozen=True)
class Ring:
    """What templates need to find an input's rows (loops.j2): row y in slot y % held."""

    held: int  #: rows that the buffer holds
    h: int  #: rows that there are
    w: int
    sy: int
    pads: tuple[int, int, int, int]

    @property
    def ring(self) -> bool:
        """Whether the buffer holds only some of the rows."""
        return self.held < self.h


@dataclass(frozen=True)
class Geometry:
    """All constants of one convolution; sizes in elements (bytes unless `unit` says otherwise)."""

    ci: int
    h: int
    w: int
    co: int
    oh: int
    ow: int
    kh: int
    kw: int
    sy: int
    sx: int
    pads: tuple[int, int, int, int]
    zero: int  #: code read on padding
    tw: int
    th: int
    pointwise: bool
    direct: bool
    rows: int  #: output rows per band
    in_rows: int  #: input rows per band
    step: int  #: band rows between two output rows
    phases: int
    phase_pitch: int
    row_pitch: int
    channel_pitch: int
    in_plane: int  #: bytes from one channel of the input to the next
    out_plane: int  #: the same in the output
    res_plane: int  #: the same in the residual operand
    held: int  #: rows that the input's buffer holds: h, or fewer where it is a ring
    calls: int  #: of the kernel in an inference
    chained: bool  #: it makes `oh` rows a call

    @property
    def ring(self) -> bool:
        """Whether the input's buffer holds only some rows, row y in slot y % held."""
        return not self.pointwise and self.held < self.h

    @property
    def numbered(self) -> bool:
        """Whether the kernel is told the number of its first output row: in a chain, where it
        finds its input's rows by their numbers (else they are one run, and it gets the first)."""
        return self.chained and not self.pointwise and not self.direct

    @property
    def band_bytes(self) -> int:
        """Scratch for the band."""
        return 0 if self.direct else self.ci * self.channel_pitch

    @property
    def tiles(self) -> int:
        """Tiles of the whole output plane."""
        return self.calls * ceil(self.ow / self.tw) * ceil(self.oh / self.th)

    @property
    def partial(self) -> bool:
        """Whether some tile holds pixels that do not exist."""
        if self.pointwise:
            return self.ow < self.tw
        return self.ow < self.tw or self.oh < self.th

    @property
    def can_overwrite(self) -> bool:
        """Whether the output may lie over the input (same plane size; the band remembers rows)."""
        if self.pointwise:
            return self.in_plane == self.out_plane
        return (
            not self.direct
            and not self.chained
            and (self.h, self.w, self.ci) == (self.oh, self.ow, self.co)
            and (self.sy, self.sx) == (1, 1)
            and not self.partial
            and self.oh % self.rows == 0
        )

    def offsets(self) -> np.ndarray:
        """Band offset of every weight column (ci, kh, kw), int64 [ci * kh * kw]."""
        c, y, x = np.meshgrid(
            np.arange(self.ci), np.arange(self.kh), np.arange(self.kw), indexing="ij"
        )
        o = c * self.channel_pitch + y * self.row_pitch
        return (o + (x % self.sx) * self.phase_pitch + x // self.sx).reshape(-1)

    def word_offsets(self) -> list[int]:
        """Offsets of a tile's groups of four pixels from its first."""
        line = self.step * self.row_pitch
        return [r * line + 4 * j for r in range(self.th) for j in range(self.tw // 4)]

    def out_offsets(self) -> list[int]:
        """The same in the output plane."""
        return [r * self.ow + 4 * j for r in range(self.th) for j in range(self.tw // 4)]


def conv_geometry(
    op: QConv, graph: QGraph, pixels: int, band_limit: int = 1024, stripe: Stripe | None = None
) -> Geometry:
    """Geometry of `op` for tiles of `pixels`; bands up to `band_limit` bytes are whole.

    In a chain `oh` is the number of rows that a call makes.
    """
    t_in, t_out = graph.tensors[op.inputs[0]], graph.tensors[op.output]
    ci, h, w = t_in.shape
    co, oh, ow = t_out.shape
    chained, stripe = stripe is not None, stripe or Stripe(oh, 1, (h, oh), oh)
    planes = (stripe.held[0] * w, stripe.out * ow, stripe.held[-1] * ow)
    view = (*planes, stripe.held[0], stripe.calls, chained)
    oh = stripe.rows
    kh, kw = op.weight.shape[2:]
    sy, sx = op.stride
    pads = op.pads
    pointwise = (kh, kw, sy, sx) == (1, 1, 1, 1) and not any(pads)
    if pointwise:
        h, w, oh, ow = 1, h * w, 1, oh * ow  # h is the whole input's, ow the call's
        tw, th = pixels, 1
        return Geometry(
            ci, h, w, co, oh, ow, 1, 1, 1, 1, pads, t_in.zero_point, tw, th, True, False,
            1, 1, 1, 1, tw, tw, tw, *view,
        )  # fmt: skip
    options = [(pixels // th, th) for th in (1, 2, 4) if pixels % (4 * th) == 0]
    tw, th = min(options, key=lambda o: (ceil(ow / o[0]) * ceil(oh / o[1]), o[1]))
    fits = ow >= tw and oh >= th
    # a ring's rows do not lie in order
    direct = not any(pads) and sx == 1 and fits and stripe.held[0] == h
    step = min(sy, kh)
    phases = min(sx, kw)
    xend = max(ow, tw)
    pitch = (xend + (kw - 1) // sx + 3) & ~3

    def rows_in(r: int) -> int:
        return (r - 1) * step + kh

    if direct:
        return Geometry(
            ci, h, w, co, oh, ow, kh, kw, sy, sx, pads, t_in.zero_point, tw, th, False, True,
            oh, h, sy, 1, w, w, h * w, *view,
        )  # fmt: skip
    whole = ceil(oh / th) * th if not fits else oh
    rows = th
    if ci * rows_in(whole) * pitch * phases <= band_limit or not fits:
        rows = whole
    return Geometry(
        ci, h, w, co, oh, ow, kh, kw, sy, sx, pads, t_in.zero_point, tw, th, False, False,
        rows, rows_in(rows), step, phases, pitch, pitch * phases, rows_in(rows) * pitch * phases,
        *view,
    )  # fmt: skip
