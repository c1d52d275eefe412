"""Integer operators that move elements and compute nothing: copies and other names.

Every slice, transposition, concatenation, padding and repetition of the float graph ends as a map
from the output's positions to addresses in the inputs (`lowerer.Value`); what no reader can take in
becomes one QCopy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from secateur.lowering.qgraph import QGraph, QOp
from secateur.lowering.registry import executes


@dataclass
class QCopy(QOp):
    """u[i] = tables[s][x[at[i]]], x the inputs one behind the other, s the one that at[i] is in.

    at: int64 [size of the output], as stored; -1: the code `fill`. tables: for each input uint8
    [256] from its codes to the output's, or None where they are the same.
    """

    at: np.ndarray
    fill: int = 0
    tables: tuple[np.ndarray | None, ...] = ()
    kind: ClassVar[str] = "copy"


@dataclass
class QView(QOp):
    """The same bytes under another shape."""

    kind: ClassVar[str] = "view"


@dataclass
class QAlias(QView):
    """The same bytes, standing for other real numbers."""

    kind: ClassVar[str] = "alias"
    turns: ClassVar[bool] = True


@executes(QCopy)
def _copy(qgraph: QGraph, op: QCopy, inputs: list[np.ndarray]) -> np.ndarray:
    parts = [
        v.reshape(len(v), -1) if t is None else t[v.reshape(len(v), -1)]
        for v, t in zip(inputs, op.tables, strict=True)
    ]
    x = np.concatenate(parts, axis=1)
    return np.where(op.at < 0, x.dtype.type(op.fill), x[:, np.maximum(op.at, 0)])


@executes(QAlias)
@executes(QView)
def _view(qgraph: QGraph, op: QView, inputs: list[np.ndarray]) -> np.ndarray:
    return inputs[0]
