"""Memory planner: where every tensor and every layer's scratch lies in the arena.

Tensors that may share an address (an output over an input, where the kernel allows it and nobody
reads the input later) become one block; blocks get offsets so that no two live at the same time
overlap. Small graphs make a thorough search cheap: several placement orders, best one kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import product

from ..lowering.qgraph import QGraph, QOp


@dataclass
class Block:
    """Something that occupies `size` bytes from step `first` to step `last` inclusive."""

    names: list[str]
    size: int
    first: int
    last: int
    offset: int = -1


@dataclass
class MemoryPlan:
    """Offsets in bytes from the arena's start."""

    tensors: dict[str, int]
    scratch: dict[str, int]  #: op name -> offset of its scratch (ops that need some)
    arena: int  #: bytes
    lower_bound: int  #: bytes of the largest live set
    blocks: list[Block] = field(default_factory=list)


def _align(n: int) -> int:
    return (n + 3) & ~3


def _place(blocks: Sequence[Block], order: Sequence[int]) -> int:
    """Lowest free offset for each block in turn; returns the peak."""
    placed: list[Block] = []
    for i in order:
        b = blocks[i]
        offset = 0
        for p in sorted(placed, key=lambda p: p.offset):
            if p.first <= b.last and b.first <= p.last and p.offset < offset + b.size:
                offset = max(offset, p.offset + p.size)
        b.offset = offset
        placed.append(b)
    return max((b.offset + b.size for b in blocks), default=0)


def plan_memory(
    graph: QGraph,
    scratch: Callable[[QOp], int],
    overwrites: Callable[[QOp], tuple[int, ...]],
) -> MemoryPlan:
    """Place all tensors of `graph`.

    scratch(op) gives the bytes an operator needs beside its operands, overwrites(op) the inputs
    its output may lie over. Every choice of overwritten input is tried (they are few).
    """
    ops = list(graph.ops)
    last_use = {graph.input: 0}
    for i, op in enumerate(ops):
        for t in op.inputs:
            last_use[t] = i + 1
        last_use.setdefault(op.output, i + 1)
    last_use[graph.output] = len(ops) + 1
    choices: list[list[int]] = []
    for i, op in enumerate(ops):
        legal = [
            k
            for k in overwrites(op)
            if last_use[op.inputs[k]] == i + 1 and op.inputs.count(op.inputs[k]) == 1
        ]
        choices.append(legal or [-1])
    total = 1
    for c in choices:
        total *= len(c)
    combos = product(*choices) if total <= 64 else [tuple(c[0] for c in choices)]
    best: MemoryPlan | None = None
    for combo in combos:
        plan = _plan_with(graph, ops, combo, last_use, scratch)
        if best is None or plan.arena < best.arena:
            best = plan
    assert best is not None
    return best


def _plan_with(
    graph: QGraph,
    ops: list[QOp],
    combo: Sequence[int],
    last_use: dict[str, int],
    scratch: Callable[[QOp], int],
) -> MemoryPlan:
    block_of: dict[str, Block] = {}
    blocks: list[Block] = []
    first = Block(
        [graph.input], _align(graph.tensors[graph.input].stored_bytes), 0, last_use[graph.input]
    )
    block_of[graph.input] = first
    blocks.append(first)
    for i, (op, k) in enumerate(zip(ops, combo, strict=True)):
        size = _align(graph.tensors[op.output].stored_bytes)
        if k >= 0:
            b = block_of[op.inputs[k]]
            b.names.append(op.output)
            b.size = max(b.size, size)
            b.last = max(b.last, last_use[op.output])
        else:
            b = Block([op.output], size, i + 1, last_use[op.output])
            blocks.append(b)
        block_of[op.output] = b
    scratch_blocks = []
    for i, op in enumerate(ops):
        n = _align(scratch(op))
        if n:
            sb = Block([f"scratch:{op.name}"], n, i + 1, i + 1)
            blocks.append(sb)
            scratch_blocks.append((op.name, sb))
    steps = len(ops) + 2
    bound = max(
        (sum(b.size for b in blocks if b.first <= s <= b.last) for s in range(steps)), default=0
    )
    index = range(len(blocks))
    orders = [
        sorted(index, key=lambda i: -blocks[i].size),
        sorted(index, key=lambda i: (-(blocks[i].last - blocks[i].first), -blocks[i].size)),
        sorted(index, key=lambda i: (blocks[i].first, -blocks[i].size)),
        sorted(index, key=lambda i: -(blocks[i].last - blocks[i].first + 1) * blocks[i].size),
    ]
    peak, best = min(((_place(blocks, o), o) for o in orders), key=lambda x: x[0])
    order: Sequence[int] = best
    if peak > bound:
        peak, order = _improve(blocks, order, peak, bound)
    _place(blocks, order)
    tensors = {n: b.offset for b in blocks for n in b.names if not n.startswith("scratch:")}
    return MemoryPlan(tensors, {n: b.offset for n, b in scratch_blocks}, peak, bound, blocks)


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
