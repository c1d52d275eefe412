"""Who lowers which float operator, and who executes which integer operator.

A file in lowering/operators/ registers both: `@lowers("op")` a rule from the float graph's
operator, `@executes(QOp)` the reference's arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node

if TYPE_CHECKING:
    from secateur.lowering.lowerer import Lowering
    from secateur.lowering.qgraph import QGraph, QOp

Rule = Callable[["Lowering", Node], None]
Execution = Callable[["QGraph", Any, list[np.ndarray]], np.ndarray]
F = TypeVar("F", bound=Callable[..., Any])

_RULES: dict[str, Rule] = {}
_EXECUTIONS: dict[type[QOp], Execution] = {}


def lowers(*ops: str) -> Callable[[F], F]:
    """Decorator: a rule `(lowering, node)` for float operators."""

    def add(rule: F) -> F:
        for op in ops:
            _RULES[op] = rule
        return rule

    return add


def executes(kind: type[QOp]) -> Callable[[F], F]:
    """Decorator: the exact execution `(qgraph, op, inputs) -> codes` of an integer operator.

    inputs: uint8 [N, C, H, W] or [N, n] (or what the tensor's dtype says), output alike.
    """

    def add(execution: F) -> F:
        _EXECUTIONS[kind] = execution
        return execution

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
        raise ModelError(
            f"layer '{node.name}' ({node.op}) has no integer form yet; replace it, or leave it out "
            "and do its work behind the model"
        )
    return rule


def lowered_ops() -> frozenset[str]:
    """Every float operator that has a rule."""
    _load()
    return frozenset(_RULES)


def execution_of(op: QOp) -> Execution:
    """How the reference executes an integer operator."""
    _load()
    return _EXECUTIONS[type(op)]
