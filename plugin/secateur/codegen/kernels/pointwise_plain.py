"""Pointwise dense convolution for cores without dual multiply-accumulate.

Two products need two multiplications there, and to bring two codes into a word costs more than it
saves. So bytes stay bytes: per channel one weight meets a run of pixels whose sums are in
registers, three instructions each (load, multiply, add) and the rest shared.
"""

from __future__ import annotations

from ...lowering.qgraph import QConv
from ..emit import CFunction, render
from ..geometry import Geometry, align4
from ..requant import RequantTable
from .source import RowSource
from .tile.store import accumulator_store

PITCH, NARROW = 16, 8  #: bytes of a channel in the band, at most, and where RAM is short


def pointwise(
    op: QConv,
    g: Geometry,
    q: RequantTable,
    source: RowSource,
    name: str,
    title: str,
    most: int = PITCH,
) -> tuple[CFunction, str]:
    """The function that makes sums, only called by cores without the DSP extension, and C of the
    convolution. g: of tiles of four pixels; most: bytes of a channel in the band."""
    n, pitch = min(most, g.ow), min(most, align4(g.ow))
    # the last tile leaves out what it shares with the one before, a multiple of four pixels
    fours = g.ow > n and g.ow % 4 == 0 and g.ow % 8
    width = 8 if n % 8 == 0 and not fours else 4
    sums = f"sums_{width}_{g.ci}" + (f"_{pitch}" if pitch < PITCH else "")
    stores = []
    for first in range(0, width, 4):
        codes = accumulator_store(op, g, q, [f"a[{first + j}]" for j in range(4)])
        moved = f"o += 4;{' r += 4;' if op.residual is not None else ''}" if first else ""
        stores.append("\n".join(["{", *([f"    {moved}"] if moved else []), _indent(codes), "}"]))
    text = render(
        "pointwise_plain.c.j2", name=name, title=title, g=g, q=q, source=source, n=n, width=width,
        pitch=pitch, sums=sums, residual=op.residual is not None, stores=stores,
    )  # fmt: skip
    product = render("pointwise_sums.c.j2", name=sums, ci=g.ci, width=width, pitch=pitch)
    return CFunction(sums, product, {"dsp": "", "helium": ""}), text


def _indent(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.split("\n"))
