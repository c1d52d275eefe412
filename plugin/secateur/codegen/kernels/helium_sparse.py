"""Sparse int8 convolution with vectors: each stored weight is applied to sixteen pixels of a
pointwise layer, or to the eight of a window's tile, in 32-bit lanes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...lowering.qgraph import QConv
from ..emit import render
from ..geometry import Geometry
from ..requant import RequantTable
from .helium import store4


@dataclass(frozen=True)
class Four:
    """Four neighbouring pixels of a tile."""

    at: int  #: bytes behind the tile's first input
    store: str  #: C that stores their sums
    row: int  #: of the tile, where that may not exist


def tile(op: QConv, g: Geometry) -> Geometry:
    """The tiles of `g` with vectors.

    Sixteen pixels of a pointwise layer take no more scratch than the eight that are widened for
    other cores. But no pixel may be made twice where the output may lie over the residual.
    """
    again = op.residual is not None and g.ow > 16 and g.ow % 16 != 0
    return replace(g, tw=8 if again else 16) if g.pointwise else g


def _fours(op: QConv, g: Geometry, q: RequantTable) -> list[Four]:
    """The fours of a tile that hold a pixel."""
    out: list[Four] = []
    for i in range(g.tw * g.th // 4):
        row, column = divmod(4 * i, g.tw)
        valid = min(4, g.ow - column)
        if valid > 0:
            store = store4(q, f"s{len(out)}", valid, op.residual, row * g.ow + column)
            doubtful = row if g.partial and g.oh % g.th else 0
            out.append(Four(row * g.step * g.row_pitch + column, store, doubtful))
    return out


def work(op: QConv, g: Geometry, taps: float) -> dict[str, float]:
    """Units of the sums and stores of tiles `g`; taps: how often a weight meets a tile."""
    fours = sum(min(4, g.ow - 4 * i % g.tw) > 0 for i in range(g.tw * g.th // 4))
    return {
        "steps" if g.pointwise else "window_steps": taps,
        "products": taps * fours,
        "fours": float(g.tiles * g.co * fours),
        "rows": float(g.tiles * g.co),
    }


def sparse(op: QConv, g: Geometry, q: RequantTable, shape: dict[str, Any]) -> str:
    """C of a sparse convolution on tiles `g`. shape: the other values of conv_sparse.c.j2."""
    return render("conv_sparse_helium.c.j2", **shape, g=g, q=q, fours=_fours(op, g, q))
