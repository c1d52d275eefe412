"""The choice of a candidate for every layer: whole images are weighed, code and shared tables
included, and the plans offered are chosen among all that were found.

A layer's candidates cannot be weighed alone: a decoder or a kernel costs code once, whoever else
uses it, and code tables are shared. So a choice is improved layer by layer, and for all layers
that can take the same candidate at once, by what the whole image becomes: bytes (constants as they
would be stored, code as code_size.py estimates it) and cycles. That is done for several weights of
one against the other and for both ways to compile; of what comes out, each `optimize` gets what it
promises. The fastest of them is so by cycles and by instructions, where it can be: cycles depend on
more than the core, and instructions can be counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import log
from typing import TYPE_CHECKING

from .. import cores
from ..coding.base import Encoded
from ..coding.sharing import share_tables, shareable, total_bytes
from ..lowering.qgraph import QGraph
from .code_size import compiled_texts, pieces, startup_bytes, step_bytes
from .costs import Cost, cost, price_of
from .ends import copy_function, end_work, ends
from .kernels.base import COMPACT
from .optimize import WEIGHTS

if TYPE_CHECKING:
    from .plan import Candidate

#: Weights of bytes against cycles with which choices are improved.
LEANINGS = (0.0, 0.3, 0.5, 0.7, 0.9, 1.0)

#: How kernels are written (`Layer.weight`) and, from COMPACT on, compiled; a budget of flash is
#: looked for in one more way, written for speed and compiled for size.
WAYS = (0.0, 0.5, 1.0)
WAYS_WITHIN = (*WAYS, COMPACT)

#: Plans whose bytes differ by a smaller factor, or by fewer than so many, are taken for equal:
#: estimates tell no better, and nothing is paid for a gain that may not be there. Which are
#: equally fast says the core (`Core.alike`).
ALIKE_BYTES, LEAST_SAVED = 1.03, 96

#: Share of cycles that the fastest plan may give up so that none beside it executes less: cycles
#: are of memory that does not wait, and where flash waits every instruction takes longer.
YIELDED_CYCLES = 1.08

#: What lies between the fastest and the smallest plan is offered where it differs from both by the
#: first factor in cycles and by ALIKE_BYTES in bytes; or from the smallest by the second in cycles,
#: whatever its bytes; or from the fastest by FAR_SMALLER in bytes, whatever its cycles.
APART_CYCLES, FAR_APART, FAR_SMALLER = 1.03, 1.06, 1.1

#: Rounds over all moves, and how often sharing code tables is tried for one network.
ROUNDS, TRIALS = 6, 60

#: Share of a budget of flash that is filled: linked images are up to about as much larger than
#: estimated.
SURE = 0.98

#: Bits a ternary weight may take, unless more of them make the layer faster.
TERNARY_BITS = 2.0


@dataclass(frozen=True)
class Option:
    """A choice for all layers, and what its image is estimated to be."""

    chosen: Mapping[str, Candidate]
    weight: float  #: of bytes against cycles, as kernels are told: one of WAYS
    bytes: float
    cycles: float
    instructions: float

    @property
    def figures(self) -> tuple[int, int, int]:
        """What it is judged by."""
        return round(self.bytes), round(self.cycles), round(self.instructions)

    def dominates(self, other: Option) -> bool:
        """Whether it is as good in everything and better in something."""
        mine, its = self.figures, other.figures
        return mine != its and all(a <= b for a, b in zip(mine, its, strict=True))

    def faster_somehow(self, other: Option, alike: float) -> bool:
        """Whether it takes fewer cycles, or instructions, or fewer of these than `alike` times the
        other's, which estimates do not tell apart."""
        return self.cycles < other.cycles or self.instructions < alike * other.instructions


@dataclass(frozen=True)
class _Piece:
    """What a candidate adds to an image."""

    candidate: Candidate
    own: float  #: bytes that no other layer shares: constants, and what calls its functions
    functions: Mapping[str, float]  #: bytes of what an image has once
    cycles: float
    instructions: float

    @property
    def joint(self) -> bool:
        """Whether its code table may be one with other layers'."""
        c = self.candidate
        return bool(c.layer.encoded) and shareable(c.layer.weights)


def _fastest_of_small(options: Sequence[Option]) -> Option:
    """The fastest of those whose bytes estimates cannot tell from the fewest."""
    least = min(o.bytes for o in options)
    most = max(ALIKE_BYTES * least, least + LEAST_SAVED)
    return min((o for o in options if o.bytes <= most), key=lambda o: o.cycles)


