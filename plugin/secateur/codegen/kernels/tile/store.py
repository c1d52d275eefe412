"""C that turns a tile's sums into codes and stores them, with what a residual adds."""

from __future__ import annotations

from ....lowering.qgraph import QConv
from ...emit import render
from ...geometry import Geometry
from ...requant import RequantTable


def copy_tile(g: Geometry, compact: bool) -> str:
    """C that copies one pointwise tile (from xt) of every channel into the band and sets x.

    The inputs of the pixels that the last tile shares with the one before may have been overwritten
    by then, but are still in the band. `compact`: one loop for
    all tiles where that takes less code.
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
        byte = f"r{i} >> {8 * b} & 255u" if b else f"r{i} & 255u"
        return f"sc_macw({op.residual}, (int32_t)({byte}), {{}})"

    return [(one(i, 0), one(i, 1), one(i, 2), one(i, 3)) for i in range(words)]


def _store(op: QConv, g: Geometry, words: list[str]) -> str:
    """C that stores the tile's words (C expressions) at `o`; those of the residual are at `r`."""
    return render("tile/store.c.j2", g=g, words=words, residual=op.residual is not None).rstrip()


def tile_store(op: QConv, g: Geometry, q: RequantTable, lanes: list[tuple[str, str]]) -> str:
    """C that requantizes even/odd lane pairs and stores them."""
    added = _added(op, len(lanes))
    plain = op.residual is None
    words = [
        q.lanes4(e, o, None if plain else add) for (e, o), add in zip(lanes, added, strict=True)
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
