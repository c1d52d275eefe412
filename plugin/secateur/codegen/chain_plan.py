"""Which operators run as chains: those that lower the arena's peak, at least cost; and, where a
budget of RAM wants it, which take less scratch, or are stored and executed in another way.

What is alive while a group of operators runs does not depend on how the rest of the graph is cut
into groups, so the best cut is a matter of walking through the graph once: for a given limit of
bytes, the cheapest cut all of whose groups stay below it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..errors import ModelError
from ..lowering.qgraph import QGraph, QOp
from .chain import Chain, make
from .costs import cost
from .geometry import align4
from .kernels import AnyKernel, Layer
from .memory import MemoryPlan, Step, chain_step, last_uses, life_of, plan_memory

#: Rows of a chain's output that a step may make.
ROWS = (1, 2, 4, 8)

#: Operators in a chain, at most.
LONGEST = 12

#: Cycles of a call in a chain: the loop, the arguments, entry and return.
CALL = 50.0

#: About how many bytes of code a chain adds for each operator: the loop, its arguments, and a
#: kernel that no other layer shares.
CODE = 120

#: Bytes by which a chain lowers the arena, at least, and the share of it.
SAVING = 512
SAVING_SHARE = 0.02

#: Cuts whose arena is looked at.
TRIALS = 6

#: Share of the network's cycles that chains may cost where no budget asks for them, or, where that
#: is more, this part of the share of the arena that they save: a third less RAM is worth 3 %.
COST_SHARE, RAM_WORTH = 0.01, 0.1


@dataclass(frozen=True)
class Way:
    """One way to store and execute an operator."""

    kernel: AnyKernel
    layer: Layer[QOp]
    bytes: int  #: of its table


@dataclass(frozen=True)
class ChainGroup:
    """Operators first..last, in a chain if there is one, else a single operator."""

    first: int
    last: int
    live: int  #: bytes
    extra: float  #: cycles more than without a chain
    chain: Chain | None = None
    #: operators that are executed in other ways than chosen
    others: Mapping[str, Way] = field(default_factory=dict)


@dataclass(frozen=True)
class Cut:
    """A graph cut into groups."""

    peak: int  #: bytes alive in the largest
    extra: float  #: cycles
    chains: tuple[Chain, ...]
    others: Mapping[str, Way] = field(default_factory=dict)

    @property
    def code(self) -> int:
        """Bytes of code that the chains add, about."""
        return chained_code(self.chains)


def chained_code(chains: Sequence[Chain]) -> int:
    """Bytes of code that chains add, about."""
    return CODE * sum(len(c.links) for c in chains)


def _thrifty(way: Way) -> Iterator[Way]:
    """A way with what thrift it has."""
    for thrift in way.kernel.thrifty(way.layer):
        layer = replace(way.layer, thrift=thrift)
        yield Way(way.kernel, layer, way.kernel.table(layer).bytes)


class ChainChoice:
    """Chains for a graph whose kernels are chosen."""

    def __init__(
        self,
        graph: QGraph,
        layers: Mapping[str, Layer[QOp]],
        kernels: Mapping[str, AnyKernel],
        core: str,
        others: Mapping[str, Sequence[Way]] | None = None,
        byte: float = 0.0,
    ) -> None:
        """others: ways to execute an operator beside the chosen one; byte: cycles that a byte of
        flash is worth."""
        self.graph, self.layers, self.kernels, self.core = graph, layers, kernels, core
        self._others, self._byte = others or {}, byte
        steps = [self._step(i) for i in range(len(graph.ops))]
        self._last_use = last_uses(graph, steps)
        self._made = dict.fromkeys(graph.inputs, 0)
        self._made |= {t: life_of(graph, s)[0] for t, s in graph.states.items()}
        self._made |= {op.output: i + 1 for i, op in enumerate(graph.ops)}
        self._cycles = {n: cost(kernels[n], la, core).cycles for n, la in layers.items()}
        self._single = [ChainGroup(i, i, self._live(s), 0.0) for i, s in enumerate(steps)]

    @cached_property
    def _ending(self) -> list[list[ChainGroup]]:
        """By last operator, the groups that are worth a look."""
        out = [[g] for g in self._single]
        for first, last in self._stretches():
            out[last] += self._chains(first, last, {})
        return out

    @cached_property
    def _sparing(self) -> list[list[ChainGroup]]:
        """The same with other ways to execute operators than the chosen ones."""
        out = [list(groups) for groups in self._ending]
        for i, op in enumerate(self.graph.ops):
            for way in self._sparer(op.name):
                live = self._live(self._step(i, way))
                if live < self._single[i].live:
                    extra = self._worth({op.name: way})
                    out[i].append(ChainGroup(i, i, live, extra, None, {op.name: way}))
        for first, last in self._stretches():
            for ways in self._in_place(first, last):
                out[last] += self._chains(first, last, ways)
        return out

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """First and last operator of what may be a chain."""
        n = len(self._single)
        for first in range(n):
            yield from ((first, last) for last in range(first + 1, min(n, first + LONGEST)))

    def _sparer(self, name: str) -> Iterator[Way]:
        """Ways to execute an operator alone, in less scratch than it takes as it is."""
        for way in (self._chosen(name), *self._others.get(name, ())):
            if way.layer is not self.layers[name]:
                yield way
            yield from _thrifty(way)

    def _in_place(self, first: int, last: int) -> Iterator[dict[str, Way]]:
        """For a chain of operators first..last, the one whose unpacked weights take most room
        executed where they are stored, then the two that do, and so on."""
        kept = {op.name: self._kept(op.name) for op in self.graph.ops[first : last + 1]}
        ways: dict[str, Way] = {}
        for name in sorted((n for n in kept if kept[n]), key=lambda n: -kept[n]):
            stored = [
                w
                for w in self._others.get(name, ())
                if not w.kernel.kept(w.layer) and w.kernel.chains(w.layer)
            ]
            found = [*stored, *(t for w in stored for t in _thrifty(w) if t.layer.thrift.short)]
            if not found:
                return
            ways = {**ways, name: min(found, key=lambda w: self._worth({name: w}))}
            yield ways

    def _worth(self, ways: Mapping[str, Way]) -> float:
        return self._dearer(ways) + self._slower(ways)

    def _chosen(self, name: str) -> Way:
        return Way(self.kernels[name], self.layers[name], self._bytes(name))

    def _bytes(self, name: str) -> int:
        return self.kernels[name].table(self.layers[name]).bytes

    def _kept(self, name: str) -> int:
        return self.kernels[name].kept(self.layers[name])

    def _dearer(self, ways: Mapping[str, Way]) -> float:
        """What the bytes that `ways` take more than what is chosen are worth, in cycles."""
        return self._byte * sum(w.bytes - self._bytes(n) + CODE for n, w in ways.items())

    def _slower(self, ways: Mapping[str, Way]) -> float:
        """Cycles of operators that run alone in `ways` more than in those chosen."""
        return sum(
            cost(w.kernel, w.layer, self.core).cycles - self._cycles[n] for n, w in ways.items()
        )

    @property
    def cycles(self) -> float:
        """Of an inference without chains, estimated."""
        return sum(self._cycles.values())

    def memory(
        self, chains: Sequence[Chain], others: Mapping[str, Way] | None = None
    ) -> MemoryPlan:
        """The arena with `chains`, and with operators in other ways than the chosen ones."""
        ways = {op.name: self._chosen(op.name) for op in self.graph} | {**(others or {})}
        return plan_memory(
            self.graph,
            lambda op: ways[op.name].kernel.scratch(ways[op.name].layer),
            lambda op: ways[op.name].kernel.overwrites(ways[op.name].layer),
            chains,
            lambda op: ways[op.name].kernel.joins(ways[op.name].layer),
        )

    def make(self, first: str, last: str, rows: int, most: int) -> Chain:
        """The chain from operator `first` to `last` (see `chain.make`).

        Raises ModelError where there can be none.
        """
        names = [op.name for op in self.graph.ops]
        a, b = (names.index(n) if n in names else -1 for n in (first, last))
        chain = None
        if 0 <= a < b:
            chain = make(self.graph, a, b, rows, most, self.layers, self.kernels)
        if chain is None:
            raise ModelError(
                f"'{self.graph.name}' cannot run '{first}' to '{last}' as a chain of {rows} rows; "
                "leave `chains` away and see which there are"
            )
        return chain

    def best(self, limit: float, worth: float = 0.0) -> tuple[Chain, ...]:
        """The chains that lower the arena by most bytes, less the code they add, at a cost of at
        most `limit` cycles, or a share of all that is `worth` times the share of the arena saved;
        the last bytes, too, cost no more than that. None where what is saved is little."""
        before = self.memory(()).arena
        saving = max(SAVING, SAVING_SHARE * before)
        if before <= saving:
            return ()
        each = worth * self.cycles / before  # cycles that a byte is worth
        cuts = [c for peak in self._peaks(before) if (c := self._cut(peak))]
        cuts = [c for c in cuts if c.extra <= max(limit, each * (before - c.peak))]

        def dear(cut: Cut) -> bool:
            return any(cut.extra - c.extra > max(limit, each * (c.peak - cut.peak)) for c in cuts)

        cuts = [c for c in cuts if not dear(c)]
        for cut in sorted(cuts, key=lambda c: (c.peak + c.code, c.extra))[:TRIALS]:
            saved = before - self.memory(cut.chains).arena
            if saved >= saving + cut.code and cut.extra <= max(limit, each * saved):
                return cut.chains
        return ()

    def within(self, ram: int) -> Cut:
        """The cheapest cut, with other ways to execute operators, that keeps the arena to `ram`
        bytes, or, if there is none, one with which it is smallest."""
        tried: list[tuple[int, Cut]] = []
        limit = ram
        for _ in range(TRIALS):
            cut = self._cut(limit, self._sparing)
            if cut is None:
                break
            tried.append((self.memory(cut.chains, cut.others).arena, cut))
            if tried[-1][0] <= ram:
                return cut
            limit = cut.peak - 1
        lives = sorted({g.live for groups in self._sparing for g in groups})
        least = bisect_left(lives, True, key=lambda n: self._cut(n, self._sparing) is not None)
        if cut := self._cut(lives[least], self._sparing):
            tried.append((self.memory(cut.chains, cut.others).arena, cut))
        return min(tried, key=lambda t: t[0])[1]

    def _peaks(self, before: int) -> list[int]:
        return sorted({g.live for groups in self._ending for g in groups if g.live < before})

    def _cut(self, peak: int, ending: Sequence[Sequence[ChainGroup]] | None = None) -> Cut | None:
        """The cheapest cut into groups of at most `peak` bytes, of those by last operator."""
        ending = self._ending if ending is None else ending
        costs: list[float | None] = [0.0]
        back: list[ChainGroup | None] = [None]
        for groups in ending:
            found: list[tuple[float, ChainGroup]] = []
            for g in groups:
                before = costs[g.first]
                if g.live <= peak and before is not None:
                    found.append((before + g.extra, g))
            best = min(found, key=lambda f: f[0], default=None)
            costs.append(best[0] if best else None)
            back.append(best[1] if best else None)
        chains: list[Chain] = []
        others: dict[str, Way] = {}
        i, most = len(ending), 0
        while group := back[i]:
            chains += [group.chain] if group.chain else []
            others |= group.others
            i, most = group.first, max(most, group.live)
        extra = costs[-1]
        return None if extra is None else Cut(most, extra, tuple(chains[::-1]), others)

    def _step(self, i: int, way: Way | None = None) -> Step:
        """Operator i alone."""
        op = self.graph.ops[i]
        kernel, layer = self.kernels[op.name], self.layers[op.name]
        if way:
            kernel, layer = way.kernel, way.layer
        return Step(
            op.name, tuple(op.inputs), op.output, kernel.scratch(layer), kernel.overwrites(layer),
            i + 1, i + 1, tuple(kernel.joins(layer).items()),
        )  # fmt: skip

    def _live(self, step: Step) -> int:
        """Bytes alive while a step runs."""
        size = {
            t: align4(x.stored_bytes)
            for t, x in self.graph.tensors.items()
            if t not in self.graph.constants
        }
        last, made = self._last_use, self._made
        through = sum(n for t, n in size.items() if made[t] < step.first <= last[t])
        over = [
            min(size[t], size[step.output])
            for t in (step.inputs[k] for k in step.overwrites)
            if t in size and last[t] <= step.last and step.inputs.count(t) == 1
        ]
        return through + size[step.output] - max(over, default=0) + align4(step.scratch)

    def _chains(self, first: int, last: int, ways: Mapping[str, Way]) -> list[ChainGroup]:
        """The chains of operators first..last, some executed in other `ways`, during which fewer
        bytes are alive than where each runs alone."""
        found: list[ChainGroup] = []
        most = max(g.live for g in self._single[first : last + 1])
        layers = {**self.layers, **{n: w.layer for n, w in ways.items()}}
        kernels = {**self.kernels, **{n: w.kernel for n, w in ways.items()}}
        rest = self._live(Step("", (), self.graph.ops[last].output, 0, (), first + 1, last + 1))
        for rows, each in ((r, e) for r in ROWS for e in ROWS if e >= r):
            room = (
                most - rest + align4(self.graph.tensors[self.graph.ops[last].output].stored_bytes)
            )
            chain = make(self.graph, first, last, rows, each, layers, kernels, room)
            if chain is None:
                continue
            live = self._live(chain_step(chain))
            if live < most:
                extra = self._extra(chain) + self._dearer(ways)
                found.append(ChainGroup(first, last, live, extra, chain, ways))
        return found

    def faster(self, share: float) -> tuple[Chain, ...]:
        """The chains that lower the arena, where an inference takes `share` of its cycles less with
        them: tiles may fit some rows of a plane better than all."""
        chains = self.best(share * self.cycles)
        return chains if sum(map(self._spent, chains)) < -share * self.cycles else ()

    def _extra(self, chain: Chain) -> float:
        """Cycles that a chain costs; it is not taken because it might save some."""
        return max(0.0, self._spent(chain)) + 1.0

    def _spent(self, chain: Chain) -> float:
        """Cycles with a chain more than without."""
        spent = 0.0
        for link in chain.links:
            striped = cost(link.kernel, link.layer, self.core).cycles
            spent += striped - self._cycles[link.name] + CALL * link.stripe.calls
        return spent