class PlanSearch:
    """Choices for a graph on a core."""

    most: int | None = None  #: bytes of flash that an image may have, where there is a budget

    def __init__(
        self, graph: QGraph, options: Mapping[str, Sequence[Candidate]], core: str,
        most: int | None = None,
    ) -> None:  # fmt: skip
        """most: with it choices are looked for that use it up, too."""
        self.graph, self.core, self.most = graph, core, most
        self.ways = WAYS if most is None else WAYS_WITHIN
        row = cores.get(core)
        self.isa, self.alike = row.isa, cores.get(row.priced_as).alike
        self.options = {n: _worth(list(o)) for n, o in options.items()}
        self._shared: dict[tuple[int, ...], int] = {}
        self._looked = 0  #: how often tables were shared on trial

    def best(self, weight: float, max_slowdown: float) -> Option:
        """The fastest choice (weight 0), the smallest that takes at most `max_slowdown` times the
        cycles and the instructions of any (1), or what weighs least between them, among all choices
        found."""
        return self.ranked(weight, max_slowdown)[0]

    def ranked(self, weight: float, max_slowdown: float) -> list[Option]:
        """All choices that no other dominates, the best first."""
        fastest, ahead = self._fastest(max_slowdown)
        return self._ranked(weight, max_slowdown, fastest, ahead)

    def _fastest(self, max_slowdown: float) -> tuple[Option, bool]:
        """The choice of fewest cycles that the others offered beside it do not beat by
        instructions, if there is one that takes hardly more cycles than any; and whether there is
        one."""
        cycles, instructions = self.alike
        least = min(o.cycles for o in self.front)
        # of what estimates cannot tell apart a small one
        near = [o for o in self.front if o.cycles <= cycles * least]
        few = instructions * min(o.instructions for o in near)
        first = _fastest_of_small([o for o in near if o.instructions <= few])
        rest = (o for o in self.front if o.cycles <= YIELDED_CYCLES * least)
        for o in (first, *sorted(rest, key=lambda o: o.cycles)):
            offered = (self._ranked(w, max_slowdown, o, True)[0] for w in WEIGHTS.values())
            if not any(p.faster_somehow(o, instructions) for p in offered if p is not o):
                return o, True
        return first, False

    def _ranked(
        self, weight: float, max_slowdown: float, fastest: Option, ahead: bool
    ) -> list[Option]:
        """The same, where `fastest` is what time is the only wish for; if others that would be
        offered take fewer instructions (`ahead` is False), others of more are."""
        front = self.front
        least = min(o.cycles for o in front)
        few = min(o.instructions for o in front)
        allowed = [
            o
            for o in front
            if o is fastest or (
                o.cycles <= max_slowdown * least and o.instructions <= max_slowdown * few
                and (ahead or not o.faster_somehow(fastest, self.alike[1]))
            )
        ]  # fmt: skip
        # never larger than the fastest
        smallest = _fastest_of_small([o for o in allowed if o.bytes <= fastest.bytes])

        def score(o: Option) -> tuple[bool, float]:
            if weight == 0.0:
                return o is not fastest, o.cycles
            if weight == 1.0:
                return o is not smallest, o.bytes
            bytes_, cycles = o.bytes / smallest.bytes, o.cycles / fastest.cycles
            apart = APART_CYCLES if bytes_ > ALIKE_BYTES else FAR_APART
            slower = 1.0 if o.bytes * FAR_SMALLER < fastest.bytes else APART_CYCLES
            unlike = (
                max(o.bytes * ALIKE_BYTES, o.bytes + LEAST_SAVED) < fastest.bytes
                and cycles > slower
                and cycles * apart < smallest.cycles / fastest.cycles
            )
            offered = o in allowed and (unlike or o is fastest or o is smallest)
            return not offered, weight * log(bytes_) + (1 - weight) * log(cycles)

        ranked = sorted(front, key=score)
        if 0.0 < weight < 1.0:  # of what estimates cannot tell apart the fastest one
            fits = [o for o in ranked if self.most is None or o.bytes <= self.most] or ranked
            offered, least = score(fits[0])
            near = (offered, least + weight * log(ALIKE_BYTES))
            first = self._fewest_of_fast([o for o in fits if score(o) <= near])
            ranked = [first, *(o for o in ranked if o is not first)]
        return ranked

    def _fewest_of_fast(self, options: Sequence[Option]) -> Option:
        """Of those whose cycles estimates cannot tell from the fewest the one that executes least:
        the smaller way to compile is a little faster by some prices, and never by instructions."""
        most = self.alike[0] * min(o.cycles for o in options)
        return min((o for o in options if o.cycles <= most), key=lambda o: o.instructions)

    @cached_property
    def front(self) -> list[Option]:
        """The choices found that none of the others dominates; of those alike the first."""
        every = [o for way in self.ways for o in self._found(way)]
        found = list({o.figures: o for o in reversed(every)}.values())[::-1]
        return [o for o in found if not any(p.dominates(o) for p in found)]

    def _found(self, way: float) -> Iterator[Option]:
        pieces_ = {n: [self._piece(c, way) for c in o] for n, o in self.options.items()}
        for leaning in LEANINGS:
            image = _Image(self, pieces_, way, leaning)
            yield image.improved()
            # (what is written for speed and compiled for size is estimated worst)
            if self.most is not None and way != COMPACT and image.within(SURE * self.most):
                yield image.option()

    def saved(self, chosen: Sequence[_Piece]) -> int:
        """Bytes that layers save by sharing code tables, where that pays."""
        joint = [p.candidate for p in chosen if p.joint]
        key = tuple(id(c) for c in joint)
        if len(joint) < 2:
            return 0
        if key not in self._shared:
            self._looked += 1
            if self._looked > TRIALS:
                return 0
            encoded: list[Encoded] = [c.layer.weights for c in joint]
            self._shared[key] = total_bytes(encoded) - total_bytes(share_tables(encoded))
        return self._shared[key]

    def end_cost(self, small: bool) -> Cost:
        """Of the copies at both ends."""
        return price_of(end_work(self.graph), "ends", self.core, small)

    @cached_property
    def _ends(self) -> list[str]:
        """Texts of the functions that copy inputs and outputs."""
        graph = self.graph
        both = ((False, ends(graph, graph.inputs, "input")),
                (True, ends(graph, graph.outputs, "output")))  # fmt: skip
        made = [copy_function(graph, e, out) for out, es in both for e in es.ends]
        return list(compiled_texts(made, self.isa).values())

    def frame(self, small: bool) -> tuple[dict[str, float], float]:
        """Functions of every image, and bytes of what calls them and comes before."""
        functions: dict[str, float] = {}
        for text in self._ends:
            functions |= pieces(text, self.core, small)
        calls = ["f(input, arena + 4);"] * len(self._ends)
        calling = step_bytes(calls, 0, self.core, small)
        return functions, calling + startup_bytes(self.core)

    def _piece(self, c: Candidate, way: float) -> _Piece:
        small = way >= COMPACT
        layer = replace(c.layer, weight=way)
        layer.inputs = ["arena + 4"] * len(layer.op.inputs)
        layer.output = layer.kept = layer.scratch = "arena + 8"
        table = c.kernel.table(layer)
        e = c.kernel.emit(layer, table)
        nothing = step_bytes([], 0, self.core, small)
        call = step_bytes([e.setup, e.call], len(table.arrays), self.core, small) - nothing
        functions: dict[str, float] = {}
        for text in compiled_texts(e.functions, self.isa).values():
            functions |= pieces(text, self.core, small)
        shared = {a.name: float(a.size) for a in table.arrays if a.shared}
        own, turns = c.bytes - sum(shared.values()) + call, self.graph.turns(c.layer.op.name)
        estimate = cost(c.kernel, layer, self.core)
        return _Piece(
            c, own, functions | shared, turns * estimate.cycles, turns * estimate.instructions
        )  # fmt: skip


