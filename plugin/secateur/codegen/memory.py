"""Memory planner: where every tensor and every layer's scratch lies in the arena.

Tensors that may share an address (an output over an input, where the kernel allows it and nobody
reads the input later) become one block, at any time of the size of what it holds; so do tensors
that an operator only lays side by side, with what it makes of them: their makers write them where
they go. Blocks get offsets so that no two live at the same time overlap. Small graphs make a
thorough search cheap: several placement orders, best one kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations, product

from ..lowering.qgraph import QGraph, QOp, QPutTime, State
from .chain import Chain

#: Blocks of which every order may be tried.
FEW = 6

#: (input, byte of the output) for the inputs of a step that are made in their places.
Parts = tuple[tuple[int, int], ...]


@dataclass
class Block:
    """Tensors at one address, one written over the other or part of the other, or a scratch.

    A span is (first step, last step, bytes); of those that cover a step the largest counts, so that
    a block takes no more room than what it holds at the time.
    """

    names: list[str]
    spans: list[tuple[int, int, int]]
    offset: int = -1
    shifts: dict[str, int] = field(default_factory=dict)  #: bytes behind it, where a part lies

    def hold(self, name: str, first: int, last: int, size: int, shift: int = 0) -> None:
        """Take in a tensor of `size` bytes that lives from step `first` to `last`."""
        self.names.append(name)
        self.spans.append((first, last, shift + size))
        if shift:
            self.shifts[name] = shift

    @property
    def size(self) -> int:
        """Bytes at its largest."""
        return max(n for _, _, n in self.spans)

    @property
    def first(self) -> int:
        """Step in which it begins to live."""
        return min(first for first, _, _ in self.spans)

    @property
    def last(self) -> int:
        """Last step of its life."""
        return max(last for _, last, _ in self.spans)

    def at(self, step: int) -> int:
        """Bytes that it holds during `step`."""
        return max((n for first, last, n in self.spans if first <= step <= last), default=0)


@dataclass
class MemoryPlan:
    """Offsets in bytes from the arena's start."""

    tensors: dict[str, int]
    scratch: dict[str, int]  #: name of operator or chain -> offset of its scratch, if it needs some
    arena: int  #: bytes
    lower_bound: int  #: bytes of the largest live set
    blocks: list[Block] = field(default_factory=list)
    counter: int | None = None  #: of a network of a step: where its count of steps lies


@dataclass(frozen=True)
class Step:
    """What runs at a time: an operator, or a chain of them."""

    name: str
    inputs: tuple[str, ...]
    output: str
    scratch: int  #: bytes beside its operands
    overwrites: tuple[int, ...]  #: the inputs over which its output may lie
    first: int  #: place of its first operator in the graph, from 1
    last: int  #: of its last one
    #: (input, byte of the output) for inputs that are a part of the output as they are
    joins: tuple[tuple[int, int], ...] = ()


def chain_step(c: Chain) -> Step:
    """A chain as one step."""
    return Step(c.name, c.inputs, c.output, c.scratch, c.overwrites, c.first + 1, c.last + 1)


def steps_of(
    graph: QGraph,
    scratch: Callable[[QOp], int],
    overwrites: Callable[[QOp], tuple[int, ...]],
    chains: Sequence[Chain] = (),
    joins: Callable[[QOp], Mapping[int, int]] = lambda op: {},
) -> list[Step]:
    """The steps of `graph`, in order.

    scratch, overwrites, joins: of an operator that runs alone.
    """
    starting = {c.first: c for c in chains}
    steps: list[Step] = []
    i = 0
    while i < len(graph.ops):
        if c := starting.get(i):
            steps.append(chain_step(c))
            i = c.last + 1
        else:
            op = graph.ops[i]
            i += 1
            parts = tuple(joins(op).items())
            steps.append(
                Step(op.name, tuple(op.inputs), op.output, scratch(op), overwrites(op), i, i, parts)
            )
    return steps


