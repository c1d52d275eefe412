"""Recurrent layers: a loop over time whose products are ordinary fully connected layers.

docs/integer-spec.md, "Recurrent layers". Both products of a turn (input with kernel, hidden state
with recurrent kernel) are `QSums`, so that every encoding and kernel of a Dense layer applies to
them; what is a recurrent layer's own is here: the gates, the states, the way through time.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph, Node
from secateur.frontend.ops.recurrent import GATES, Named, evaluate
from secateur.lowering.lowerer import Lowering, Value, affine, stored_shape
from secateur.lowering.qgraph import (
    QGraph,
    QOp,
    QPutTime,
    QSums,
    QTakeTime,
    QTensor,
    ShortRequant,
    State,
    TimeLoop,
)
from secateur.lowering.registry import executes, limits, lowers, verifies
from secateur.lowering.requant import DoesNotFitError, requantize
from secateur.lowering.weights import QWeights, quantize_weights

SEGMENTS = 256  #: of a curve
_FINEST = 11  #: bits behind the point of pre-activations, at most: +-16
_INT16 = 32767

#: Half the width of a curve's domain, log2, where its values beyond are those at its ends (to
#: 3.4e-4 of the sigmoid, 6.7e-4 of tanh).
_DOMAINS = {"sigmoid": 3, "tanh": 2, "hard_sigmoid": 2, "hard_tanh": 0}


#: Functions that the gates of a cell may have: bounded by one; where a share of the old and one of
#: the new add up to one, not below 0.
_GATES: dict[str, tuple[str, ...]] = {
    "lstm": tuple(_DOMAINS), "gru": ("sigmoid", "hard_sigmoid"), "rnn": (),
}  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A function as 256 straight pieces between the values of a table.

    For p with `point` bits behind the point: q = clamp(p, -2^w, 2^w - 1) + 2^w, w = reach + point,
    i = q >> s, f = q & (2^s - 1), s = w - 7, and the value is
    t[i] + (((t[i + 1] - t[i]) * f + 2^(s - 1)) >> s), with 15 - extent bits behind the point.
    """

    name: str
    table: np.ndarray  #: int16 [257]
    reach: int  #: log2 of half the domain's width
    point: int
    extent: int  #: values lie in -2^extent .. 2^extent

    @property
    def shift(self) -> int:
        """Bits of a piece, s."""
        return self.reach + self.point - 7

    def __call__(self, p: np.ndarray) -> np.ndarray:
        """int64 values of int64 arguments."""
        top = 1 << (self.reach + self.point)
        q = np.clip(p, -top, top - 1) + top
        i, f = q >> self.shift, q & ((1 << self.shift) - 1)
        t = self.table.astype(np.int64)
        half = (1 << self.shift) >> 1
        return np.asarray(t[i] + (((t[i + 1] - t[i]) * f + half) >> self.shift))


def curve(function: Named, point: int) -> Curve:
    """The curve of a function for arguments with `point` bits behind the point."""
    reach = _DOMAINS.get(function[0], 15 - point)
    reach = max(min(reach, 15 - point), 7 - point)
    x = np.linspace(-(2.0**reach), 2.0**reach, SEGMENTS + 1)
    with np.errstate(all="ignore"):
        y = np.nan_to_num(evaluate(function, x.astype(np.float32)).astype(np.float64))
    extent = max(0, int(np.ceil(np.log2(max(np.abs(y).max(), 2.0**-14)) - 1e-9)))
    table = np.clip(np.floor(y * 2.0 ** (15 - extent) + 0.5), -_INT16, _INT16)
    words = "_".join([function[0], *(f"{v:g}" for _, v in function[1])])
    return Curve(words, table.astype(np.int16), reach, point, extent)


@dataclass
class QLstmCell(QOp):
    """Cell state c' of an LSTM from both pre-activations (i, f, c, o) and c, int16.

    c' = clamp((f * c + ((i * g) >> shift) + 2^14) >> 15); i, f = gate(a + b), g = function(a + b).
    """

    gate: Curve
    function: Curve
    shift: int
    kind: ClassVar[str] = "lstm_cell"


