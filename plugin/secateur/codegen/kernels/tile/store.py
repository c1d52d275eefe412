"""C that turns a tile's sums into codes and stores them, with what a residual adds."""

from __future__ import annotations

import numpy as np

from ....lowering.qgraph import QConv, Requant
from ...emit import render
from ...geometry import Geometry
from ...requant import RequantTable


def copy_tile(g: Geometry, compact: bool) -> str:
    """C that copies one pointwise tile (from xt) of every channel into the band and sets x.

    The inputs of the pixels that the last tile shares with the one before may have been overwritten
    by then, but are still in the band. `compact`: one loop for all tiles where that is less code.
    """
    return render("tile/copy.c.j2", g=g, compact=compact)


def start_tile(g: Geometry) -> str:
    """C that sets x, where a pointwise tile begins: the last is moved back to end with the row."""
    if g.ow % g.tw == 0 or g.ow < g.tw:
        return "const int x = xt;"
    return f"const int x = xt < {g.ow - g.tw} ? xt : {g.ow - g.tw};"


def _added(op: QConv, words: int) -> list[tuple[str, str, str, str]]:
    """What wraps the shifted sum of each pixel of a word so that the residual's share is added."""
    if op.residual is None:
        return [("{}", "{}", "{}", "{}")] * words

    def one(i: int, b: int) -> str:
        return f"sc_macw_byte(r{i}, {b}, {op.residual}, {{}})"

    return [(one(i, 0), one(i, 1), one(i, 2), one(i, 3)) for i in range(words)]


def _store(op: QConv, g: Geometry, words: list[str]) -> str:
    """C that stores the tile's words (C expressions) at `o`; those of the residual are at `r`."""
    return render("tile/store.c.j2", g=g, words=words, residual=op.residual is not None).rstrip()


def _sums_are_short(op: QConv) -> bool:
    """Whether what is clamped to codes fits 16 bits whatever a lane holds: its product with the
    multiplier, of which the upper half counts, the offset and the residual's share."""
    r = op.requant
    if not isinstance(r, Requant):
        return False
    product = np.abs(r.multiplier.astype(np.int64)) / 2
    share = 255 * abs(op.residual or 0) / 65536
    return bool((product + np.abs(r.offset.astype(np.int64))).max() + share + 2 <= 32767)


def tile_store(op: QConv, g: Geometry, q: RequantTable, lanes: list[tuple[str, str]]) -> str:
    """C that requantizes even/odd lane pairs and stores them."""
    added = _added(op, len(lanes))
    plain, short = op.residual is None, _sums_are_short(op)
    words = [
        q.lanes4(e, o, None if plain else add, short)
        for (e, o), add in zip(lanes, added, strict=True)
    ]
    return _store(op, g, words)


def accumulator_store(op: QConv, g: Geometry, q: RequantTable, accs: list[str]) -> str:
    """C that requantizes int32 accumulators, four neighbours a word, and stores them."""
    words = []
    for i, add in enumerate(_added(op, len(accs) // 4)):
        codes = [q.code(accs[4 * i + b], add[b]) for b in range(4)]
        words.append(
            " |\n    ".join(c + (f" << {8 * b}" if b else "") for b, c in enumerate(codes))
        )
    return _store(op, g, words)