def last_uses(graph: QGraph, steps: Sequence[Step]) -> dict[str, int]:
    """Place in the graph of the last operator that needs each tensor (the output: one behind)."""
    last_use = dict.fromkeys(graph.inputs, 0)
    for step in steps:
        for t in step.inputs:
            last_use[t] = step.last
        last_use.setdefault(step.output, step.last)
    last_use |= dict.fromkeys(graph.outputs, len(graph.ops) + 1)
    for _, last, ops in turns_of(graph):
        inside = {op.output for op in ops}
        for op in ops:  # what comes from outside is read again in the last turn
            for t in op.inputs:
                if t not in inside:
                    last_use[t] = max(last_use[t], last)
    for t, state in graph.states.items():  # both are one place
        _, last = life_of(graph, state)
        last_use[t] = max(last_use[t], last)
        last_use[state.next] = max(last_use[state.next], last)
    return last_use


def turns_of(graph: QGraph) -> list[tuple[int, int, list[QOp]]]:
    """Of each loop the places of its first and last operator, from 1, and its operators."""
    places = {op.name: i + 1 for i, op in enumerate(graph.ops)}
    ends = [(places[loop.first], places[loop.last]) for loop in graph.loops]
    return [(a, b, graph.ops[a - 1 : b]) for a, b in ends]


def life_of(graph: QGraph, state: State) -> tuple[int, int]:
    """The steps during which a state's place is its own, whatever else reads it."""
    for loop, (first, last, _) in zip(graph.loops, turns_of(graph), strict=True):
        if loop.name == state.loop:
            return first, last
    return 0, len(graph.ops) + 1


def first_uses(graph: QGraph, last_use: dict[str, int]) -> dict[str, int]:
    """Tensors that begin to live before their operator runs: a loop adds to them turn by turn, or
    they are read behind it."""
    out: dict[str, int] = {}
    for first, last, ops in turns_of(graph):
        for op in ops:
            if isinstance(op, QPutTime) or last_use[op.output] > last:
                out[op.output] = first
    return out


def _may_overwrite(graph: QGraph, tensor: str, output: str) -> bool:
    """Whether a loop leaves an operator's input free once it is read: not what comes from outside
    the loop, and not a state, in whose place nothing but its next value lies."""
    held = {t for name, s in graph.states.items() for t in (name, s.next)}
    if tensor in held or output in held:
        return False
    for _, _, ops in turns_of(graph):
        inside = {op.output for op in ops}
        if output in inside:
            return tensor in inside
    return True


#: Bytes left free between blocks; tests set it, so that a layer that reaches too far is seen.
GUARD = 0


def _align(n: int) -> int:
    return (n + 3) & ~3


def _place(blocks: Sequence[Block], order: Sequence[int]) -> int:
    """Lowest free offset for each block in turn; returns the peak."""
    placed: list[Block] = []
    for i in order:
        b = blocks[i]
        b.offset = 0
        placed.sort(key=lambda p: p.offset)
        while (end := next((e for p in placed if (e := _clash(p, b))), 0)) > 0:
            b.offset = end
        placed.append(b)
    return max((b.offset + b.size for b in blocks), default=0)


def _clash(p: Block, b: Block) -> int:
    """Where b may begin at the earliest so as not to meet p; 0 where they do not meet."""
    end = 0
    for first, last, size in p.spans:
        for other_first, other_last, other in b.spans:
            if (
                first <= other_last and other_first <= last
                and p.offset < b.offset + other + GUARD and b.offset < p.offset + size + GUARD
            ):  # fmt: skip
                end = max(end, p.offset + size + GUARD)
    return end