@dataclass
class QLstmHidden(QOp):
    """Hidden state of an LSTM: code of o * function(c'), o from both pre-activations.

    u = clamp((((o * function(c')) >> 15) * multiplier + offset) >> narrow).
    """

    gate: Curve
    function: Curve
    multiplier: int
    offset: int
    narrow: int
    kind: ClassVar[str] = "lstm_hidden"


@dataclass
class QGruReset(QOp):
    """r * h of a GRU whose reset gate acts before the product, in the codes of h:
    u = clamp(z + ((r * (h - z) + 2^14) >> 15)), r = gate of the second third of a + b."""

    gate: Curve
    kind: ClassVar[str] = "gru_reset"


@dataclass
class QGruState(QOp):
    """State s' of a GRU, int16: (z * s + (2^15 - z) * n + 2^14) >> 15.

    z, r = gate(a + b), n = function(a + ((r * b) >> 15)), or function(a + d) where r has acted
    before: then inputs[2] is d, the product for n alone, and b has z and r alone.
    """

    gate: Curve
    function: Curve
    reset_after: bool
    kind: ClassVar[str] = "gru_state"


@dataclass
class QNarrow(QOp):
    """int16 to a code: u = clamp((v * multiplier + offset) >> narrow)."""

    multiplier: int
    offset: int
    narrow: int
    kind: ClassVar[str] = "narrow"


@dataclass
class QRnnHidden(QOp):
    """u = clamp((function(a + b) * multiplier + offset) >> narrow)."""

    function: Curve
    multiplier: int
    offset: int
    narrow: int
    kind: ClassVar[str] = "rnn_hidden"


def _wide(v: np.ndarray) -> np.ndarray:
    return v.astype(np.int64)


def _code(op: QNarrow | QRnnHidden | QLstmHidden, v: np.ndarray) -> np.ndarray:
    u = (v * op.multiplier + op.offset) >> op.narrow
    return np.clip(u, 0, 255).astype(np.uint8)


@executes(QLstmCell)
def _lstm_cell(qgraph: QGraph, op: QLstmCell, inputs: list[np.ndarray]) -> np.ndarray:
    p, c = _wide(inputs[0]) + _wide(inputs[1]), _wide(inputs[2])
    u = c.shape[1]
    i, f, g = op.gate(p[:, :u]), op.gate(p[:, u : 2 * u]), op.function(p[:, 2 * u : 3 * u])
    total = (f * c + ((i * g) >> op.shift) + 2**14) >> 15
    return np.clip(total, -32768, 32767).astype(np.int16)


@executes(QLstmHidden)
def _lstm_hidden(qgraph: QGraph, op: QLstmHidden, inputs: list[np.ndarray]) -> np.ndarray:
    c = _wide(inputs[2])
    u = c.shape[1]
    o = op.gate(_wide(inputs[0])[:, 3 * u :] + _wide(inputs[1])[:, 3 * u :])
    return _code(op, (o * op.function(c)) >> 15)


@executes(QGruReset)
def _gru_reset(qgraph: QGraph, op: QGruReset, inputs: list[np.ndarray]) -> np.ndarray:
    h, z = _wide(inputs[2]), qgraph.tensors[op.output].zero_point
    u = h.shape[1]
    r = op.gate(_wide(inputs[0])[:, u : 2 * u] + _wide(inputs[1])[:, u : 2 * u])
    return np.clip(z + ((r * (h - z) + 2**14) >> 15), 0, 255).astype(np.uint8)


@executes(QGruState)
def _gru_state(qgraph: QGraph, op: QGruState, inputs: list[np.ndarray]) -> np.ndarray:
    a, b, s = _wide(inputs[0]), _wide(inputs[1]), _wide(inputs[-1])
    u = s.shape[1]
    z = op.gate(a[:, :u] + b[:, :u])
    if op.reset_after:
        r = op.gate(a[:, u : 2 * u] + b[:, u : 2 * u])
        n = op.function(a[:, 2 * u :] + ((r * b[:, 2 * u :]) >> 15))
    else:
        n = op.function(a[:, 2 * u :] + _wide(inputs[2]))
    return ((z * s + (2**15 - z) * n + 2**14) >> 15).astype(np.int16)


