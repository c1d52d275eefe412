"""Copies: elements moved by loops that are found in the map of their addresses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ...lowering.movement import QCopy, QView
from ...lowering.qgraph import DTYPES
from ..emit import CTYPES, CArray, CFunction, Emission, render
from ..tables import Table
from .base import Kernel, Layer, Plain, register

#: More nests of loops than this, and a table of addresses is smaller.
_NESTS = 16


@dataclass(frozen=True)
class MoveLoop:
    """`count` turns; each moves on by so many elements in output and input."""

    count: int
    out: int
    source: int
    depth: int = 0

    @property
    def counter(self) -> str:
        """Its C variable."""
        return f"i{self.depth}"


@dataclass(frozen=True)
class Nest:
    """Loops around one assignment, outermost first."""

    out: int  #: first element written
    source: int  #: first element read
    loops: tuple[MoveLoop, ...]

    @property
    def bulk(self) -> bool:
        """Whether the innermost loop moves neighbours to neighbours."""
        last = self.loops[-1] if self.loops else MoveLoop(1, 0, 0)
        return last.count >= 4 and last.out == last.source == 1

    def at(self, side: str, loops: Sequence[MoveLoop]) -> str:
        """C expression of the element that `loops` have come to; side: "out" or "source"."""
        terms = str(getattr(self, side))
        for loop in loops:
            step = getattr(loop, side)
            if step:
                size = f" * {abs(step)}" if abs(step) != 1 else ""
                terms += f" {'+' if step > 0 else '-'} {loop.counter}{size}"
        return terms.removeprefix("0 + ")


def nests(out: np.ndarray, source: np.ndarray) -> list[Nest]:
    """Loops that move source[k] to out[k] for every k; both int64 [n], `out` ascending."""
    found = _nests(np.stack([out, source], axis=1).astype(np.int64))
    return [
        Nest(o, s, tuple(replace(loop, depth=i) for i, loop in enumerate(loops)))
        for (o, s), loops in found
    ]


def _nests(pairs: np.ndarray) -> list[tuple[tuple[int, int], tuple[MoveLoop, ...]]]:
    if len(pairs) == 1:
        return [((int(pairs[0, 0]), int(pairs[0, 1])), ())]
    runs = _runs(pairs)
    kinds: dict[tuple[int, int, int], list[int]] = {}
    for start, count, step in runs:
        kinds.setdefault((count, *step), []).append(start)
    made = []
    for (count, out, source), starts in kinds.items():
        for first, loops in _nests(pairs[starts]):
            inner = (MoveLoop(count, out, source),) if count > 1 else ()
            made.append((first, (*loops, *inner)))
    return made


def _runs(pairs: np.ndarray) -> list[tuple[int, int, tuple[int, int]]]:
    """(start, length, step) of the longest stretches of equal steps, from the left."""
    steps = np.diff(pairs, axis=0)
    ends = np.flatnonzero((steps[1:] != steps[:-1]).any(axis=1)) + 1  # steps[i] != steps[i - 1]
    out, start, n = [], 0, len(pairs)
    while start < n:
        if start == n - 1:
            out.append((start, 1, (0, 0)))
            break
        k = int(np.searchsorted(ends, start + 1))
        stop = int(ends[k]) if k < len(ends) else n - 1  # the last element of the run
        out.append((start, stop - start + 1, (int(steps[start, 0]), int(steps[start, 1]))))
        start = stop + 1
    return out


@dataclass(frozen=True)
class Part:
    """What is moved from one input."""

    input: int
    nests: list[Nest]
    table: str  #: name of the array of its new codes, "" where they stay
    places: str  #: name of the array of (out, source) pairs, where loops would be too many
    count: int


@dataclass(frozen=True, kw_only=True)
class CopyTable(Table):
    """Codes that stand for others, and addresses that no loop describes."""

    parts: tuple[Part, ...]


@register
class Copy(Kernel[QCopy, CopyTable]):
    """Slices, transpositions, concatenations, paddings, repetitions."""

    name = "copy"
    wide = True

    def work(self, layer: Layer[QCopy]) -> dict[str, float]:
        there = sum(layer.graph.tensors[layer.op.inputs[i]].size for i in layer.joined)
        return {"elements": float(layer.out_size - there)}

    def joins(self, layer: Layer[QCopy]) -> Mapping[int, int]:
        op, t = layer.op, layer.graph.tensors
        if (op.at < 0).any():  # the fill is written first, over everything
            return {}
        width = DTYPES[t[op.output].dtype]
        starts = np.cumsum([0, *(t[name].size for name in op.inputs)])
        found: dict[int, int] = {}
        for i, table in enumerate(op.tables):
            mine = np.flatnonzero((op.at >= starts[i]) & (op.at < starts[i + 1]))
            whole = mine.size == starts[i + 1] - starts[i] and table is None
            if not whole or t[op.inputs[i]].packed or t[op.output].packed:
                continue
            first, end = int(mine[0]), int(mine[-1]) + 1
            straight = np.array_equal(op.at[first:end], np.arange(starts[i], starts[i + 1]))
            # words: a tensor begins on one, and its last one may be written whole
            if straight and first * width % 4 == 0 and (end * width % 4 == 0 or end == op.at.size):
                found[i] = first * width
        return found

    def table(self, layer: Layer[QCopy]) -> CopyTable:
        op = layer.op
        sizes = [layer.graph.tensors[t].size for t in op.inputs]
        starts = np.cumsum([0, *sizes])
        arrays: list[CArray] = []
        parts = []
        for i, table in enumerate(op.tables):
            mine = np.flatnonzero((op.at >= starts[i]) & (op.at < starts[i + 1]))
            if not mine.size or i in layer.joined:
                continue
            source = op.at[mine] - starts[i]
            name = places = ""
            if table is not None:
                name = f"{layer.prefix}_codes{i}"
                arrays.append(CArray(name, "uint8_t", table, f"{layer.c_name}: codes of input {i}"))
            loops = nests(mine, source)
            if len(loops) > _NESTS:
                places = f"{layer.prefix}_places{i}"
                pairs = np.stack([mine, source], axis=1)
                kind = "uint16_t" if pairs.max() < 65536 else "uint32_t"
                arrays.append(CArray(places, kind, pairs, f"{layer.c_name}: to, from"))
            parts.append(Part(i, loops, name, places, mine.size))
        return CopyTable(arrays=tuple(arrays), parts=tuple(parts))

    def emit(self, layer: Layer[QCopy], table: CopyTable) -> Emission:
        op = layer.op
        t = layer.graph.tensors[op.output]
        kind = CTYPES[t.dtype]
        name = f"copy_{layer.c_name}"
        if not table.parts:
            return Emission("/* its parts lie there already */")
        fill = op.fill if (op.at < 0).any() else None
        text = render(
            "copy.c.j2", name=name, parts=table.parts, fill=fill, size=t.size, kind=kind,
            inputs=[p.input for p in table.parts], arrays={a.name: a for a in table.arrays},
        )  # fmt: skip
        pointers = [layer.pointers[p.input] for p in table.parts]
        call = f"{name}({', '.join([*pointers, layer.pointers[-1]])});"
        return Emission(call, [CFunction(name, text)])


@register
class View(Plain[QView]):
    """The same bytes under another shape: no code where the output lies over the input."""

    name = "view"
    wide = True

    def work(self, layer: Layer[QView]) -> dict[str, float]:
        return {"instructions": 1.0}

    def overwrites(self, layer: Layer[QView]) -> tuple[int, ...]:
        return (0,)

    def emit(self, layer: Layer[QView], table: Table) -> Emission:
        if layer.in_place:
            return Emission("/* the same bytes */")
        size = layer.graph.tensors[layer.op.output].stored_bytes
        return Emission(f"sc_copy({layer.output}, {layer.inputs[0]}, {size});")
