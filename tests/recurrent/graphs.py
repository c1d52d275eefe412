"""Random recurrent graphs."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder
from secateur.frontend.ops.recurrent import GATES
from tests.strategies import random_weights

KINDS = ("free", "sparse", "ternary", "two", "codebook", "powers", "dead", "binary")


def layer(
    b: Builder, rng: np.random.Generator, source: str, name: str, cell: str, units: int,
    weights: tuple[str, str] = ("free", "free"), **attrs: object,
) -> str:  # fmt: skip
    """A recurrent layer with random weights of the given kinds."""
    size = b.shape(source)[2]
    gates = GATES[cell]
    params = {
        "kernel": random_weights(rng, weights[0], (size, gates * units)),
        "recurrent": random_weights(rng, weights[1], (units, gates * units)) / np.float32(2),
        "bias": rng.normal(0, 0.4, gates * units).astype(np.float32),
    }
    if cell == "gru":
        params["recurrent_bias"] = rng.normal(0, 0.4, gates * units).astype(np.float32)
    y = b.emit("recurrent", name, [source], None, {"cell": cell, **attrs}, params)
    if attrs.get("sequence", True):
        b.name_shape(y, b.shape(y)[1:])
    return y


@st.composite
def recurrent_graphs(draw: st.DrawFn) -> tuple[Graph, np.ndarray]:
    """A graph of one to three recurrent layers and its calibration data."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    b = Builder("net")
    turns, size = draw(st.integers(1, 7)), draw(st.integers(1, 9))
    t = b.add_input("x", (turns, size))
    count = draw(st.integers(1, 3))
    for i in range(count):
        cell = draw(st.sampled_from(("lstm", "gru", "rnn")))
        attrs: dict[str, object] = {
            "sequence": i + 1 < count or draw(st.booleans()),
            "reverse": draw(st.booleans()), "turned": draw(st.booleans()),
            "reset_after": draw(st.booleans()),
            "function": (draw(st.sampled_from(("tanh", "relu", "softsign"))), ()),
            "gate": (draw(st.sampled_from(("sigmoid", "hard_sigmoid"))), ()),
        }  # fmt: skip
        if attrs["function"] != ("relu", ()) and (cell != "gru" or attrs["reset_after"]):
            attrs["hidden_levels"] = draw(st.sampled_from((0, 0, 1, 7, 127)))
        kinds = (draw(st.sampled_from(KINDS)), draw(st.sampled_from(KINDS)))
        t = layer(b, rng, t, f"layer{i}", cell, draw(st.integers(1, 9)), kinds, **attrs)
    if draw(st.booleans()):
        n = b.shape(t)[-1]
        kernel = rng.normal(0, 1, (n, 3)).astype(np.float32)
        t = b.emit("dense", "out", [t], None, {}, {"kernel": kernel})
    x = rng.normal(0, 1, (8, turns, size)).astype(np.float32)
    return b.finish(t), x