@executes(QNarrow)
def _narrow(qgraph: QGraph, op: QNarrow, inputs: list[np.ndarray]) -> np.ndarray:
    return _code(op, _wide(inputs[0]))


@executes(QRnnHidden)
def _rnn_hidden(qgraph: QGraph, op: QRnnHidden, inputs: list[np.ndarray]) -> np.ndarray:
    return _code(op, op.function(_wide(inputs[0]) + _wide(inputs[1])))


@limits("recurrent", "cell_state")
def _limits(graph: Graph, node: Node) -> tuple[str, str] | None:
    if node.attr("stateful"):
        return (
            "keeps its state from one call to the next (stateful=True), where an inference of a "
            "whole window begins anew",
            "convert with streaming=True, or build the layer with stateful=False",
        )
    gate, allowed = node.attr("gate"), _GATES[str(node.attr("cell"))]
    if allowed and gate[0] not in allowed:
        return (
            f"has gates of the function '{gate[0]}'",
            f"use {' or '.join(allowed)} as recurrent_activation",
        )
    return None


class _Parts:
    """A recurrent node on its way: its tensors and operators have its name before their own."""

    def __init__(self, lo: Lowering, node: Node, x: QTensor) -> None:
        self.lo, self.node, self.x = lo, node, x
        self.cell = str(node.attr("cell"))
        self.units = int(node.params["recurrent"].shape[0])
        low, high = lo.ranges[f"{node.output}/hidden"]
        levels = int(node.attr("hidden_levels"))
        scale, zero = (1 / levels, levels) if levels else affine(low, high)
        self.hidden = self.tensor("hidden_before", self.units, scale, zero)
        if 0 < levels < 127:  # codes 0 .. 2 * levels
            planes = tuple(1 << k for k in range((2 * levels).bit_length()))
            self.hidden = replace(self.hidden, planes=planes)
            lo.q.tensors[self.hidden.name] = self.hidden
        self.kernel = _alike(quantize_weights(node.params["kernel"].T))
        self.recurrent = _alike(quantize_weights(node.params["recurrent"].T))
        self.point = self._point()

    def name(self, part: str) -> str:
        return f"{self.node.name}_{part}"

    def tensor(
        self, part: str, size: int, scale: float, zero: int = 0, dtype: str = "uint8"
    ) -> QTensor:
        """Declare a vector."""
        t = QTensor(self.name(part), (size,), scale, zero, dtype=dtype)
        self.lo.q.tensors[t.name] = t
        return t

    def emit(self, kind: type[QOp], part: str, inputs: tuple[QTensor, ...], y: QTensor,
             *rest: object) -> QTensor:  # fmt: skip
        self.lo.emit(kind(self.name(part), tuple(t.name for t in inputs), y.name, *rest))
        return y

    def _point(self) -> int:
        """Bits behind the point of pre-activations: the most with which both products'
        multipliers fit and, where the function goes on for ever, all that calibration has seen."""
        most = _FINEST
        if self.node.attr("function")[0] not in _DOMAINS:
            ends = [self.lo.ranges[f"{self.node.output}/{k}"] for k in ("input_sums", "state_sums")]
            seen = max(sum(max(abs(v) for v in e) for e in ends), 2.0**-10)
            most = min(most, 14 - int(np.ceil(np.log2(seen))))
        parts = ((self.x, self.kernel), (self.hidden, self.recurrent))
        biases = [self.node.params.get(k) for k in ("bias", "recurrent_bias")]
        for point in range(most, 3, -1):
            try:
                for (x, weights), bias in zip(parts, biases, strict=True):
                    _wide_requant(x, weights, bias, 2.0**-point)
            except DoesNotFitError:
                continue
            return point
        raise ModelError(
            f"{self.node.title} has inputs or weights too large for its pre-activations; scale "
            "the data as in training, or check the calibration data"
        )

    def sums(self, part: str, x: QTensor, weights: QWeights, bias: np.ndarray | None) -> QTensor:
        """One product of a turn, as int16."""
        y = self.tensor(f"{part}_sums", len(weights.values), 2.0**-self.point, dtype="int16")
        try:
            wide = _wide_requant(x, weights, bias, y.scale)
        except DoesNotFitError as e:
            raise ModelError(
                f"{self.node.title} has biases or sums beyond the fixed-point arithmetic; check "
                "its weights"
            ) from e
        self.lo.emit(QSums(self.name(part), (x.name,), y.name, weights.values, wide, weights.bits))
        return y

    def rows(self, weights: QWeights, rows: slice) -> QWeights:
        """Some gates of a matrix."""
        return replace(weights, values=weights.values[rows], scale=weights.scale[rows])

    def narrow(self, extent: int, y: QTensor) -> tuple[int, int, int]:
        """(multiplier, offset, shift) from int16 with 15 - extent bits behind the point to y."""
        return narrow(2.0 ** (extent - 15), y)


