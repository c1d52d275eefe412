"""Dense convolutions with vectors: sixteen products to an instruction, four pixels at a time.

The band holds all channels of a pixel side by side, codes less 128, so what one row of a window
reads is one run of kw * ci bytes, and a row of weights is turned alike: kh runs, each padded with
zeros to whole vectors. Where the channels of a pixel are whole vectors, windows that overlap share
their loads.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from ...lowering.qgraph import QConv
from ..emit import render
from ..geometry import Geometry
from ..requant import RequantTable
from .helium import store4
from .source import RowSource

#: Vectors of a row of weights that are kept in registers for all its pixels.
RESIDENT = 4


@dataclass(frozen=True)
class Load:
    """Sixteen inputs, and the accumulators and weights they are for."""

    at: int  #: bytes behind the first pixel's run
    uses: tuple[tuple[int, int], ...]  #: (pixel, which of the weights loaded before)


@dataclass(frozen=True)
class VectorGroup:
    """Weights that are loaded together, and the inputs they meet in one row of the window."""

    weights: int  #: vectors
    loads: tuple[Load, ...]


@dataclass(frozen=True)
class Turned:
    """Band and weights of a convolution; sizes and pitches in bytes."""

    rows: int  #: output rows per band; of a pointwise layer: pixels per tile
    in_rows: int
    step: int
    pixels: int  #: in a row of the band, padding included
    vectors: int  #: of sixteen weights in a run
    row_pitch: int
    weights: int
    groups: tuple[VectorGroup, ...]

    @property
    def band(self) -> int:
        """Bytes of the band."""
        return self.in_rows * self.row_pitch

    @property
    def bytes(self) -> int:
        """Scratch of both. The last run of the band may be read beyond its end, into weights."""
        return self.band + self.weights


def _groups(g: Geometry) -> tuple[VectorGroup, ...]:
    if g.ci % 16:
        return tuple(
            VectorGroup(1, tuple(Load(p * g.sx * g.ci + 16 * j, ((p, 0),)) for p in range(4)))
            for j in range(-(-g.kw * g.ci // 16))
        )
    out = []
    for c in range(0, g.ci, 16):
        for first in range(0, g.kw, 3):  # more would not stay in registers
            n = min(3, g.kw - first)
            at: dict[int, list[tuple[int, int]]] = {}
            for p in range(4):
                for i in range(n):
                    at.setdefault((p * g.sx + first + i) * g.ci + c, []).append((p, i))
            out.append(VectorGroup(n, tuple(Load(o, tuple(at[o])) for o in sorted(at))))
    return tuple(out)


@lru_cache(maxsize=4096)  # asked for each chain that a layer might be in
def turned(g: Geometry, scratch: int) -> Turned:
    """The band of a convolution: as many output rows as `scratch` bytes hold, one at least."""
    vectors = -(-g.kw * g.ci // 16)
    weights, groups = 16 * vectors * g.kh, _groups(g)
    if g.pointwise:
        tile = min(max(8, (scratch - weights) // g.ci & ~7), g.ow)
        room = (max(tile, 4) * g.ci + 3) & ~3
        return Turned(tile, 1, 1, tile, vectors, room, weights, groups)
    step = min(g.sy, g.kh)
    pixels = (max(g.ow, 4) - 1) * g.sx + g.kw
    pitch = pixels * g.ci
    rows = max(1, min(g.oh, ((scratch - weights) // pitch - g.kh) // step + 1))
    rows = -(-g.oh // -(-g.oh // rows))  # bands of about the same height
    while g.ring and g.oh % rows:  # a ring holds no rows for more
        rows -= 1
    in_rows = (rows - 1) * step + g.kh
    return Turned(rows, in_rows, step, pixels, vectors, pitch, weights, groups)


@dataclass(frozen=True)
class _Use:
    """One product of sixteen: which of the four pixels, which weights; fresh: the sum begins."""

    pixel: int
    weight: str
    fresh: bool


@dataclass(frozen=True)
class _Input:
    """Sixteen inputs, loaded into the register x0 or x1; `by`: bytes from here to the next ones."""

    into: int
    by: int
    uses: tuple[_Use, ...]


@dataclass(frozen=True)
class _Products:
    """Weights (named as in the assembler) and the inputs they meet."""

    weights: list[str]
    inputs: list[_Input]


def _distances(t: Turned, rows: int, end: int | None) -> list[int]:
    """Bytes between the loads of `rows` rows of the window; after the last `end` is next, seen from
    the first (None: the pointer stays)."""
    at = [y * t.row_pitch + x.at for y in range(rows) for g in t.groups for x in g.loads]
    at.append(at[-1] if end is None else end)
    return [there - here for here, there in pairwise(at)]


def products(t: Turned, kh: int, resident: bool, aligned: bool) -> str:
    """C that sets int32x4_t `sums` to the products of four pixels with a row of weights.

    The pixels' first run is at `x`; the weights are w0, w1.. (`resident`), else read from `w` on.
    aligned: runs begin at multiples of four bytes.
    """
    looped = kh > 1 and not resident and len(t.groups) > 1
    rows = 1 if looped else kh
    distances = _distances(t, rows, t.row_pitch if looped else None)
    groups, fresh, k, first = [], [not looped] * 4, 0, 0
    for _ in range(rows):
        for group in t.groups:
            names = [f"w{first + i}" if resident else f"k{i}" for i in range(group.weights)]
            first += group.weights
            inputs = []
            for x in group.loads:
                uses = []
                for p, i in x.uses:
                    uses.append(_Use(p, names[i], fresh[p]))
                    fresh[p] = False
                inputs.append(_Input(k % 2, distances[k], tuple(uses)))
                k += 1
            groups.append(_Products(names, inputs))
    far = any(abs(d) > 4095 for d in distances)
    words = ["a0", "a1", "a2", "a3", *(["n"] if looped else []), *(["d"] if far else [])]
    vectors = ["sums", "x0", "x1"]
    out = [f'[a{p}] "=&Te"(a{p})' for p in range(4)]
    out += ['[sums] "=&w"(sums)', '[x0] "=&w"(x0)', '[x1] "=&w"(x1)', '[x] "+&r"(i)']
    if not resident:
        kept = [f"k{i}" for i in range(max(g.weights for g in t.groups))]
        out += ['[w] "+&r"(w)', *(f'[{name}] "=&w"({name})' for name in kept)]
        vectors += kept
    out += [f'[{r}] "=&r"({r})' for r in words[4:]]
    return render(
        "helium_products.c.j2", kh=kh, resident=resident, aligned=aligned, looped=looped,
        groups=groups, vectors=vectors, words=words, outputs=out,
        inputs=[f'[w{i}] "w"(w{i})' for i in range(first)] if resident else [],
    ).rstrip("\n")  # fmt: skip


def work(g: Geometry, t: Turned) -> dict[str, float]:
    """Units of a convolution."""
    kept = g.kh * t.vectors <= RESIDENT
    each = sum(x.weights * (not kept) + sum(1 + len(y.uses) for y in x.loads) for x in t.groups)
    fours = -(-g.ow // 4) * g.oh * g.co * g.calls
    bands = g.calls * -(-(g.ow if g.pointwise else g.oh) // t.rows)
    weights = float(bands * g.co * g.ci * g.kh * g.kw)
    return {
        "products": float(g.kh * each * fours),
        "fours": float(fours),
        "turned": float(bands * t.band),
        "turned_rows": float(bands * g.co),
        **({} if g.pointwise else {"turned_weights": weights}),
    }


def convolution(
    op: QConv, g: Geometry, t: Turned, q: RequantTable, source: RowSource, name: str, title: str
) -> str:
    """C of a dense convolution."""
    resident = g.kh * t.vectors <= RESIDENT
    return render(
        "pointwise_helium.c.j2" if g.pointwise else "conv_helium.c.j2",
        name=name, title=title, g=g, t=t, q=q, source=source, resident=resident,
        residual=op.residual is not None, products=products(t, g.kh, resident, g.ci % 4 == 0),
        store=store4(q, "sums", min(g.ow, 4), op.residual),
    )  # fmt: skip
