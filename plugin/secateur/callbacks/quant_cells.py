"""Recurrent cells whose hidden state has few bits, in training as on the device.

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, "Quantized Neural Networks", JMLR 2018, section 4.3:
recurrent networks with low-bit weights and activations, the hidden state among these.

    h_q = floor(L h + 1/2) / L,  L = 2^(bits - 1) - 1,   dL/dh = dL/dh_q   (straight through)

so that codes are the integers -L..L, zero included. What the next turn multiplies with the
recurrent kernel and what the layer gives is h_q. An LSTM's cell state and the sum that a GRU keeps
stay fine, as on the device, where they have 16 bits: a GRU that adds less than half a level a turn
would stand still.

Each is the Keras cell with one more argument; a front end reads `state_bits` from its config.
"""

from __future__ import annotations

from typing import Any

import keras

from secateur.errors import ModelError

ops = keras.ops

#: Functions whose values are within -1..1, so that no code is beyond L.
BOUNDED = ("tanh", "sigmoid", "hard_sigmoid", "hard_tanh", "softsign")


def levels(bits: int) -> int:
    """L, the largest code of a hidden state of `bits` bits."""
    return int(2 ** (bits - 1)) - 1


class _FewBits:
    """What the three cells share; comes before the Keras cell among a class's bases."""

    activation: Any
    name: str

    def __init__(self, units: int, state_bits: int = 4, **kwargs: Any) -> None:
        super().__init__(units, **kwargs)  # type: ignore[call-arg]
        bits, kind = state_bits, type(self).__name__
        name = getattr(self.activation, "__name__", "?")
        if isinstance(bits, bool) or not isinstance(bits, int) or not 2 <= bits <= 8:
            raise ModelError(f"{kind}: state_bits={bits!r} is not one of 2..8")
        if name not in BOUNDED:
            raise ModelError(
                f"{kind} '{self.name}': activation {name!r} has no end at 1, and codes of "
                f"{bits} bits do; use one of {', '.join(BOUNDED)}"
            )
        self.state_bits = bits

    def _quantized(self, h: Any) -> Any:
        top = levels(self.state_bits)
        return h + ops.stop_gradient(ops.floor(h * top + 0.5) / top - h)

    def get_config(self) -> dict[str, Any]:
        """The Keras cell's, and `state_bits`."""
        return {**super().get_config(), "state_bits": self.state_bits}  # type: ignore[misc]


@keras.saving.register_keras_serializable("secateur")
class QuantLSTMCell(_FewBits, keras.layers.LSTMCell):
    """An LSTM cell whose hidden state has `state_bits` bits: o * tanh(c) as h_q (module's text).

    Args:
        units: as in `keras.layers.LSTMCell`, like everything in `kwargs`.
        state_bits: 2..8.

    Raises:
        ModelError: other bits, or an activation with values beyond -1..1.

    Example:
        keras.layers.RNN(sc.QuantLSTMCell(64, state_bits=4), return_sequences=True)
    """

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """(h_q, [h_q, c])."""
        _, (h, c) = super().call(inputs, states, training=training)
        few = self._quantized(h)
        return few, [few, c]


@keras.saving.register_keras_serializable("secateur")
class QuantSimpleRNNCell(_FewBits, keras.layers.SimpleRNNCell):
    """A simple recurrent cell whose state has `state_bits` bits.

    Args:
        units: as in `keras.layers.SimpleRNNCell`, like everything in `kwargs`.
        state_bits: 2..8.

    Raises:
        ModelError: other bits, or an activation with values beyond -1..1.

    Example:
        keras.layers.RNN(sc.QuantSimpleRNNCell(32, state_bits=4))
    """

    def call(self, sequence: Any, states: Any, training: bool = False) -> Any:
        """(h_q, [h_q])."""
        h, _ = super().call(sequence, states, training=training)
        few = self._quantized(h)
        return few, [few] if isinstance(states, list | tuple) else few


