"""The rows that a network of a step keeps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Node
from secateur.lowering.lowerer import Lowering, stored_shape
from secateur.lowering.operators.pool import averaged
from secateur.lowering.qgraph import QGraph, QOp, QTensor, Requant, State
from secateur.lowering.reference import requantize
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


@dataclass
class QAppend(QOp):
    """The rows kept so far and, behind them, the new row: inputs as of `QPush`; output
    (C, rows + 1, F) or (C, 1, rows + 1)."""

    kind: ClassVar[str] = "append"


@executes(QAppend)
def _append(qgraph: QGraph, op: QAppend, inputs: list[np.ndarray]) -> np.ndarray:
    flat = [v.reshape(*v.shape[:2], -1) for v in inputs]
    return np.concatenate(flat, axis=2)


@dataclass
class QKeep(QOp):
    """Of the rows of each channel those but the oldest."""

    kind: ClassVar[str] = "keep"


@executes(QKeep)
def _keep(qgraph: QGraph, op: QKeep, inputs: list[np.ndarray]) -> np.ndarray:
    flat = inputs[0].reshape(*inputs[0].shape[:2], -1)
    size = qgraph.tensors[op.output].size // flat.shape[1]
    return np.ascontiguousarray(flat[:, :, flat.shape[2] - size :])


@dataclass(frozen=True)
class SumRing:
    """How the sums of the last rows lie in a state, little endian: each channel's sum over all of
    them in `sum_bytes`, the place of the oldest row in two bytes, then the rows' own sums.

    A row's: a byte a channel, the low ones; where codes of several elements (at most 257) add up,
    behind those the bits above, channel after channel, the first in the lowest bits.
    """

    rows: int
    channels: int
    elements: int  #: of a channel in a row

    @property
    def most(self) -> int:
        """Largest sum of a row."""
        return 255 * self.elements

    @property
    def sum_bytes(self) -> int:
        """Of a channel's sum over all rows."""
        return 2 if self.rows * self.most < 2**16 else 4

    @property
    def high_bits(self) -> int:
        """Of a row's sum, behind the low byte."""
        return self.most.bit_length() - 8

    @property
    def row_bytes(self) -> int:
        """Of the sums of a row."""
        return self.channels + (self.channels * self.high_bits + 7) // 8

    @property
    def start(self) -> int:
        """Where the first row lies."""
        return self.sum_bytes * self.channels + 2

    @property
    def size(self) -> int:
        """Bytes of the state."""
        return self.start + self.rows * self.row_bytes

    def sums(self, state: np.ndarray) -> np.ndarray:
        """Of a state uint8 [n, size]: int64 [n, channels]."""
        raw = np.ascontiguousarray(state[:, : self.sum_bytes * self.channels])
        return raw.view(f"<u{self.sum_bytes}").astype(np.int64)

    def row(self, bytes_: np.ndarray) -> np.ndarray:
        """Sums of a row, int64 [n, channels], from its bytes uint8 [n, row_bytes]."""
        low = bytes_[:, : self.channels].astype(np.int64)
        if not self.high_bits:
            return low
        bits = np.unpackbits(bytes_[:, self.channels :], axis=1, bitorder="little")
        bits = bits[:, : self.channels * self.high_bits].reshape(*low.shape, -1)
        return low + (bits.astype(np.int64) << (8 + np.arange(self.high_bits))).sum(axis=2)

    def bytes_of(self, sums: np.ndarray) -> np.ndarray:
        """The inverse."""
        bits = (sums[:, :, None] >> (8 + np.arange(self.high_bits))) & 1
        high = np.packbits(bits.reshape(len(sums), -1).astype(np.uint8), axis=1, bitorder="little")
        return np.concatenate([(sums & 255).astype(np.uint8), high], axis=1)


@dataclass
class QSlide(QOp):
    """The sums of the last rows, one row later: inputs are their state and the new row (C, 1, F),
    whose sums take the oldest row's place."""

    ring: SumRing
    kind: ClassVar[str] = "slide"