def plan_memory(
    graph: QGraph,
    scratch: Callable[[QOp], int],
    overwrites: Callable[[QOp], tuple[int, ...]],
    chains: Sequence[Chain] = (),
    joins: Callable[[QOp], Mapping[int, int]] = lambda op: {},
) -> MemoryPlan:
    """Place all tensors of `graph` but those inside `chains`, which have their rings as scratch.

    scratch(op) gives the bytes an operator needs beside its operands, overwrites(op) the inputs
    its output may lie over, joins(op) those that may be a part of it, and at which byte. Every
    choice of overwritten input is tried (they are few); then parts go to their places, of all
    operators or of one after the other, where that needs no more room.
    """
    steps = steps_of(graph, scratch, overwrites, chains, joins)
    last_use = last_uses(graph, steps)
    choices: list[list[int]] = []
    for step in steps:
        legal = [
            k
            for k in step.overwrites
            if step.inputs[k] not in graph.constants
            and last_use[step.inputs[k]] == step.last
            and step.inputs.count(step.inputs[k]) == 1
            and _may_overwrite(graph, step.inputs[k], step.output)
        ]
        grows = any(
            graph.tensors[step.inputs[k]].stored_bytes < graph.tensors[step.output].stored_bytes
            for k in legal
        )
        # a block that grows may leave gaps where two blocks would not
        choices.append([*legal, -1] if grows or not legal else legal)
    total = 1
    for c in choices:
        total *= len(c)
    few = [tuple(c[0] for c in choices), tuple(c[-1] for c in choices)]
    combos = product(*choices) if total <= 64 else few
    parts: list[Parts] = [() for _ in steps]
    tried = ((_plan_with(graph, steps, c, last_use, parts), c) for c in combos)
    best, combo = min(tried, key=lambda t: _bytes(t[0], graph, steps, parts))
    places = [_joinable(graph, step, last_use) for step in steps]
    each = ((i,) for i, joined in enumerate(places) if joined)
    for some in (range(len(steps)), *each) if any(places) else ():
        more = [places[i] if i in some else p for i, p in enumerate(parts)]
        plan = _plan_with(graph, steps, combo, last_use, more)
        if _bytes(plan, graph, steps, more) < _bytes(best, graph, steps, parts):
            best, parts = plan, more
    if graph.step_due is not None:
        best.counter, best.arena = best.arena, best.arena + 4
    return best


def _joinable(graph: QGraph, step: Step, last_use: Mapping[str, int]) -> Parts:
    """Of a step's parts those that nobody needs elsewhere or later."""
    if graph.loops or graph.states:  # whose tensors have places of their own
        return ()
    return tuple(
        (i, at)
        for i, at in step.joins
        if step.inputs[i] not in graph.constants
        and last_use[step.inputs[i]] == step.last
        and step.inputs.count(step.inputs[i]) == 1
    )


def _bytes(
    plan: MemoryPlan, graph: QGraph, steps: Sequence[Step], parts: Sequence[Parts]
) -> tuple[int, int, int]:
    """Of the arena, of parts that are not moved (below 0), and of all that lives in it, step by
    step: of two plans the lesser wins."""
    times = range(len(graph.ops) + 2)
    there = sum(
        graph.tensors[step.inputs[i]].stored_bytes
        for step, joined in zip(steps, parts, strict=True)
        for i, _ in joined
    )
    return plan.arena, -there, sum(b.at(s) for b in plan.blocks for s in times)


def _homes(
    graph: QGraph, steps: Sequence[Step], combo: Sequence[int], parts: Sequence[Parts]
) -> dict[str, tuple[str, int]]:
    """For each tensor that is made as a part of another: of which, and at which byte of it."""
    size = {t: x.stored_bytes for t, x in graph.tensors.items()}
    home: dict[str, tuple[str, int]] = {}
    for step, k, joined in reversed(list(zip(steps, combo, parts, strict=True))):
        whole, at = home.get(step.output, (step.output, 0))
        for i, byte in joined:
            home[step.inputs[i]] = (whole, at + byte)
        if k >= 0 and step.output in home and size[step.inputs[k]] <= size[step.output]:
            home[step.inputs[k]] = (whole, at)
    return home


