"""Chains: consecutive operators that run a few rows at a time, so that what lies between them is
never whole.

One step makes `rows` rows of the last operator's output. Before that each operator in turn makes
the rows that are still missing. The first steps lie before row 0, so that the operators in front
get their lead over the last one gradually. Of a tensor inside the chain the arena holds a *ring* of
rows: row y lies in slot y % held of each plane, until nobody needs it and row y + held takes its
place. No row is computed twice. Several operators may read a tensor of the chain (the branches of a
residual block) as long as nobody outside does.

The schedule is simulated here, call by call: from it come the size of each ring and whether the
chain's output may lie over one of its inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import gcd, lcm

from ..lowering.qgraph import QGraph, QOp, RowsRead
from .geometry import Stripe, align4
from .kernels import AnyKernel, Layer


@dataclass(frozen=True)
class Link:
    """An operator of a chain. At a step that begins with row y of the chain's output it has made
    y * pace + lead rows of its own, or all."""

    layer: Layer[QOp]  #: with its stripe
    kernel: AnyKernel
    pace: int
    lead: int

    @property
    def name(self) -> str:
        """Of the operator."""
        return self.layer.op.name

    @property
    def stripe(self) -> Stripe:
        """How many rows a call makes, and where."""
        assert self.layer.stripe is not None
        return self.layer.stripe


@dataclass(frozen=True, eq=False)
class Chain:
    """Operators first..last of the graph (from 0)."""

    first: int
    last: int
    rows: int  #: of the output, a step
    start: int  #: row of the output with which the first step begins, 0 or less
    links: tuple[Link, ...]
    rings: Mapping[str, int]  #: offset of each ring in the chain's scratch, bytes
    kept: Mapping[str, int]  #: offset of what an operator keeps from its setup
    work: int  #: offset of the scratch that the operators share
    scratch: int  #: bytes in all
    inputs: tuple[str, ...]  #: tensors from outside
    overwrites: tuple[int, ...]  #: those of them over which the output may lie

    @property
    def name(self) -> str:
        """For the memory plan: that of the last operator."""
        return self.links[-1].name

    @property
    def output(self) -> str:
        """The tensor it makes."""
        return self.links[-1].layer.op.output

    def storing(self, layers: Mapping[str, Layer[QOp]]) -> Chain:
        """The same chain, its weights as they are stored in `layers`."""
        links = (
            replace(x, layer=replace(x.layer, encoded=layers[x.name].encoded)) for x in self.links
        )
        return replace(self, links=tuple(links))


def reads_of(op: QOp, i: int) -> RowsRead:
    """The rows that `op`, which reads by rows, reads of its operand `i`."""
    reads = op.rows_read(i)
    assert reads is not None
    return reads


@dataclass
class _Pace:
    """An operator of a chain in the making."""

    op: QOp
    rows: int  #: a call
    pace: int
    lead: int
    total: int  #: rows that it makes in all
    readers: list[tuple[_Pace, int]]  #: of its output, inside the chain: as which operand
    made: int = 0  #: rows so far


def make(
    graph: QGraph, first: int, last: int, rows: int, most: int, layers: Mapping[str, Layer[QOp]],
    kernels: Mapping[str, AnyKernel], limit: int | None = None,
) -> Chain | None:  # fmt: skip
    """The chain of operators `first`..`last` with `rows` rows a step, at most `most` of any
    operator a call; None where there can be none.

    layers, kernels: by operator name. limit: bytes of rings from which on nobody wants it.
    """
    ops = graph.ops[first : last + 1]
    if not _closed(graph, first, last) or not all(
        _by_rows(op) and kernels[op.name].chains(layers[op.name]) for op in ops
    ):
        return None
    paces = _paces(graph, ops, rows, most)
    if paces is None:
        return None
    height = {t: graph.tensors[t].shape[1] for op in ops for t in (*op.inputs, op.output)}
    inputs = tuple(dict.fromkeys(t for op in ops for t in op.inputs if t not in _made(ops)))
    same = {
        t for t in inputs if graph.tensors[t].shape[1:] == graph.tensors[ops[-1].output].shape[1:]
    }
    start = min(rows * ((rows * p.pace - p.lead) // (p.pace * rows)) for p in paces)
    least, free = _simulate(paces, start, inputs, same)
    held = {**height, **least}
    held |= {p.op.output: _whole_turns(p, held, layers, kernels) for p in paces[:-1]}
    held = {t: min(n, height[t]) for t, n in held.items()}
    rings, end = {}, 0
    for t in least:
        c, _, w = graph.tensors[t].shape
        rings[t] = end
        end += align4(c * held[t] * w)
    if limit is not None and end >= limit:
        return None
    links = tuple(
        Link(_striped(p, layers[p.op.name], held), kernels[p.op.name], p.pace, p.lead)
        for p in paces
    )
    kept = {}
    for link in links:
        kept[link.name] = end
        end += align4(link.kernel.kept(link.layer))
    work = max(link.kernel.scratch(link.layer) - link.kernel.kept(link.layer) for link in links)
    op, over = ops[-1], links[-1].kernel.overwrites(links[-1].layer)
    legal = tuple(
        i
        for i, t in enumerate(inputs)
        if t in free
        and (t not in op.inputs or (op.inputs.count(t) == 1 and op.inputs.index(t) in over))
    )
    return Chain(
        first, last, rows, start, links, rings, kept, end, end + align4(work), inputs, legal
    )


def _by_rows(op: QOp) -> bool:
    return all(op.rows_read(i) is not None for i in range(len(op.inputs)))


def _made(ops: Sequence[QOp]) -> set[str]:
    return {op.output for op in ops}


def _closed(graph: QGraph, first: int, last: int) -> bool:
    """Whether only operators of the chain read what it makes before its output, and none of them
    is a part of a loop."""
    inner, ops = _made(graph.ops[first:last]), graph.ops[first : last + 1]
    outside = [op for i, op in enumerate(graph.ops) if not first <= i <= last]
    read = {t for op in outside for t in op.inputs} | set(graph.outputs) | graph.nexts
    used = {t for op in ops for t in op.inputs}
    looped = graph.by_loop().keys() if graph.loops else ()
    return not inner & read and inner <= used and not any(op.name in looped for op in ops)


def _paces(graph: QGraph, ops: Sequence[QOp], rows: int, most: int) -> list[_Pace] | None:
    """How far ahead of the chain's output each operator has to be, last one first; None where two
    readers of a tensor do not go through it at the same pace."""
    done: list[_Pace] = []
    steps = 0
    for op in reversed(ops):
        if len(graph.tensors[op.output].shape) != 3:
            return None
        height = graph.tensors[op.output].shape[1]
        if not done:
            if height % rows or rows > most:
                return None
            steps = height - rows
            done.append(_Pace(op, rows, 1, rows, height, []))
            continue
        readers = [(p, i) for p in done for i, t in enumerate(p.op.inputs) if t == op.output]
        asked = [(p, reads_of(p.op, i)) for p, i in readers]
        wanted = {p.pace * r.step for p, r in asked}
        if len(wanted) != 1:
            return None
        pace = wanted.pop()
        lead = max((p.lead - 1) * r.step - r.pad + r.size for p, r in asked)
        each = max(n for n in range(1, most + 1) if gcd(rows * pace, height) % n == 0)
        lead = -(-max(lead, 1) // each) * each  # where the first rows are padding, none is wanted
        done.append(_Pace(op, each, pace, lead, min(height, steps * pace + lead), readers))
    return done[::-1]


def _simulate(
    paces: list[_Pace], start: int, inputs: Sequence[str], same: set[str]
) -> tuple[dict[str, int], set[str]]:
    """Rows that each tensor inside has to hold, and which of the inputs `same` (planes of the
    output's shape) are no longer needed where the output is written."""
    least = {p.op.output: 0 for p in paces[:-1]}
    outside = {
        t: [(p, i) for p in paces[:-1] for i, u in enumerate(p.op.inputs) if u == t] for t in inputs
    }
    free, final = set(same), paces[-1]
    for y in range(start, final.total, final.rows):
        for p in paces:
            while p.made < min(p.total, y * p.pace + p.lead):
                end = p.made + p.rows
                if p is final:
                    free -= {t for t in free if _needed(outside[t], end) < end}
                else:
                    t = p.op.output
                    least[t] = max(least[t], end - _needed(p.readers, p.made))
                p.made = end
    return least, free


def _needed(readers: Sequence[tuple[_Pace, int]], none: int) -> int:
    """First row that one of `readers` still needs; `none` where they need no more."""
    rows = (reads_of(p.op, i).first(p.made) for p, i in readers if p.made < p.total)
    return min(rows, default=none)


def _whole_turns(
    p: _Pace,
    held: Mapping[str, int],
    layers: Mapping[str, Layer[QOp]],
    kernels: Mapping[str, AnyKernel],
) -> int:
    """Rows of the ring of p's output: enough, and such that what is written in one call, or read
    as one run, does not go round its end."""
    unit = p.rows
    for q, i in p.readers:
        name = q.op.name
        if i or kernels[name].straight(_striped(q, layers[name], held)):
            unit = lcm(unit, q.rows * reads_of(q.op, i).step)
    return -(-held[p.op.output] // unit) * unit


def _striped(p: _Pace, layer: Layer[QOp], held: Mapping[str, int]) -> Layer[QOp]:
    rows = tuple(held[t] for t in p.op.inputs)
    return replace(layer, stripe=Stripe(p.rows, p.total // p.rows, rows, held[p.op.output]))