@dataclass
class QSlidingMean(QOp):
    """The mean of the last rows and the new one, from their state and the new row: the sum of the
    codes, requantized as that of a mean pooling."""

    ring: SumRing
    requant: Requant
    kind: ClassVar[str] = "sliding_mean"


def _row_sums(ring: SumRing, row: np.ndarray) -> np.ndarray:
    return row.reshape(len(row), ring.channels, -1).sum(axis=2, dtype=np.int64)


@executes(QSlide)
def _slide(qgraph: QGraph, op: QSlide, inputs: list[np.ndarray]) -> np.ndarray:
    ring, state = op.ring, inputs[0].copy()
    new, sums = _row_sums(ring, inputs[1]), ring.sums(state)
    for i, s in enumerate(state):
        at = int(s[ring.start - 2]) + 256 * int(s[ring.start - 1])
        place = slice(ring.start + at * ring.row_bytes, ring.start + (at + 1) * ring.row_bytes)
        sums[i] += new[i] - ring.row(s[None, place])[0]
        s[place] = ring.bytes_of(new[i : i + 1])[0]
        at = (at + 1) % ring.rows
        s[ring.start - 2], s[ring.start - 1] = at & 255, at >> 8
    state[:, : ring.start - 2] = sums.astype(f"<u{ring.sum_bytes}").view(np.uint8)
    return state


@executes(QSlidingMean)
def _sliding_mean(qgraph: QGraph, op: QSlidingMean, inputs: list[np.ndarray]) -> np.ndarray:
    total = op.ring.sums(inputs[0]) + _row_sums(op.ring, inputs[1])
    return requantize(total[:, None, :], op.requant).reshape(total.shape)


@lowers("mean_of_last")
def _mean_of_last(lo: Lowering, node: Node) -> None:
    x, rows = lo.settle(node.inputs[0]), int(node.attr("rows"))
    if x.wide:
        raise ModelError(f"{node.title} adds up 16-bit rows; stream the network in 8 bits")
    ring = SumRing(rows - 1, x.shape[0], x.size // x.shape[0])
    y, requant = averaged(lo, node, x, lo.new(node), (rows * ring.elements,))
    after = QTensor(f"{node.output}_sums", (ring.size,), 1.0, 0)
    before = replace(after, name=f"{after.name}_before")
    lo.q.tensors |= {t.name: t for t in (after, before)}
    lo.q.states[before.name] = State(after.name, 0)
    lo.emit(QSlidingMean(node.name, (before.name, x.name), y.name, ring, requant))
    lo.emit(QSlide(f"{node.name}_slide", (before.name, x.name), after.name, ring))


@lowers("last_rows")
def _last_rows(lo: Lowering, node: Node) -> None:
    x = lo.settle(node.inputs[0])
    if x.wide:
        raise ModelError(f"{node.title} keeps 16-bit rows; stream the network in 8 bits")
    shape = stored_shape(node.shape)
    y = lo.declare(node, replace(x, name=node.output, shape=shape, planes=(), packed=False))
    if not node.attr("apart"):
        before = replace(y, name=f"{node.output}_before")
        lo.q.tensors[before.name] = before
        lo.q.states[before.name] = State(y.name, x.zero_point)
        lo.emit(QPush(node.name, (before.name, x.name), y.name))
        return
    axis = 1 if shape[1] > 1 else 2
    kept = replace(y, name=f"{node.output}_kept",
                   shape=tuple(n - (i == axis) for i, n in enumerate(shape)))  # fmt: skip
    before = replace(kept, name=f"{kept.name}_before")
    lo.q.tensors |= {t.name: t for t in (kept, before)}
    lo.q.states[before.name] = State(kept.name, x.zero_point)
    lo.emit(QAppend(node.name, (before.name, x.name), y.name))
    lo.emit(QKeep(f"{node.name}_keep", (y.name,), kept.name))
