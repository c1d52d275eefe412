"""ONNX LSTM, GRU and RNN: each direction is one `recurrent` node.

Layout 0 is [T, N, C], layout 1 [N, T, C]. ONNX has an LSTM's gates in the order i, o, f, c and a
GRU's as z, r, h; `ops.recurrent` has i, f, c, o and z, r, h.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from secateur.frontend.build import Operand
from secateur.frontend.ops.recurrent import GATES

from .reader import BatchError, Call, OnnxReader, reads

_ORDER = {"lstm": (0, 2, 3, 1), "gru": (0, 1, 2), "rnn": (0,)}
_FUNCTIONS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh"), "rnn": ("Tanh",)}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


@dataclass
class _Way:
    """One direction: its `recurrent` node's tensor and the states behind its last turn."""

    y: str
    hidden: str | None
    cell: str | None


@reads("LSTM", "GRU", "RNN")
def _recurrent(r: OnnxReader, n: Call) -> list[Operand]:
    cell, layout = n.op.lower(), int(n.attr("layout", 0))
    direction = n.attr("direction", "forward")
    if direction not in _DIRECTIONS or layout not in (0, 1):
        raise r.refuse(n, f"has direction='{direction}', layout={layout}", "export it again")
    ways = _DIRECTIONS[direction]
    _only_defaults(r, n, cell, len(ways))
    x, turns = _sequence(r, n, layout)
    _only_whole_sequences(r, n, turns)
    params = _params(r, n, cell, len(ways))
    units = len(params[0]["recurrent"])
    asked = [n.wants(i) and n.outputs[i] in r.read_on for i in range(3)]
    made = []
    for reverse, own in zip(ways, params, strict=True):
        attrs: dict[str, Any] = {"cell": cell, "reverse": reverse, "sequence": asked[0]}
        if cell == "gru":
            attrs["reset_after"] = bool(n.attr("linear_before_reset", 0))
        name = n.name if len(ways) == 1 else f"{n.name}_{'backward' if reverse else 'forward'}"
        made.append(_way(r, name, x, attrs, own, asked))
    count, one = len(ways), () if r.batch else (1,)
    first = _joined(r, n.name, [w.y for w in made])
    states = (count, *one, units) if layout == 0 else (*one, count, units)
    if asked[0]:
        whole = (turns, count, *one, units) if layout == 0 else (*one, turns, count, units)
        first = r.b.reshape(f"{n.name}_Y", first, whole)
    found: list[Operand] = [first]
    for key in ("hidden", "cell")[: len(n.outputs) - 1]:
        parts = [getattr(w, key) for w in made]
        if None in parts:
            found.append(first)  # nobody reads this one
        else:
            joined = _joined(r, f"{n.name}_{key}", parts)
            found.append(r.b.reshape(f"{n.name}_Y_{key}", joined, states))
    return found


def _way(
    r: OnnxReader, name: str, x: str, attrs: dict[str, Any], params: dict[str, np.ndarray],
    asked: list[bool],
) -> _Way:  # fmt: skip
    units = len(params["recurrent"])
    y = r.b.emit("recurrent", name, [x], None, attrs, params)
    hidden = cell = None
    if asked[0]:
        r.b.name_shape(y, r.b.shape(y)[1:])
    if asked[1]:
        hidden = y
        if asked[0]:  # outputs are in the order of time, the last turn of a reversed one is first
            at = 0 if attrs["reverse"] else r.b.nominal(y)[0] - 1
            hidden = r.b.without(r.b.cut(f"{name}_last", y, (at, 0), (1, units)), 0)
    if asked[2]:
        of = {**attrs, "of": y}
        cell = r.b.emit("cell_state", f"{name}_cell_out", [x], None, of, params)
    return _Way(y, hidden, cell)


def _joined(r: OnnxReader, name: str, parts: list[str]) -> str:
    """Both directions side by side."""
    return r.b.concat(f"{name}_both", parts, -1)