def _alike(weights: QWeights) -> QWeights:
    """The same real weights, rows of few small integers (+-1) taken as multiples, where others
    have integers up to 127: multipliers of one layer have one shift."""
    w = weights.values.astype(np.int64)
    reach = 255 * np.abs(w).sum(axis=1).max(initial=0)
    if weights.kind == "ternary" or reach <= _INT16 or np.ptp(weights.scale) == 0:
        return weights
    times = 127 // np.maximum(np.abs(w).max(axis=1), 1)
    values = (w * times[:, None]).astype(np.int8)
    return replace(weights, values=values, scale=weights.scale / times)


def _wide_requant(
    x: QTensor, weights: QWeights, bias: np.ndarray | None, scale: float
) -> ShortRequant:
    """Constants from the sums of x with `weights` to int16 of `scale`. Raises DoesNotFitError."""
    w = weights.values.astype(np.int64)
    low, high = x.top * np.minimum(w, 0).sum(axis=1), x.top * np.maximum(w, 0).sum(axis=1)
    b = np.zeros(len(w)) if bias is None else bias.astype(np.float64)
    r, _ = requantize(
        x.scale * weights.scale / scale, b / scale, x.zero_point * w.sum(axis=1), low, high
    )
    if r.shift < 1:
        raise DoesNotFitError
    return ShortRequant(r.multiplier, r.offset, r.pre_shift, r.shift)


def narrow(scale: float, y: QTensor) -> tuple[int, int, int]:
    """(multiplier, offset, shift) from int16 of `scale` to the codes of y."""
    ratio = scale / y.scale
    for f in range(24, 0, -1):
        m, c = round(ratio * 2.0**f), round((y.zero_point + 0.5) * 2.0**f)
        if m <= _INT16 and 32768 * m + c < 2**31:
            return m, c, f
    raise DoesNotFitError


@lowers("recurrent")
def _recurrent(lo: Lowering, node: Node) -> None:
    source = lo.settle(node.inputs[0])
    if node.attr("step"):  # of a stream: one turn, the state is the stream's
        t = step(lo, node, replace(source, shape=(source.size,)), "")
        lo.declare(node, replace(lo.q.tensors[t], shape=stored_shape(node.shape)))
        return
    channels, turns = source.shape[0], source.size // source.shape[0]
    row = replace(
        source, name=f"{node.name}_row", shape=(channels,), planes=(), packed=False
    )  # fmt: skip
    lo.q.tensors[row.name] = row
    first = QTakeTime(row.name, (source.name,), row.name, bool(node.attr("reverse")))
    lo.emit(first)
    hidden = step(lo, node, row, node.name)
    if node.attr("sequence"):
        y = replace(lo.q.tensors[hidden], name=node.output, shape=stored_shape(node.shape))
        lo.declare(node, y)
        reverse = bool(node.attr("reverse")) and not node.attr("turned")
        put = QPutTime(f"{node.name}_sequence", (hidden,), y.name, reverse)
        lo.emit(put)
    end = lo.q.ops[-1].name
    if not node.attr("sequence"):
        lo.values[node.output] = Value((hidden,))
    lo.q.loops = (*lo.q.loops, TimeLoop(node.name, first.name, end, turns))


