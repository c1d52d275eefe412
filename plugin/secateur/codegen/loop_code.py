"""The C of time: loops whose states are set before the first turn, networks of a step whose
operators run when they are due."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..lowering.qgraph import Due, QGraph, QOp, TimeLoop
from ..lowering.streaming import cycle
from .arena import ArenaMap
from .kernels import Layer
from .memory import MemoryPlan


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


def condition(due: Due | None) -> str:
    """C that is true in the steps in which something is due; "" where that is all of them."""
    if due is None or (due.period == 1 and due.offset == 0):
        return ""
    late = f"now >= {due.offset}u" if due.offset else ""
    if due.period == 1:
        return late
    since = f"(now - {due.offset}u)" if due.offset else "now"
    turn = f"{since} % {due.period}u == 0u"
    return f"{late} && {turn}" if late else turn


class TimedCode:
    """Statements of operators, those that are due together behind one condition, to `steps`."""

    def __init__(self, graph: QGraph, steps: list[str]) -> None:
        self._graph, self._steps = graph, steps
        self._when, self._texts = "", list[str]()

    def add(self, op: QOp, text: str) -> None:
        """The statements of the next operator, or of a loop that ends with it."""
        when = condition(self._graph.due.get(op.name))
        if when != self._when:
            self.end()
            self._when = when
        self._texts.append(text)

    def end(self) -> None:
        """What has been added is complete."""
        if self._when and self._texts:
            lines = [line for text in self._texts for line in text.split("\n")]
            inner = "\n".join(f"    {line}" if line else line for line in lines)
            self._texts = [f"if ({self._when}) {{\n{inner}\n}}"]
        self._steps += self._texts
        self._texts, self._when = [], ""


@dataclass(frozen=True)
class StreamCode:
    """What model.c.j2 knows of a network of a step."""

    counter: int  #: offset of the count of steps in the arena
    first: int  #: the count begins again here ...
    end: int  #: ... when it would reach this
    fills: list[str]  #: statements that set the states
    waits: str  #: condition under which there is an output
    warm_up: int  #: steps without an output before the first
    period: int
    hop: int  #: frames of one call, where that is not one


def stream_code(graph: QGraph, arena: ArenaMap, memory: MemoryPlan) -> StreamCode | None:
    """None for a network of a window."""
    if graph.step_due is None or memory.counter is None:
        return None
    first, length = cycle(graph)
    fills = [fill(graph, arena, t) for t, s in graph.states.items() if not s.loop]
    due = graph.step_due
    return StreamCode(
        memory.counter,
        first,
        first + length,
        fills,
        condition(due),
        due.offset,
        due.period,
        graph.hop,
    )