def _sequence(r: OnnxReader, n: Call, layout: int) -> tuple[str, int]:
    """Input 0 as one sequence (T, C), and T."""
    x, shape = r.tensor(n), r.shape(n.inputs[0])
    if len(shape) != 3:
        raise r.refuse(n, f"reads a tensor of shape {shape}", "feed it sequences")
    if r.batch:
        if layout == 0:
            raise BatchError(
                f"node '{n.name}' ({n.op}) of model '{r.b.name}' runs along axis 0, where other "
                "nodes have the batch; export the model with a batch of one sample"
            )
        return x, shape[1]
    turns, samples = shape[layout], shape[1 - layout]
    if samples != 1:
        raise r.refuse(
            n, f"runs on {samples} sequences at once", "export the model with a batch of one sample"
        )
    if r.of_one and turns == 1:
        raise r.refuse(
            n, "runs along an axis of unknown length", "export the model with all lengths fixed"
        )
    return r.b.reshape(f"{n.name}_sequence", x, (turns, shape[2])), turns


def _only_defaults(r: OnnxReader, n: Call, cell: str, directions: int) -> None:
    """Refuse, by name, attributes that ask for another cell."""
    names = n.attr("activations")
    given = tuple(v.decode("ascii", "replace") for v in names or ())
    if given and given != _FUNCTIONS[cell] * directions:
        raise r.refuse(
            n, f"has activations={', '.join(given)}", f"use {', '.join(_FUNCTIONS[cell])}"
        )
    for name in ("activation_alpha", "activation_beta"):
        n.asked.add(name)  # of functions that the default ones are not
    if n.attr("clip") is not None:
        raise r.refuse(n, f"has clip={n.attr('clip'):g}", "train and export it without")
    if n.attr("input_forget", 0):
        raise r.refuse(n, "has input_forget=1", "use an LSTM with both gates")
    n.asked.add("hidden_size")  # the weights say it, too


def _only_whole_sequences(r: OnnxReader, n: Call, turns: int) -> None:
    """Refuse, by name, inputs other than weights: lengths, states that are not zero, peepholes."""
    if n.has(4):
        lengths = r.values[n.inputs[4]]
        if isinstance(lengths, str) or (lengths != turns).any():
            raise r.refuse(
                n, "is given sequence_lens", "feed sequences of one length and leave it out"
            )
    for i, name in ((5, "initial_h"), (6, "initial_c"), (7, "P (peepholes)")):
        value = r.values[n.inputs[i]] if n.has(i) else None
        if isinstance(value, str) or (value is not None and np.any(value)):
            raise r.refuse(
                n, f"is given {name} other than zeros",
                "use an LSTM without peepholes" if i == 7 else "let the state begin with zeros",
            )  # fmt: skip


def _params(r: OnnxReader, n: Call, cell: str, directions: int) -> list[dict[str, np.ndarray]]:
    """Weights of every direction, in the order and layout of `ops.recurrent`."""
    kernel, recurrent = r.weights(n, 1), r.weights(n, 2)
    gates = GATES[cell]
    rows = gates * recurrent.shape[-1]
    bias = r.weights(n, 3) if n.has(3) else np.zeros((directions, 2 * rows), np.float32)
    shapes = [w.shape[:2] for w in (kernel, recurrent, bias)]
    if shapes != [(directions, rows), (directions, rows), (directions, 2 * rows)]:
        raise r.refuse(n, f"has weights of shapes {shapes}", "export the model again")
    found = []
    for d in range(directions):

        def ordered(w: np.ndarray) -> np.ndarray:
            by_gate = w.reshape(gates, -1, *w.shape[1:])[list(_ORDER[cell])]
            return np.ascontiguousarray(by_gate.reshape(w.shape).T)

        own = {"kernel": ordered(kernel[d]), "recurrent": ordered(recurrent[d])}
        if n.has(3):
            own["bias"], own["recurrent_bias"] = (ordered(b) for b in np.split(bias[d], 2))
        found.append(own)
    return found
