"""Who lowers which float operator, and who executes which integer operator.

A file in lowering/operators/ registers both: `@lowers("op")` a rule from the float graph's
operator, `@executes(QOp)` the reference's arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph, Node

if TYPE_CHECKING:
    from secateur.lowering.lowerer import Lowering
    from secateur.lowering.qgraph import QGraph, QOp

Rule = Callable[["Lowering", Node], None]
Execution = Callable[["QGraph", Any, list[np.ndarray]], np.ndarray]
Verification = Callable[["QGraph", Any], None]
F = TypeVar("F", bound=Callable[..., Any])

#: What of a node has no integer form, and a way out, as two clauses; None where all has.
Limit = Callable[[Graph, Node], "tuple[str, str] | None"]

_RULES: dict[str, Rule] = {}
_WIDE: dict[str, Rule] = {}  #: those that read and write 16-bit tensors, too
_LIMITS: dict[str, Limit] = {}
_EXECUTIONS: dict[type[QOp], Execution] = {}
_VERIFICATIONS: dict[type[QOp], Verification] = {}


def lowers(*ops: str, wide: bool = False) -> Callable[[F], F]:
    """Decorator: a rule `(lowering, node)` for float operators.

    wide: whether it is the rule where operands or output have 16 bits, too.
    """

    def add(rule: F) -> F:
        for op in ops:
            _RULES[op] = rule
            if wide:
                _WIDE[op] = rule
        return rule

    return add


def lowers_wide(*ops: str) -> Callable[[F], F]:
    """Decorator: the rule for operators one of whose operands, or whose output, has 16 bits."""

    def add(rule: F) -> F:
        for op in ops:
            _WIDE[op] = rule
        return rule

    return add


def wide_lowering_of(node: Node) -> Rule | None:
    """The rule for a node with a 16-bit end; None where its operator knows 8 bits alone."""
    _load()
    return _WIDE.get(node.op)


def wide_ops() -> frozenset[str]:
    """Every float operator that has a 16-bit form."""
    _load()
    return frozenset(_WIDE)


def limits(*ops: str) -> Callable[[F], F]:
    """Decorator: `(graph, node)` gives what of an operator with a rule cannot be lowered."""

    def add(limit: F) -> F:
        for op in ops:
            _LIMITS[op] = limit
        return limit

    return add


def executes(kind: type[QOp]) -> Callable[[F], F]:
    """Decorator: the exact execution `(qgraph, op, inputs) -> codes` of an integer operator.

    inputs: uint8 [N, C, H, W] or [N, n] (or what the tensor's dtype says), output alike.
    """

    def add(execution: F) -> F:
        _EXECUTIONS[kind] = execution
        return execution

    return add


def verifies(kind: type[QOp]) -> Callable[[F], F]:
    """Decorator: `(qgraph, op)` raises InvalidGraphError (verify.py) where `op` is not sound."""

    def add(check: F) -> F:
        _VERIFICATIONS[kind] = check
        return check

    return add


@cache
def _load() -> None:
    package = import_module("secateur.lowering.operators")
    for module in iter_modules(package.__path__):
        import_module(f"{package.__name__}.{module.name}")


def lowering_of(node: Node) -> Rule:
    """The rule for a node. Raises ModelError where its operator has no integer form."""
    _load()
    rule = _RULES.get(node.op)
    if rule is None:
        raise ModelError(Obstacle(node, *NO_RULE).sentence)
    return rule


NO_RULE = (
    "has no integer form yet",
    "replace it, or leave it out and do its work behind the model",
)


@dataclass(frozen=True)
class Obstacle:
    """What keeps a graph from being lowered: a node (None: the graph), why, and a way out."""

    node: Node | None
    why: str
    way_out: str

    @property
    def sentence(self) -> str:
        """As one sentence of a message."""
        if self.node is not None and self.node.op == "opaque":
            return str(self.node.attrs["reason"])  # the reader's own sentence
        title = self.node.title if self.node else "the model"
        return f"{title} {self.why}; {self.way_out}"


def obstacles(graph: Graph) -> list[Obstacle]:
    """Everything of a simplified graph that has no integer form, in execution order."""
    _load()
    found = []
    for node in graph.nodes:
        if node.op not in _RULES:
            found.append(Obstacle(node, *NO_RULE))
            continue
        limit = _LIMITS.get(node.op)
        reason = limit(graph, node) if limit else None
        if reason is not None:
            found.append(Obstacle(node, *reason))
    return found


def lowered_ops() -> frozenset[str]:
    """Every float operator that has a rule."""
    _load()
    return frozenset(_RULES)


def execution_of(op: QOp) -> Execution:
    """How the reference executes an integer operator."""
    _load()
    return _EXECUTIONS[type(op)]


def verification_of(op: QOp) -> Verification | None:
    """What an integer operator promises, None where its file says nothing."""
    _load()
    return _VERIFICATIONS.get(type(op))