def step(lo: Lowering, node: Node, row: QTensor, loop: str) -> str:
    """Emit one turn of a recurrent node on the vector `row`; returns its hidden state's tensor."""
    p = _Parts(lo, node, row)
    u, cell = p.units, p.cell
    bias, second = node.params.get("bias"), node.params.get("recurrent_bias")
    if cell != "gru" and second is not None:
        bias, second = second + (0 if bias is None else bias), None
    gate, function = curve(node.attr("gate"), p.point), curve(node.attr("function"), p.point)
    after = replace(p.hidden, name=p.name("hidden_state"))
    lo.q.tensors[after.name] = after
    lo.q.states[p.hidden.name] = State(after.name, p.hidden.zero_point, loop)
    a = p.sums("kernel", row, p.kernel, bias)
    if cell == "rnn":
        b = p.sums("recurrent", p.hidden, p.recurrent, second)
        p.emit(QRnnHidden, "hidden", (a, b), after, function, *p.narrow(function.extent, after))
    elif cell == "lstm":
        b = p.sums("recurrent", p.hidden, p.recurrent, second)
        ends = lo.ranges[f"{node.output}/cell"]
        most, clip = max(abs(v) for v in ends), float(node.attr("cell_clip"))
        if 0 < clip <= most:
            raise ModelError(
                f"{node.title} clips its cell state at {clip:g}, which calibration data reach; "
                "scale the data as in training, or train and export it without clipping"
            )
        point = min(15 - function.extent, 14 - int(np.ceil(np.log2(max(most, 2.0**-6)))), 12)
        if point < 4:
            raise ModelError(
                f"{node.title} has a cell state of {most:.3g}, too large for 16 bits; scale the "
                "data as in training"
            )
        c = p.tensor("cell_before", u, 2.0**-point, dtype="int16")
        new = p.tensor("cell_state", u, 2.0**-point, dtype="int16")
        lo.q.states[c.name] = State(new.name, 0, loop)
        shift = 15 - function.extent - point
        p.emit(QLstmCell, "cell", (a, b, c), new, gate, function, shift)
        of_cell = curve(node.attr("function"), point)
        p.emit(QLstmHidden, "hidden", (a, b, new), after, gate, of_cell,
               *p.narrow(of_cell.extent, after))  # fmt: skip
    else:
        s = p.tensor("state_before", u, 2.0 ** (function.extent - 15), dtype="int16")
        new = p.tensor("state", u, s.scale, dtype="int16")
        lo.q.states[s.name] = State(new.name, 0, loop)
        reset_after = bool(node.attr("reset_after"))
        if reset_after:
            b = p.sums("recurrent", p.hidden, p.recurrent, second)
            terms: tuple[QTensor, ...] = (a, b, s)
        else:
            first, third = slice(0, 2 * u), slice(2 * u, None)
            halves = [None if second is None else second[k] for k in (first, third)]
            b = p.sums("recurrent", p.hidden, p.rows(p.recurrent, first), halves[0])
            reset = p.tensor("reset_hidden", u, p.hidden.scale, p.hidden.zero_point)
            p.emit(QGruReset, "reset", (a, b, p.hidden), reset, gate)
            d = p.sums("candidate", reset, p.rows(p.recurrent, third), halves[1])
            terms = (a, b, d, s)
        p.emit(QGruState, "update", terms, new, gate, function, reset_after)
        p.emit(QNarrow, "hidden", (new,), after, *p.narrow(function.extent, after))
    return after.name


@lowers("cell_state")
def _cell_state(lo: Lowering, node: Node) -> None:
    c = lo.q.tensors[f"{node.attr('of')}_cell_state"]
    y = lo.new(node)
    lo.emit(QNarrow(node.name, (c.name,), y.name, *narrow(c.scale, y)))


def _vectors(qgraph: QGraph, op: QOp, gates: int) -> None:
    from secateur.lowering.verify import InvalidGraphError

    u = qgraph.tensors[op.output].size
    for t in op.inputs[:2]:
        x = qgraph.tensors[t]
        if x.dtype != "int16" or x.size not in (gates * u, (gates - 1) * u):
            raise InvalidGraphError(f"pre-activations {t} of {x.size} {x.dtype} for {u} units")


@verifies(QLstmCell)
@verifies(QLstmHidden)
def _check_lstm(qgraph: QGraph, op: QOp) -> None:
    _vectors(qgraph, op, GATES["lstm"])


@verifies(QGruState)
@verifies(QGruReset)
def _check_gru(qgraph: QGraph, op: QOp) -> None:
    _vectors(qgraph, op, GATES["gru"])
