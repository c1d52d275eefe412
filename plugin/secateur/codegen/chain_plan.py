"""Which operators run as chains: those that lower the arena's peak, at least cost.

What is alive while a group of operators runs does not depend on how the rest of the graph is cut
into groups, so the best cut is a matter of walking through the graph once: for a given limit of
bytes, the cheapest cut all of whose groups stay below it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from ..errors import ModelError
from ..lowering.qgraph import QGraph, QOp
from .chain import Chain, make
from .costs import cost
from .geometry import align4
from .kernels import AnyKernel, Layer
from .memory import MemoryPlan, Step, chain_step, last_uses, life_of, plan_memory, steps_of

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
class ChainGroup:
    """Operators first..last, in a chain if there is one, else a single operator."""

    first: int
    last: int
    live: int  #: bytes
    extra: float  #: cycles more than without a chain
    chain: Chain | None = None


@dataclass(frozen=True)
class Cut:
    """A graph cut into groups."""

    peak: int  #: bytes alive in the largest
    extra: float  #: cycles
    chains: tuple[Chain, ...]

    @property
    def code(self) -> int:
        """Bytes of code that the chains add, about."""
        return chained_code(self.chains)


def chained_code(chains: Sequence[Chain]) -> int:
    """Bytes of code that chains add, about."""
    return CODE * sum(len(c.links) for c in chains)


class ChainChoice:
    """Chains for a graph whose kernels are chosen."""

    def __init__(
        self,
        graph: QGraph,
        layers: Mapping[str, Layer[QOp]],
        kernels: Mapping[str, AnyKernel],
        core: str,
    ) -> None:
        self.graph, self.layers, self.kernels, self.core = graph, layers, kernels, core
        steps = steps_of(graph, self._scratch, self._overwrites, (), self._joins)
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
        for first in range(len(out)):
            for last in range(first + 1, min(len(out), first + LONGEST)):
                most = max(g.live for g in self._single[first : last + 1])
                out[last] += self._chains(first, last, most)
        return out

    @property
    def cycles(self) -> float:
        """Of an inference without chains, estimated."""
        return sum(self._cycles.values())

    def memory(self, chains: Sequence[Chain]) -> MemoryPlan:
        """The arena with `chains`."""
        return plan_memory(self.graph, self._scratch, self._overwrites, chains, self._joins)

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
        none where that is little."""
        before = self.memory(()).arena
        saving = max(SAVING, SAVING_SHARE * before)
        if before <= saving:
            return ()
        each = worth * self.cycles / before  # cycles that a byte is worth
        cuts = [c for peak in self._peaks(before) if (c := self._cut(peak))]
        cuts = [c for c in cuts if c.extra <= max(limit, each * (before - c.peak))]
        for cut in sorted(cuts, key=lambda c: (c.peak + c.code, c.extra))[:TRIALS]:
            saved = before - self.memory(cut.chains).arena
            if saved >= saving + cut.code and cut.extra <= max(limit, each * saved):
                return cut.chains
        return ()

    def within(self, ram: int) -> tuple[Chain, ...]:
        """The cheapest chains that keep the arena to `ram` bytes, or, if there are none, those
        with which it is smallest."""
        before = self.memory(()).arena
        if before <= ram:
            return ()
        cuts = [c for peak in self._peaks(before) if (c := self._cut(peak))]
        fit = sorted((c for c in cuts if c.peak <= ram), key=lambda c: (c.extra, c.code))
        tried = {c.chains: self.memory(c.chains).arena for c in [*fit, *cuts][:TRIALS]}
        for chains, arena in tried.items():
            if arena <= ram:
                return chains
        return min(tried, key=lambda c: tried[c], default=())

    def _peaks(self, before: int) -> list[int]:
        return sorted({g.live for groups in self._ending for g in groups if g.live < before})

    def _cut(self, peak: int) -> Cut | None:
        """The cheapest cut into groups of at most `peak` bytes."""
        costs: list[float | None] = [0.0]
        back: list[ChainGroup | None] = [None]
        for groups in self._ending:
            found: list[tuple[float, ChainGroup]] = []
            for g in groups:
                before = costs[g.first]
                if g.live <= peak and before is not None:
                    found.append((before + g.extra, g))
            best = min(found, key=lambda f: f[0], default=None)
            costs.append(best[0] if best else None)
            back.append(best[1] if best else None)
        chains: list[Chain] = []
        i = len(self._ending)
        while group := back[i]:
            chains += [group.chain] if group.chain else []
            i = group.first
        extra = costs[-1]
        return None if extra is None else Cut(peak, extra, tuple(chains[::-1]))

    def _scratch(self, op: QOp) -> int:
        return self.kernels[op.name].scratch(self.layers[op.name])

    def _overwrites(self, op: QOp) -> tuple[int, ...]:
        return self.kernels[op.name].overwrites(self.layers[op.name])

    def _joins(self, op: QOp) -> Mapping[int, int]:
        return self.kernels[op.name].joins(self.layers[op.name])

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

    def _chains(self, first: int, last: int, most: int) -> list[ChainGroup]:
        """The chains of operators first..last during which less than `most` bytes are alive."""
        found: list[ChainGroup] = []
        rest = self._live(Step("", (), self.graph.ops[last].output, 0, (), first + 1, last + 1))
        for rows, each in ((r, e) for r in ROWS for e in ROWS if e >= r):
            room = (
                most - rest + align4(self.graph.tensors[self.graph.ops[last].output].stored_bytes)
            )
            chain = make(self.graph, first, last, rows, each, self.layers, self.kernels, room)
            if chain is None:
                continue
            live = self._live(chain_step(chain))
            if live < most:
                found.append(ChainGroup(first, last, live, self._extra(chain), chain))
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
