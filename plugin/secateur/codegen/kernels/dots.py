"""The dense convolution of cores with dual multiply-accumulate: sums of two output channels on four
pixels stay in registers until they are codes.

What is stored and the band of words are those of `pairs`; a pointwise layer's tile is as long as
little RAM allows, because its rows are widened again for every tile.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ...lowering.qgraph import QConv, Requant
from ..emit import CFunction, render
from ..geometry import Geometry
from ..requant import RequantTable
from .base import SMALL, Layer
from .pairs import DensePlan, PairRows, by_word, dense_plan

#: Pixels of the shortest and of the longest pointwise tile, and of one where RAM is short.
SHORT, LONG, NARROW = 16, 64, 4
#: Bytes of scratch that a tile may take beyond the shortest's where the tensors around it have
#: four times as many.
MORE = 2048
#: Most words of a tile that are written out: where cycles count more, beside so many weights, and
#: beside fewer.
MOST, MANY, FEW = 20, 16, 10
ROOMY = 4096
#: Bytes from the begin of a double word that a load reaches.
REACH = 1020
#: Bytes of the rows of weights that are widened once and kept for all bands.
RESIDENT = 1024


def dots_plan(layer: Layer[QConv], g: Geometry) -> DensePlan | None:
    """Band and loops of a layer; None where its rows are executed as on other cores."""
    d, r = dense_plan(layer, g), layer.op.requant
    if d.block != 2 or type(r) is not Requant or not 0 < r.shift < 32:
        return None
    if not g.pointwise:
        return _with_lone(layer, g, d)
    pixels = min(_tile(layer, g, 4 * d.planes), g.ow)  # a short row's band is no longer than it
    pitch = -(-pixels // 4) * 4 if made_again(g, pixels) else pixels
    return replace(
        d, x_step=pixels, row_pitch=pitch, plane_pitch=pitch, taps=(0,), outer=(d.planes, pitch)
    )


def _with_lone(layer: Layer[QConv], g: Geometry, d: DensePlan) -> DensePlan:
    """`d`, with words of neighbours for the last of an odd number of channels where all words of a
    window can be written out: of three channels' 3x3 weights 15 words, else 18."""
    lone = tuple(t * 2 // g.sx for t in range((g.kw + 1) // 2))
    full = g.ci // 2 * g.kh * g.kw
    if not d.by_channel or g.ci % 2 == 0 or g.sx > 2 or layer.weight >= SMALL:
        return d
    reach = 4 * ((g.kh - 1) * d.row_pitch + max(d.taps)) + 8
    if by_word(layer, g) or full + g.kh * len(lone) > MANY or reach > REACH:
        return d
    if (g.w - 1 + g.pads[1]) // g.sx >= d.row_pitch // len(d.sources):
        return d  # some columns are read by no window
    # of several output rows, all channels' words are equally far apart
    pitch = max(g.ow, 4) + lone[-1] if d.rows == 1 else d.row_pitch
    return replace(d, lone=lone, lone_pitch=pitch)


def made_again(g: Geometry, step: int) -> bool:
    """Whether what is left of a row or of the last tile, of `step` pixels, is made with some of the
    pixels before it: routines for less than four pixels pay in short rows."""
    last = g.ow % step if step and g.ow > step else g.ow
    return last >= 4 and (g.ow >= SHORT or g.ow % 4 == 3)


class Walk(NamedTuple):
    """How a routine goes over the words of a tile."""

    head: int  #: words before the loop
    turn: int  #: words of a turn
    turns: int

    @classmethod
    def of(cls, words: int, most: int) -> Walk:
        """The fewest turns with `most` words written out."""
        if words <= most:
            return cls(words, 0, 0)
        turns = next(t for t in range(2, words) if cls._written(words, t) <= most)
        turn = (words - 1) // turns
        return cls(words - turn * turns, turn, turns)

    @staticmethod
    def _written(words: int, turns: int) -> int:
        turn = (words - 1) // turns
        return words - turn * turns + turn

    @classmethod
    def small(cls, words: int) -> Walk:
        """A loop alone, of a few words."""
        turn = next(u for u in range(4, 0, -1) if words % u == 0)
        return cls(0, turn, words // turn)


def _tile(layer: Layer[QConv], g: Geometry, pixel: int) -> int:
    """Pixels of a pointwise tile whose band takes `pixel` bytes each."""
    if layer.thrift.narrow:
        return NARROW
    around = (g.ci + g.co) * g.ow
    room = min(MORE, around // 4)
    if layer.stripe is None:  # the arena has the largest tensor's bytes anyway
        tensors = layer.graph.tensors.values()
        room = max(room, max(t.size for t in tensors) // 2 - around)
    return max(SHORT, min(LONG, room // pixel & ~3))


@dataclass(frozen=True)
class Dots:
    """A layer by these routines."""

    g: Geometry
    d: DensePlan
    unrolled: bool  #: all rows of a window are written out
    weight: float  #: of bytes against cycles
    narrow: bool = False  #: RAM is short

    @property
    def pixels(self) -> tuple[int, ...]:
        """Pixels that a routine makes at once: fours, and what is left of a row or a tile."""
        rest, whole = self.g.ow % 4, self.g.ow >= 4
        if rest and self.again:
            return (4,)
        left = {0: (), 1: (1,), 2: (2,), 3: (2, 1)}[rest]
        return (4, *left) if whole else left

    @property
    def again(self) -> bool:
        """Whether four pixels are made where fewer are left."""
        return made_again(self.g, self.d.x_step)

    @property
    def small(self) -> bool:
        """Whether code counts more than time."""
        return self.weight >= SMALL

    @property
    def run(self) -> Walk:
        """Over a pointwise layer's words."""
        words = self.d.planes
        if self.small:
            return Walk.small(words)
        # the routine's code is to be small beside the rows
        most = MANY if self.g.ci * self.g.co >= ROOMY else FEW
        return Walk.of(words, MOST if self.weight < 0.5 else most)

    @property
    def straight(self) -> bool:
        """Whether there is no loop over words."""
        if self.d.x_step:
            return not self.run.turns
        if self.d.lone:
            return True
        return self.d.outer[0] == 1 and (self.d.inner[0] == 1 or self.unrolled)

    def bands(self) -> int:
        """How often the band is filled in an inference."""
        g, d = self.g, self.d
        return g.calls * (-(-g.ow // d.x_step) if d.x_step else -(-g.oh // d.rows))

    @property
    def resident(self) -> bool:
        """Whether all rows are widened once, and kept."""
        g, d = self.g, self.d
        windows = not g.pointwise and not self.narrow
        return windows and g.oh > d.rows and 2 * g.co * d.pair_words <= RESIDENT

    @property
    def scratch(self) -> int:
        """Bytes of the band and of widened rows."""
        rows = self.g.co // 2 if self.resident else 1
        return 4 * (self.d.band_words + rows * self.d.pair_words)

    def widened(self) -> int:
        """How often all rows are widened in an inference."""
        return self.g.calls if self.resident else self.bands()

    def work(self) -> dict[str, float]:
        """Units of a layer's sums and codes, and of its band."""
        g, d = self.g, self.d
        bands, lines = self.bands(), g.calls * g.oh
        words = d.words
        fours, rest = g.ow // 4, g.ow % 4
        if rest and self.again:
            fours, rest = fours + 1, 0
        made = lines * g.co / 2
        turns = 0 if self.straight else d.outer[0] * (1 if self.unrolled else d.inner[0])
        if d.x_step:
            turns = self.run.turns
        return {
            "dots": made * fours * words,
            "dot_turns": made * (fours + (rest > 0)) * turns,
            "dot_stores": made * fours,
            "single_dots": made * rest * words,
            "single_stores": made * rest,
            "dot_calls": (bands if g.pointwise else lines) * g.co / 2,
            "band" if self._words is None else "dot_copied": float(bands * d.band_words),
        }

    def _registers(self, pixels: int, residual: bool) -> dict[str, str]:
        """What a routine keeps on the stack, and the register in which it is made: what every group
        of pixels needs lies first, as it is loaded."""
        out = {"k": "r2", "o": "r3"}
        if pixels == 4:
            out = {"m": "r4", "c0": "r5", "c1": "r6", "o": "r7", "end": "r8"}
            if not self.straight or 4 * self.d.pair_words > REACH:  # the weights' begin
                out = {"w": "r1", **out}
        if not self.straight:
            out["w_end"] = "r9"
        if residual:
            out["r"] = "r10"
        if self.d.outer[0] > 1 and self.d.inner[0] > 1 and not self.unrolled:
            out["n"] = "r11"
        return out

    def _routines(self, op: QConv, q: RequantTable) -> dict[int, CFunction]:
        """Pixels at once -> routine."""
        d = self.d
        run = self.run if d.x_step else None
        loops = f"{d.outer[0]}x{d.inner[0]}x{len(d.taps)}"
        if d.lone:
            loops = f"{d.words}_{d.full}x{d.inner[0]}x{len(d.taps)}"
        if run:
            loops = f"{run.head}_{run.turns}x{run.turn}" if run.turns else f"{run.head}"
        out = {}
        for p in self.pixels:
            name = f"dots{p}_{loops}"
            text = render(
                "dots.dsp.c.j2", name=name, p=p, d=d, q=q, straight=self.straight,
                unroll=self.unrolled, small=self.small, run=run,
                registers=self._registers(p, op.residual is not None), plane=self.g.out_plane,
                residual=op.residual, res_plane=self.g.res_plane,
            )  # fmt: skip
            out[p] = CFunction(name, "", {"dsp": text, "helium": ""})
        return out

    def convolution(
        self, op: QConv, q: RequantTable, rows: PairRows, fill: CFunction, name: str, title: str
    ) -> tuple[list[CFunction], str]:
        """The functions that it calls, and the text of the convolution."""
        made = self._routines(op, q)
        names = {
            word: made[p].name if p in made else ""
            for word, p in (("fours", 4), ("twos", 2), ("ones", 1))
        }
        band = self._band(fill)
        expand, helpers = rows.expand, [band, *made.values()]
        if rows.quads:  # both rows at once, by a routine that all layers share
            widen = CFunction("widen2", "", {"dsp": render("widen.dsp.c.j2"), "helium": ""})
            stride = self.g.ci * self.g.kh * self.g.kw
            expand = f"widen2(pairs, next, next + {stride}, {stride // 4});\nnext += {2 * stride};"
            helpers.append(widen)
        text = render(
            "conv_dots.c.j2", name=name, title=title, g=self.g, d=self.d, q=q, source=rows.source,
            band_name=fill.name, residual=op.residual is not None, expand=expand,
            again=self.again, resident=self.resident, **names,
        )  # fmt: skip
        return helpers, text

    def _band(self, fill: CFunction) -> CFunction:
        """`fill`, with a form of its own where it widens whole words."""
        if self._words is None:
            return fill
        text = render(
            "dots_band.c.j2", name=fill.name, g=self.g, d=self.d, again=self.again, **self._words
        )
        return CFunction(fill.name, fill.text, {**fill.forms, "dsp": text})

    @property
    def _words(self) -> dict[str, Any] | None:
        """Where the words of input columns lie in a row of the band, for the template; None where
        they are put there one by one."""
        g, d = self.g, self.d
        if d.x_step:
            return {"at": (0, 1, 2, 3)}
        if not d.by_channel or g.sx > 2 or self.small:
            return None
        phases = len(d.sources)
        pitch = d.row_pitch // phases
        lone = self._lone if d.lone else {}

        def place(x: int) -> int | None:
            j, phase = divmod(x + g.pads[1], g.sx)
            return phase * pitch + j if phase < phases else None

        if (g.w - 1 + g.pads[1]) // g.sx >= pitch:
            return None  # some columns are read by no window
        columns = [place(x) for x in range(g.w)]
        start = g.pads[1] if g.sx == 1 else 0
        whole = g.w // 4 * 4
        return {
            "start": start,
            "at": tuple(None if j is None else j - start for j in columns[:4]) if whole else (),
            "tail": columns[whole:],
            "pads": [j for j in range(d.row_pitch) if j not in columns],
            **lone,
        }

    @property
    def _lone(self) -> dict[str, Any]:
        """How the words of the last channel are made: by loads of four columns from column `first`
        on, the words from `word` on, `loads` times; and those at the edges, by their columns."""
        g, d = self.g, self.d
        count = max(g.ow, 4) + d.lone[-1]
        word = -(-g.pads[1] // g.sx)
        first = word * g.sx - g.pads[1]
        step = 4 // g.sx  # words of four columns; without stride those of the next one begin three
        reach = (g.w - first - (2 - g.sx)) // 4
        loads = max(0, min(reach, (count - word) // step))
        columns = {
            j: j * g.sx - g.pads[1] for j in (*range(word), *range(word + loads * step, count))
        }
        edges = {j: [x if 0 <= x < g.w else None for x in (c, c + 1)] for j, c in columns.items()}
        return {"lone": {"first": first, "word": word, "loads": loads, "edges": edges}}
