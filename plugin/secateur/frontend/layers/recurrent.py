"""LSTM, GRU, SimpleRNN, RNN of a cell, and Bidirectional."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder
from secateur.frontend.ops.recurrent import GATES, Named

from .activation import _FUNCTIONS, supported_activations
from .base import SourceLayer, handles, refuse, spreads

_CELLS = {
    "LSTM": "lstm", "GRU": "gru", "SimpleRNN": "rnn",
    "LSTMCell": "lstm", "GRUCell": "gru", "SimpleRNNCell": "rnn",
    "QuantLSTMCell": "lstm", "QuantGRUCell": "gru", "QuantSimpleRNNCell": "rnn",
}  # fmt: skip
_KINDS = ("LSTM", "GRU", "SimpleRNN", "RNN", "Bidirectional")


def named(layer: SourceLayer, spec: Any) -> Named:
    """An `activation=` argument as a function of one element. Raises ModelError for others."""
    if isinstance(spec, dict):
        config = spec.get("config")
        spec = config if isinstance(config, str) else spec.get("class_name")
    if spec in (None, "linear"):
        return "linear", ()
    if spec in ("relu", "relu6"):
        return "relu", (("max_value", 6.0),) if spec == "relu6" else ()
    if spec in _FUNCTIONS:
        function, arguments = _FUNCTIONS[spec]
        if function == "hard_sigmoid" and layer.keras2:
            arguments = {"slope": 0.2, "offset": 0.5}
        return function, tuple(sorted((k, float(v)) for k, v in arguments.items()))
    known = ", ".join(a for a in supported_activations() if "softmax" not in a)
    raise ModelError(
        f"layer '{layer.name}' ({layer.kind}) has the activation '{spec}', which cannot be "
        f"converted; supported activations: {known}"
    )


@dataclass
class _Run:
    """A recurrent layer with its wrapper off."""

    layer: SourceLayer
    cells: list[tuple[str, dict[str, Any], dict[str, np.ndarray]]]  #: kind, config, weights
    sequence: bool
    reverse: bool
    stateful: bool


def _run_of(layer: SourceLayer) -> _Run:
    c = layer.config
    if c.get("time_major"):
        raise refuse(layer, "has time_major=True", "use time_major=False")
    cells = [(layer.kind, c, layer.weights)]
    if layer.kind == "RNN":
        cells = _cells(layer, c["cell"])
    return _Run(
        layer, cells, bool(c.get("return_sequences")), bool(c.get("go_backwards")),
        bool(c.get("stateful")),
    )  # fmt: skip


def _cells(
    layer: SourceLayer, cell: dict[str, Any]
) -> list[tuple[str, dict[str, Any], dict[str, np.ndarray]]]:
    kind, config = str(cell["class_name"]), dict(cell["config"])
    if kind == "StackedRNNCells":
        inner = list(config["cells"])
        found = [_cells(layer, one) for one in inner]
        if len({str(one["config"]["name"]) for one in inner}) < len(inner):
            raise refuse(layer, "has two cells of one name", "name them apart")
        return [one for part in found for one in part]
    if kind not in _CELLS:
        raise refuse(layer, f"runs a {kind}", "use an LSTMCell, GRUCell or SimpleRNNCell")
    prefix = f"{config['name']}/"
    own = {k.removeprefix(prefix): v for k, v in layer.weights.items() if k.startswith(prefix)}
    return [(kind, config, own or layer.weights)]


def _no_masks(layer: SourceLayer) -> None:
    """A mask, or a state that is fed, is no part of what is converted."""
    if layer.kwargs.get("mask") is not None:
        raise refuse(layer, "is given a mask", "feed sequences of one length and leave it out")
    if layer.kwargs.get("initial_state") is not None:
        raise refuse(
            layer, "is given an initial state", "feed that state as part of the sequence instead"
        )


def _emit(b: Builder, run: _Run, tensor: str) -> list[str]:
    """The output, then the states as Keras returns them."""
    layer, outputs = run.layer, [tensor]
    if len(b.shape(tensor)) != 3 or b.shape(tensor)[0] != 1:
        raise refuse(
            layer, f"reads a tensor of shape {b.nominal(tensor)}", "feed it a sequence (T, C)"
        )
    states: list[str] = []
    for i, (kind, config, weights) in enumerate(run.cells):
        last = i + 1 == len(run.cells)
        name = layer.name if len(run.cells) == 1 else f"{layer.name}_{config['name']}"
        attrs, params = _node(layer, kind, config, weights)
        attrs |= {
            "reverse": run.reverse and i == 0, "turned": run.reverse,
            "sequence": run.sequence or not last, "stateful": run.stateful,
        }  # fmt: skip
        source = outputs[-1]
        y = b.emit("recurrent", name, [source], None, attrs, params)
        if attrs["sequence"]:
            b.name_shape(y, b.shape(y)[1:])
        outputs.append(y)
        h = y
        if attrs["sequence"]:
            turns, u = b.nominal(y)
            h = b.without(b.cut(f"{y}_last", y, (turns - 1, 0), (1, u)), 0)
        states.append(h)
        if (
            attrs.get("hidden_levels")
            and attrs["cell"] == "gru"
            and layer.config.get("return_state")
        ):
            raise refuse(
                layer, "returns the state that it keeps beside its few bits",
                "give return_state=False and use its output",
            )  # fmt: skip
        if attrs["cell"] == "lstm":
            of = {**attrs, "of": y}
            states.append(b.emit("cell_state", f"{y}_cell_out", [source], None, of, params))
    return [outputs[-1], *states]


def _node(
    layer: SourceLayer, kind: str, config: dict[str, Any], weights: dict[str, np.ndarray]
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    cell = _CELLS[kind]
    missing = [w for w in ("kernel", "recurrent_kernel") if w not in weights]
    if missing:
        raise ModelError(
            f"layer '{layer.name}' ({layer.kind}) has no weight '{missing[0]}'; build the model "
            "before converting it"
        )
    for name, value in weights.items():
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise ModelError(
                f"weight '{name}' of layer '{layer.name}' holds NaN or infinity; training has "
                "diverged: restore an earlier checkpoint or lower the learning rate"
            )
    attrs: dict[str, Any] = {"cell": cell, "function": named(layer, config.get("activation"))}
    if cell != "rnn":
        attrs["gate"] = named(layer, config.get("recurrent_activation"))
    params = {
        "kernel": np.asarray(weights["kernel"], np.float32),
        "recurrent": np.asarray(weights["recurrent_kernel"], np.float32),
    }
    if config.get("use_bias", True) and "bias" in weights:
        bias = np.asarray(weights["bias"], np.float32)
        if bias.ndim == 2:
            params["bias"], params["recurrent_bias"] = bias[0], bias[1]
        else:
            params["bias"] = bias
    if cell == "gru":
        attrs["reset_after"] = bool(config.get("reset_after", True))
    if bits := int(config.get("state_bits", 0)):
        attrs["hidden_levels"] = 2 ** (bits - 1) - 1
    if params["kernel"].shape[1] != GATES[cell] * len(params["recurrent"]):
        raise refuse(layer, f"has a kernel {params['kernel'].shape}", "build the layer anew")
    return attrs, params


def _inner(layer: SourceLayer, key: str, prefix: str, reverse: bool) -> SourceLayer:
    """One direction of a Bidirectional layer."""
    spec = layer.config.get(key) or layer.config["layer"]
    kind, config = str(spec["class_name"]), dict(spec["config"])
    if kind not in _CELLS and kind != "RNN":
        raise refuse(layer, f"wraps a {kind}", "wrap an LSTM, GRU or SimpleRNN")
    if layer.config.get(key) is None and reverse:
        config["go_backwards"] = not config.get("go_backwards", False)
    names = {k.split("/")[0] for k in layer.weights if k.startswith(prefix) and "/" in k}
    if not names:  # a layer of its own for one direction has its own name
        names = {str(config["name"])}
    mine = {k.split("/")[-1]: v for k, v in layer.weights.items() if k.split("/")[0] in names}
    nested = {k.split("/", 1)[1]: v for k, v in layer.weights.items() if k.split("/")[0] in names}
    return replace(
        layer, kind=kind, name=f"{layer.name}_{prefix}", config=config, weights={**nested, **mine}
    )  # fmt: skip


def _bidirectional(b: Builder, layer: SourceLayer, tensor: str) -> list[str]:
    forward = _run_of(_inner(layer, "forward_layer", "forward", False))
    backward = _run_of(_inner(layer, "backward_layer", "backward", True))
    if forward.sequence != backward.sequence:
        raise refuse(layer, "has directions of different outputs", "give both return_sequences")
    if forward.reverse or not backward.reverse:
        raise refuse(layer, "has two layers of one direction", "let one go backwards")
    ahead = _emit(b, forward, tensor)
    # Keras turns the backward layer's outputs, made from the end, into the order of time
    back = _emit(b, backward, tensor)
    last = back[0]
    b.maker(last).attrs["turned"] = False
    mode = layer.config.get("merge_mode", "concat")
    y = _merged(b, layer, mode, ahead[0], last)
    if mode is None:
        raise refuse(layer, "has merge_mode=None", "merge the directions, or use two layers")
    states = [*ahead[1:], *_states_behind(b, backward, back)]
    return [y, *states]


def _states_behind(b: Builder, run: _Run, made: list[str]) -> list[str]:
    """The states of a backward layer whose sequence is in the order of time: its last turn made
    the first element."""
    if not run.sequence or len(run.cells) > 1:
        return made[1:]
    y = made[0]
    _, u = b.nominal(y)
    first = b.without(b.cut(f"{y}_first", y, (0, 0), (1, u)), 0)
    return [first, *made[2:]]


def _merged(b: Builder, layer: SourceLayer, mode: Any, ahead: str, back: str) -> str:
    if mode == "concat" or mode is None:
        return b.concat(layer.name, [ahead, back], -1)
    if mode == "ave":
        total = b.arithmetic("add", f"{layer.name}_sum", ahead, back)
        return b.affine(layer.name, total, 0.5, 0)
    op = {"sum": "add", "mul": "mul"}.get(str(mode))
    if op is None:
        raise refuse(layer, f"has merge_mode='{mode}'", "use 'concat', 'sum', 'mul' or 'ave'")
    return b.arithmetic(op, layer.name, ahead, back)


@spreads(*_KINDS)
def recurrent(b: Builder, layer: SourceLayer, inputs: list[str]) -> list[str]:
    """The output and, with return_state, the states."""
    _no_masks(layer)
    if len(inputs) != 1:
        raise refuse(
            layer, "is given an initial state", "feed that state as part of the sequence instead"
        )
    if layer.kind == "Bidirectional":
        found = _bidirectional(b, layer, inputs[0])
        wants = layer.config["layer"]["config"].get("return_state")
    else:
        found = _emit(b, _run_of(layer), inputs[0])
        wants = layer.config.get("return_state")
    return found if wants else found[:1]


@handles("Masking")
def _masking(b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None) -> str:
    raise refuse(layer, "masks elements of time", "feed sequences of one length, padded as trained")


@handles("ConvLSTM1D", "ConvLSTM2D", "ConvLSTM3D")
def _conv_lstm(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    raise refuse(layer, "is recurrent over images", "use convolutions and an LSTM behind them")