def _plan_with(
    graph: QGraph,
    steps: Sequence[Step],
    combo: Sequence[int],
    last_use: dict[str, int],
    parts: Sequence[Parts],
) -> MemoryPlan:
    block_of: dict[str, Block] = {}
    blocks: list[Block] = []
    home = _homes(graph, steps, combo, parts)

    def put(name: str, first: int, last: int, size: int) -> None:
        """In the block of the tensor that it is a part of, or in one of its own."""
        whole, shift = home.get(name, (name, 0))
        if whole not in block_of:
            block_of[whole] = Block([], [])
            blocks.append(block_of[whole])
        block_of[name] = block_of[whole]
        block_of[name].hold(name, first, last, size, shift)

    for name in graph.inputs:
        put(name, 0, last_use[name], _align(graph.tensors[name].stored_bytes))
    for name, state in graph.states.items():
        size = _align(graph.tensors[name].stored_bytes)
        first, last = life_of(graph, state)
        block_of[name] = block_of[state.next] = Block([name], [(first, last, size)])
        blocks.append(block_of[name])
    early = first_uses(graph, last_use)
    for step, k in zip(steps, combo, strict=True):
        size = _align(graph.tensors[step.output].stored_bytes)
        life = (early.get(step.output, step.first), last_use[step.output])
        if k >= 0 and step.output not in block_of and step.output not in home:
            block_of[step.output] = block_of[step.inputs[k]]
        put(step.output, *life, size)
    scratch_blocks = []
    for step in steps:
        n = _align(step.scratch)
        if n:
            sb = Block([f"scratch:{step.name}"], [(step.first, step.last, n)])
            blocks.append(sb)
            scratch_blocks.append((step.name, sb))
    times = range(len(graph.ops) + 2)
    bound = max((sum(b.at(s) for b in blocks) for s in times), default=0)
    index = range(len(blocks))
    orders = [
        sorted(index, key=lambda i: -blocks[i].size),
        sorted(index, key=lambda i: (-(blocks[i].last - blocks[i].first), -blocks[i].size)),
        sorted(index, key=lambda i: (blocks[i].first, -blocks[i].size)),
        sorted(index, key=lambda i: -(blocks[i].last - blocks[i].first + 1) * blocks[i].size),
    ]
    order: Sequence[int]
    peak, order = min(((_place(blocks, o), o) for o in orders), key=lambda x: x[0])
    for start in (order, *(o for o in orders if o is not order)):
        if peak > bound:
            found = _improve(blocks, start, _place(blocks, start), bound)
            peak, order = min((peak, order), found, key=lambda x: x[0])
    if peak > bound and len(blocks) <= FEW:
        peak, order = _best(blocks, order, peak, bound)
    _place(blocks, order)
    tensors = {
        n: b.offset + b.shifts.get(n, 0)
        for b in blocks
        for n in b.names
        if not n.startswith("scratch:")
    }
    return MemoryPlan(tensors, {n: b.offset for n, b in scratch_blocks}, peak, bound, blocks)


def _best(
    blocks: list[Block], order: Sequence[int], peak: int, bound: int
) -> tuple[int, Sequence[int]]:
    """The best of all orders; the one there is, if none is better."""
    for trial in permutations(range(len(blocks))):
        if (p := _place(blocks, trial)) < peak:
            peak, order = p, trial
            if peak <= bound:
                break
    return peak, order


def _improve(
    blocks: list[Block], order: Sequence[int], peak: int, bound: int
) -> tuple[int, Sequence[int]]:
    """Local search: move one block to the front or swap two while that lowers the peak."""
    order = list(order)
    for _ in range(200):
        found = False
        for i in range(len(order)):
            for j in range(i):
                trial = [*order[:j], order[i], *order[j:i], *order[i + 1 :]]
                p = _place(blocks, trial)
                if p < peak:
                    peak, order, found = p, trial, True
                    break
            if found or peak <= bound:
                break
        if not found or peak <= bound:
            break
    return peak, order
