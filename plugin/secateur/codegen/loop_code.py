"""The C of loops over time: states set before the first turn, operators once a turn."""

from __future__ import annotations

from collections.abc import Mapping

from ..lowering.qgraph import QGraph, QOp, TimeLoop
from .arena import ArenaMap
from .kernels import Layer


def fill(graph: QGraph, arena: ArenaMap, tensor: str) -> str:
    """C that sets a state to its initial value: a byte repeated, 0 for wider elements."""
    t, value = graph.tensors[tensor], graph.states[tensor].initial
    if t.dtype != "uint8" and value:
        raise ValueError(f"state {tensor} of {t.dtype} begins with {value}")
    return f"sc_fill({arena.expression(tensor)}, {value}, {t.stored_bytes});"


class LoopCode:
    """Collects the statements of a loop's operators; gives them out as one when it is complete."""

    def __init__(self, graph: QGraph, arena: ArenaMap, layers: Mapping[str, Layer[QOp]]) -> None:
        self._graph, self._arena, self._layers = graph, arena, layers
        self._inside = graph.by_loop()
        self._texts: list[str] = []

    def add(self, op: QOp, text: str) -> list[str]:
        """What is complete with the statements `text` of `op`, the next operator."""
        loop = self._inside.get(op.name)
        if loop is None:
            return [text]
        self._texts.append(text)
        if op.name != loop.last:
            return []
        texts, self._texts = self._texts, []
        return [self._whole(loop, texts)]

    def _whole(self, loop: TimeLoop, texts: list[str]) -> str:
        states = [t for t, s in self._graph.states.items() if s.loop == loop.name]
        first = self._layers[loop.first].c_name
        lines = [f"/* {first}: the first of {len(texts)} operators in {loop.turns} turns */"]
        lines += [fill(self._graph, self._arena, t) for t in states]
        lines.append(f"for (int turn = 0; turn < {loop.turns}; turn++) {{")
        for text in texts:
            lines += [f"    {line}" if line else line for line in text.split("\n")]
        return "\n".join([*lines, "}"])