@keras.saving.register_keras_serializable("secateur")
class QuantGRUCell(_FewBits, keras.layers.GRUCell):
    """A GRU cell that multiplies and gives h_q, and keeps the state itself fine:

        s' = z s + (1 - z) n(x, h_q),  h_q' = s' in `state_bits` bits

    Args:
        units: as in `keras.layers.GRUCell`, like everything in `kwargs`.
        state_bits: 2..8.

    Raises:
        ModelError: other bits, an activation with values beyond -1..1, or reset_after=False,
            whose product of reset gate and state would have to be rounded, too.

    Example:
        keras.layers.RNN(sc.QuantGRUCell(32, state_bits=4))
    """

    def __init__(self, units: int, state_bits: int = 4, **kwargs: Any) -> None:
        super().__init__(units, state_bits, **kwargs)
        if not self.reset_after:
            raise ModelError(f"QuantGRUCell '{self.name}' has reset_after=False; leave it True")

    def call(self, inputs: Any, states: Any, training: bool = False) -> Any:
        """(h_q', [s'])."""
        nested = isinstance(states, list | tuple)
        state = states[0] if nested else states
        few = self._quantized(state)
        mixed, _ = super().call(inputs, [few], training=training)  # z h_q + (1 - z) n
        z = ops.matmul(inputs, self.kernel[:, : self.units])
        z += ops.matmul(few, self.recurrent_kernel[:, : self.units])
        if self.use_bias:
            z += ops.sum(self.bias[:, : self.units], axis=0)
        new = mixed + self.recurrent_activation(z) * (state - few)
        return self._quantized(new), [new] if nested else new


_TWINS: dict[type, type[keras.layers.Layer]] = {
    keras.layers.LSTMCell: QuantLSTMCell,
    keras.layers.GRUCell: QuantGRUCell,
    keras.layers.SimpleRNNCell: QuantSimpleRNNCell,
}
_TAKEN = ("return_sequences", "return_state", "go_backwards", "stateful", "unroll",
          "zero_output_for_mask", "name", "trainable", "dtype")  # fmt: skip


def is_recurrent(layer: keras.layers.Layer) -> bool:
    """Whether `quantized` takes it."""
    return isinstance(layer, keras.layers.RNN | keras.layers.Bidirectional)


def quantized(layer: keras.layers.Layer, bits: int) -> keras.layers.Layer:
    """The same recurrent layer, without weights, with a hidden state of `bits` bits.

    Raises:
        ModelError: a cell that has no such form, or drops inputs out (few levels regularize
            enough, and masks of two calls of a cell in one turn would differ).
    """
    config = layer.get_config()
    if isinstance(layer, keras.layers.Bidirectional):
        ahead, back = (quantized(x, bits) for x in (layer.forward_layer, layer.backward_layer))
        taken = {k: config[k] for k in ("name", "trainable", "dtype")}
        return keras.layers.Bidirectional(ahead, layer.merge_mode, backward_layer=back, **taken)
    return keras.layers.RNN(
        _few(layer.cell, bits, layer.name), **{k: config[k] for k in _TAKEN if k in config}
    )


def _few(cell: keras.layers.Layer, bits: int, owner: str) -> keras.layers.Layer:
    if isinstance(cell, keras.layers.StackedRNNCells):
        cells = [_few(c, bits, owner) for c in cell.cells]
        return keras.layers.StackedRNNCells(cells, name=cell.name)
    twin = _TWINS.get(type(cell))
    if twin is None and not isinstance(cell, _FewBits):
        raise ModelError(
            f"quantize_activations: layer {owner!r} runs a {type(cell).__name__}, whose state has "
            "no form of few bits; leave it out by `include`"
        )
    config = cell.get_config()
    if config.get("dropout") or config.get("recurrent_dropout"):
        raise ModelError(
            f"quantize_activations: layer {owner!r} has dropout; build it without, as few levels "
            "regularize enough, or leave it out by `include`"
        )
    return (twin or type(cell)).from_config({**config, "state_bits": bits})


def state_bits(layer: keras.layers.Layer) -> set[int]:
    """Bits of the hidden states of the cells in `layer`."""
    inner = layer._flatten_layers(include_self=True, recursive=True)
    return {c.state_bits for c in inner if isinstance(c, _FewBits)}
