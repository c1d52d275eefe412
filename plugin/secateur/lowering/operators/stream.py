"""The rows that a network of a step keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, stored_shape
from secateur.lowering.qgraph import QGraph, QOp, State
from secateur.lowering.registry import executes, lowers


@dataclass
class QPush(QOp):
    """Of each channel the rows but the oldest, then the new one: inputs are the rows kept so far
    (C, rows, F) or (C, 1, rows) and the new row (C, 1, F) or (C, 1, 1)."""

    kind: ClassVar[str] = "push"


@executes(QPush)
def _push(qgraph: QGraph, op: QPush, inputs: list[np.ndarray]) -> np.ndarray:
    kept, row = inputs
    n, c = kept.shape[:2]
    flat, new = kept.reshape(n, c, -1), row.reshape(n, c, -1)
    return np.concatenate([flat[:, :, new.shape[2] :], new], axis=2)


@lowers("last_rows")
def _last_rows(lo: Lowering, node: Node) -> None:
    x = lo.settle(node.inputs[0])
    if x.wide:
        raise ModelError(f"{node.title} keeps 16-bit rows; stream the network in 8 bits")
    shape = stored_shape(node.shape)
    y = lo.declare(node, replace(x, name=node.output, shape=shape, planes=(), packed=False))
    before = replace(y, name=f"{node.output}_before")
    lo.q.tensors[before.name] = before
    lo.q.states[before.name] = State(y.name, x.zero_point)
    lo.emit(QPush(node.name, (before.name, x.name), y.name))
