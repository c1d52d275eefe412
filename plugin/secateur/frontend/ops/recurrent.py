"""Recurrent layers: one operator for a whole sequence, whatever its cell.

Gates lie in Keras' order along the last axis of kernel, recurrent kernel and biases: i, f, c, o of
an LSTM (Hochreiter & Schmidhuber 1997 with forget gate), z, r, h of a GRU (Cho et al. 2014), one of
a simple RNN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .activation import FUNCTIONS
from .base import REQUIRED, Array, Shape, ShapeError, declare

if TYPE_CHECKING:
    from secateur.frontend.ir import Node

#: Gates of each cell.
GATES = {"lstm": 4, "gru": 3, "rnn": 1}

#: A function of one element: its name in `FUNCTIONS` (or "linear", "relu") and its arguments.
Named = tuple[str, tuple[tuple[str, float], ...]]

_ATTRS = {
    "cell": REQUIRED,  # a key of GATES
    "function": ("tanh", ()),  # of the candidate and of the cell's output
    "gate": ("sigmoid", ()),  # of the gates
    "reverse": False,  # from the last element of time to the first
    "turned": False,  # outputs in the order they are made, where that is reversed
    "sequence": True,  # outputs of all times, else the one made last
    "reset_after": True,  # a GRU's reset gate acts behind the recurrent product
    "stateful": False,  # the state is kept from one call to the next
    "step": False,  # one turn, of a stream that keeps the state
    "hidden_levels": 0,  # the hidden state is a multiple of 1 / levels within -1..1; 0: calibrated
    "cell_clip": 0.0,  # an LSTM's cell state is kept within +- so much; 0: it is not
}
_PARAMS = {
    "kernel": "[in, gates * units]", "recurrent": "[units, gates * units]",
    "bias": "[gates * units]?", "recurrent_bias": "[gates * units]?",
}  # fmt: skip


def evaluate(function: Named, x: Array) -> Array:
    """The function of every element."""
    name, arguments = function
    if name == "linear":
        return x
    if name == "relu":
        given = dict(arguments)
        return np.clip(x, 0, given.get("max_value"))
    f = FUNCTIONS[name]
    return np.asarray(f.compute(x, **{**f.defaults, **dict(arguments)}))


@dataclass(frozen=True)
class Trace:
    """Everything a recurrent layer computes: [N, T, ...] in the order of the turns."""

    hidden: Array
    cell: Array | None  #: an LSTM's cell state
    sums: tuple[Array, ...]  #: pre-activations, the input's and the state's parts


def units(node: Node) -> int:
    """Size of the hidden state."""
    return int(node.params["recurrent"].shape[0])


def trace(node: Node, x: Array) -> Trace:
    """Run the layer over x [N, 1, T, in] from a state of zeros."""
    n, turns, u = len(x), x.shape[2], units(node)
    kernel = node.params["kernel"].astype(np.float32)
    recurrent = node.params["recurrent"].astype(np.float32)
    zero = np.zeros(kernel.shape[1], np.float32)
    bias, second = (node.params.get(k, zero) for k in ("bias", "recurrent_bias"))
    rows = x[:, 0, ::-1] if node.attr("reverse") else x[:, 0]
    a = (rows.reshape(n * turns, -1) @ kernel + bias).reshape(n, turns, -1)
    f, g = node.attr("function"), node.attr("gate")
    cell, clip = node.attr("cell"), np.float32(node.attr("cell_clip"))
    levels = int(node.attr("hidden_levels"))
    h = np.zeros((n, u), np.float32)
    c, state = h, h  # a GRU keeps its state as it is beside what it gives
    hs, cs, bs = [], [], []
    for t in range(turns):
        p = a[:, t]
        b = h @ recurrent + second
        if cell == "lstm":
            s = p + b
            i, forget, o = (evaluate(g, s[:, k * u : (k + 1) * u]) for k in (0, 1, 3))
            c = forget * c + i * evaluate(f, s[:, 2 * u : 3 * u])
            if clip:
                c = np.clip(c, -clip, clip)
            h = o * evaluate(f, c)
        elif cell == "gru":
            z = evaluate(g, p[:, :u] + b[:, :u])
            r = evaluate(g, p[:, u : 2 * u] + b[:, u : 2 * u])
            if not node.attr("reset_after"):
                b = b.copy()
                b[:, 2 * u :] = (r * h) @ recurrent[:, 2 * u :] + second[2 * u :]
                r = np.float32(1.0)
            h = state = z * state + (1 - z) * evaluate(f, p[:, 2 * u :] + r * b[:, 2 * u :])
        else:
            h = evaluate(f, p + b)
        if levels:
            h = np.floor(h * np.float32(levels) + np.float32(0.5)) / np.float32(levels)
        hs.append(h)
        cs.append(c)
        bs.append(b)
    cells = np.stack(cs, axis=1) if cell == "lstm" else None
    return Trace(np.stack(hs, axis=1), cells, (a, np.stack(bs, axis=1)))


def _shape(node: Node, shapes: list[Shape]) -> Shape:
    shape, kernel, recurrent = shapes[0], node.params["kernel"], node.params["recurrent"]
    if len(shape) != 3 or shape[0] != 1:
        raise ShapeError(f"reads a tensor of shape {shape}, which is no sequence (T, C)")
    gates = GATES.get(str(node.attr("cell")))
    if gates is None:
        raise ShapeError(f"has the unknown cell '{node.attr('cell')}'")
    u = recurrent.shape[0]
    if kernel.shape != (shape[2], gates * u) or recurrent.shape != (u, gates * u):
        raise ShapeError(f"has kernels {kernel.shape} and {recurrent.shape} for inputs {shape}")
    for name in ("bias", "recurrent_bias"):
        if name in node.params and node.params[name].shape != (gates * u,):
            raise ShapeError(f"has a {name} of shape {node.params[name].shape}")
    return (1, shape[1], u) if node.attr("sequence") else (u,)


def _macs(node: Node, shapes: list[Shape]) -> int:
    return shapes[0][1] * (node.params["kernel"].size + node.params["recurrent"].size)


def _inside(node: Node, inputs: list[Array]) -> dict[str, Array]:
    t = trace(node, inputs[0])
    found = {"hidden": t.hidden, "input_sums": t.sums[0], "state_sums": t.sums[1]}
    return found if t.cell is None else {**found, "cell": t.cell}


@declare("recurrent", _shape, attrs=_ATTRS, params=_PARAMS, macs=_macs, inside=_inside)
def _recurrent(node: Node, inputs: list[Array]) -> Array:
    """h_t of a recurrent layer that starts from zeros, at all times or after the last."""
    h = trace(node, inputs[0]).hidden
    if not node.attr("sequence"):
        return h[:, -1]
    if node.attr("reverse") and not node.attr("turned"):
        h = h[:, ::-1]
    return h[:, None]


def _state_shape(node: Node, shapes: list[Shape]) -> Shape:
    if node.attr("cell") != "lstm":
        raise ShapeError("has no cell state")
    _shape(node, shapes)
    return (units(node),)


@declare("cell_state", _state_shape, attrs={**_ATTRS, "of": REQUIRED}, params=_PARAMS)
def _cell_state(node: Node, inputs: list[Array]) -> Array:
    """The cell state of an LSTM after its last turn. attrs["of"] names its `recurrent` node."""
    cell = trace(node, inputs[0]).cell
    assert cell is not None
    return cell[:, -1]
