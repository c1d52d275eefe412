"""The arena as the generated C names it: an offset for every tensor and scratch, and a map."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .. import names
from ..lowering.qgraph import QGraph
from .memory import MemoryPlan


@dataclass(frozen=True)
class Place:
    """A stretch of the arena under a name."""

    macro: str
    offset: int
    size: int  #: bytes
    first: int  #: step in which it begins to live; 0: the copying of the input
    last: int  #: the last one; one behind the layers': the copying of the output
    what: str

    @property
    def expression(self) -> str:
        """The C of a pointer to it."""
        return f"arena + {self.macro}"


class ArenaMap:
    """Names for the places of a memory plan; `prefix` begins all of them.

    fixed: arrays in flash of the graph's constant tensors.
    """

    def __init__(
        self, graph: QGraph, memory: MemoryPlan, prefix: str, fixed: Mapping[str, str] | None = None
    ) -> None:
        self.graph, self._prefix = graph, prefix
        self._fixed = fixed or {}
        self._memory = memory
        self._places: dict[str, Place] = {}  #: by what `_add` is told
        self._names = names.layers(tuple(op.name for op in graph))
        self._before: dict[str, str] = {}
        makers = {op.output: self._names[op.name] for op in graph}
        for block in memory.blocks:
            if block.names[0].startswith("scratch:"):
                continue
            for i, (t, (first, last, _)) in enumerate(zip(block.names, block.spans, strict=True)):
                what = f"output of {makers[t]}" if t in makers else "the input"
                shift = block.shifts.get(t, 0)
                earlier = [n for n in block.names[:i] if block.shifts.get(n, 0) == shift]
                if t in graph.states:
                    what = f"the state that {makers[graph.states[t].next]} writes anew"
                if earlier:
                    self._before[t] = earlier[-1]
                    what += f", written over {self._places['tensor:' + earlier[-1]].macro}"
                kind = makers.get(t, "input")
                if t in graph.states:
                    kind = f"{makers[graph.states[t].next]}_before"
                size = graph.tensors[t].stored_bytes
                at = block.offset + shift
                self._add(f"tensor:{t}", kind, "AT", at, size, (first, last), what)
        self._spans = {
            b.names[0].removeprefix("scratch:"): (b.first, b.last)
            for b in memory.blocks
            if b.names[0].startswith("scratch:")
        }

    def _add(
        self, key: str, name: str, kind: str, offset: int, size: int, span: tuple[int, int],
        what: str,
    ) -> Place:  # fmt: skip
        taken = {p.macro for p in self._places.values()}
        stem = f"{self._prefix}_{kind}_{name.upper()}"
        macro, n = stem, 2
        while macro in taken:
            macro, n = f"{stem}_{n}", n + 1
        place = Place(macro, offset, size, *span, what)
        self._places[key] = place
        return place

    def at(self, tensor: str) -> Place:
        """Where a tensor lies."""
        return self._places[f"tensor:{tensor}"]

    def expression(self, tensor: str) -> str:
        """C pointer to a tensor, in the arena or in flash."""
        return self._fixed.get(tensor) or self.at(tensor).expression

    def same(self, a: str, b: str) -> bool:
        """Whether two tensors begin at one place of the arena."""
        return a not in self._fixed and self.at(a).offset == self.at(b).offset

    def part_of(self, tensor: str, whole: str, byte: int) -> bool:
        """Whether a tensor lies at that byte of another one, alive with it."""
        if tensor in self._fixed:
            return False
        return self.at(tensor).offset == self.at(whole).offset + byte

    def over(self, tensor: str) -> Place | None:
        """The place of the tensor over which `tensor` is written, if it is."""
        before = self._before.get(tensor)
        return self.at(before) if before is not None else None

    def part(self, owner: str, kind: str, of: str, offset: int, size: int, what: str) -> Place:
        """Name `size` bytes at `offset` in the scratch of step `owner`: "SCRATCH", "KEPT", "RING"
        of layer `of`."""
        begin = self._memory.scratch.get(owner, 0)
        span = self._spans.get(owner, (0, 0))
        key = f"{kind}:{of}"
        return self._add(key, self._names[of], kind, begin + offset, size, span, what)

    def scratch(self, owner: str) -> int:
        """Bytes of the scratch of a layer or a chain."""
        name = f"scratch:{owner}"
        return next((b.size for b in self._memory.blocks if b.names[0] == name), 0)

    @property
    def places(self) -> Iterable[Place]:
        """By offset, then by time."""
        return sorted(self._places.values(), key=lambda p: (p.offset, p.first, -p.size))