class _Image:
    """A choice that is improved: what it consists of is counted, so that a move is priced by what
    it changes."""

    def __init__(
        self, search: PlanSearch, options: Mapping[str, list[_Piece]], way: float, leaning: float
    ) -> None:
        self.search, self.options, self.way, self.leaning = search, options, way, leaning
        functions, calls = search.frame(way >= COMPACT)
        self._frame = functions
        self.own = calls + sum(functions.values())
        ends = search.end_cost(way >= COMPACT)
        self.cycles, self.instructions = ends.cycles, ends.instructions
        self.count: dict[str, int] = dict.fromkeys(functions, 1)
        self.chosen: dict[str, _Piece] = {}
        self.saved = 0
        for n, o in options.items():
            start = min(o, key=lambda p: ((1 - leaning) * p.cycles + leaning * p.own, p.own))
            self._take(n, start)
        self._settle()

    def value(self, bytes_: float | None = None) -> float:
        """What is to be little."""
        b = self.own - self.saved if bytes_ is None else bytes_
        return (1e-3 + self.leaning) * log(b) + (1e-3 + 1 - self.leaning) * log(self.cycles)

    def _take(self, name: str, piece: _Piece) -> None:
        old = self.chosen.get(name)
        if old is not None:
            self.own -= old.own
            self.cycles -= old.cycles
            self.instructions -= old.instructions
            for f, n in old.functions.items():
                self.count[f] -= 1
                if not self.count[f]:
                    self.own -= n
        self.own += piece.own
        self.cycles += piece.cycles
        self.instructions += piece.instructions
        for f, n in piece.functions.items():
            if not self.count.get(f):
                self.own += n
            self.count[f] = self.count.get(f, 0) + 1
        self.chosen[name] = piece

    def _settle(self) -> None:
        self.saved = self.search.saved(list(self.chosen.values()))

    def _try(self, moves: Mapping[str, _Piece]) -> bool:
        """Make `moves` if the image is better for it."""
        before, saved = self.value(), self.saved
        back = {n: self.chosen[n] for n in moves if self.chosen[n] is not moves[n]}
        if not back:
            return False
        for n in back:
            self._take(n, moves[n])
        joint = any(p.joint for p in back.values()) or any(moves[n].joint for n in back)
        if joint and (len(back) > 1 or self.value() < before):
            self._settle()
        if self.value() < before - 1e-9:
            return True
        for n, p in back.items():
            self._take(n, p)
        self.saved = saved
        return False

    def improved(self) -> Option:
        """The choice after all moves that help: of single layers, and of all that can take the
        same kernel, encoding or both."""
        moves = list(self._moves())
        for _ in range(ROUNDS):
            better = [self._try(m) for m in moves]
            if not any(better):
                break
        self._settle()
        return self.option()

    def option(self) -> Option:
        """The choice as it is."""
        chosen = {n: p.candidate for n, p in self.chosen.items()}
        return Option(chosen, self.way, self.own - self.saved, self.cycles, self.instructions)

    def within(self, most: float) -> bool:
        """Make it at most so many bytes, and as fast as they allow, by the moves that cost least
        for what they bring; False, and anything, if no moves do. Weighing one against the other
        finds what lies on a curve that bulges towards few bytes and cycles, not what lies between:
        a budget would have bytes left."""
        moves = list(self._moves())
        while self.own - self.saved > most:
            bytes_, cycles = self.own - self.saved, self.cycles
            found = ((self._outcome(m), m) for m in moves)
            fewer = [
                ((bytes_ - b) / max(c - cycles, 1.0), m) for (b, c), m in found if b < bytes_ - 0.5
            ]
            if not fewer:
                return False
            self._make(max(fewer, key=lambda x: x[0])[1])
        while True:
            bytes_, cycles = self.own - self.saved, self.cycles
            found = ((self._outcome(m), m) for m in moves)
            faster = [
                ((cycles - c) / max(b - bytes_, 1.0), m)
                for (b, c), m in found
                if c < cycles - 0.5 and b <= most
            ]
            if not faster:
                return True
            self._make(max(faster, key=lambda x: x[0])[1])

    def _make(self, moves: Mapping[str, _Piece]) -> None:
        for n, p in moves.items():
            self._take(n, p)
        self._settle()

    def _outcome(self, moves: Mapping[str, _Piece]) -> tuple[float, float]:
        """Bytes and cycles after `moves`, which are not made."""
        back, saved = {n: self.chosen[n] for n in moves}, self.saved
        self._make(moves)
        found = self.own - self.saved, self.cycles
        for n, p in back.items():
            self._take(n, p)
        self.saved = saved
        return found

    def _moves(self) -> Iterator[dict[str, _Piece]]:
        """Those of all layers that can take the same, and those of single ones."""
        yield from self._groups()
        yield from ({n: p} for n, o in self.options.items() if len(o) > 1 for p in o)

    def _groups(self) -> Iterator[dict[str, _Piece]]:
        plain: dict[str, _Piece] = {}
        groups: dict[tuple[str, str], dict[str, _Piece]] = {}
        for n, o in self.options.items():
            plain[n] = min(o, key=lambda p: (bool(p.candidate.decoder), p.own))
            for p in o:
                c = p.candidate
                for key in ((c.kernel.name, c.encoding), ("", c.encoding), (c.kernel.name, "")):
                    best = groups.setdefault(key, {}).setdefault(n, p)
                    if p.own < best.own:
                        groups[key][n] = p
        yield plain
        yield from (g for g in groups.values() if len(g) > 1)


def _worth(options: list[Candidate]) -> list[Candidate]:
    """The candidates worth a look: none that one without a decoder, or one of the same kernel and
    decoder, beats in bytes and cycles."""
    return [
        c
        for c in options
        if not any(
            d.bytes <= c.bytes and d.cycles <= c.cycles
            and (d.bytes, d.cycles) != (c.bytes, c.cycles)
            and ((c.decoder and not d.decoder) or (d.kernel, d.decoder) == (c.kernel, c.decoder))
            for d in options
        )
    ]  # fmt: skip


def ternary_kept(options: list[Candidate], size: int) -> list[Candidate]:
    """Of the candidates of a ternary layer of `size` weights those with at most TERNARY_BITS a
    weight, and those that are faster than all of these."""

    def bits(c: Candidate) -> float:
        causes = c.kernel.table(c.layer).bits
        return sum(n for cause, n in causes.items() if cause not in ("requant", "descriptor"))

    tight = [c for c in options if bits(c) <= TERNARY_BITS * size]
    fastest = min((c.cycles for c in tight), default=0.0)
    return [c for c in options if not tight or c in tight or c.cycles < fastest]
