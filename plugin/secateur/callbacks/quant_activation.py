"""Low-bit activations in training: a layer whose output already is what the device's codes mean.

QuantActivation is an ordinary registered Keras layer without custom code in the file: a model that
holds it is loaded with `secateur.callbacks` imported, and a front end reads everything it needs
from two places:

* its config: `bits` (1, 2, 4, 8), `kind` ("relu" or "sign"), `max_value`, `levels`;
* `QuantActivation.table()`: the 2**bits real values of the codes 0 .. 2**bits - 1, ascending, and
  the thresholds between them (code = number of thresholds <= x), which also is its executable
  definition.

On the device the codes are packed; a producing layer's batch norm, requantization and this table
fold into integer thresholds on its accumulator, one set for each channel. With an even table
(`kind="relu", levels="uniform"`) value = code * step, so an AND/popcount of bit planes is the dot
product; with `kind="sign"` code 0 is -1 and code 1 is +1, so XNOR/popcount is.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks import quant_cells
from secateur.callbacks.arguments import check, checked
from secateur.callbacks.select import Pattern, matches
from secateur.errors import ModelError

#: ranges that fit what batch normalisation leaves behind, by bits
_RANGE = {1: 1.0, 2: 2.0, 4: 3.0, 8: 6.0}


@keras.saving.register_keras_serializable("secateur")
class QuantActivation(keras.layers.Layer):
    """An activation with 2**bits output values.

        kind="relu", levels="uniform":  y = d round(clip(x, 0, m) / d),  d = m / (2^bits - 1)
                                        dL/dx = dL/dy [0 <= x <= m]              (DoReFa, QNN)
        kind="relu", levels="learned":  y = nearest sum of a subset of the basis v in R^bits, v by
                                        one least-squares step a batch, smoothed  (LQ-Nets)
                                        dL/dx = dL/dy [0 <= x <= sum(v)]
        kind="sign" (1 bit):            y = 1 where x >= 0, else -1
                                        dL/dx = dL/dy [|x| <= 1]                 (BNN, XNOR)

    Args:
        bits: 1, 2, 4 or 8 (learned: at most 4).
        kind: "relu" or "sign".
        max_value: m; None for 1, 2, 3 or 6 at 1, 2, 4 or 8 bits.
        levels: "uniform" or "learned".
        momentum: of the learned basis.
    """

    def __init__(
        self,
        bits: int = 2,
        kind: str = "relu",
        max_value: float | None = None,
        levels: str = "uniform",
        momentum: float = 0.9,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        given = {"bits": bits, "kind": kind, "max_value": max_value, "momentum": momentum}
        check(QuantActivation.__init__, "QuantActivation", given)
        if bits not in _RANGE:
            raise ModelError(f"QuantActivation: bits={bits} is not 1, 2, 4 or 8")
        if kind not in ("relu", "sign") or (kind == "sign" and bits != 1):
            raise ModelError(
                f"QuantActivation: kind {kind!r} with {bits} bits is unknown; use 'relu', or "
                "'sign' with 1 bit"
            )
        if levels not in ("uniform", "learned") or (levels == "learned" and bits > 4):
            raise ModelError(
                f"QuantActivation: levels {levels!r} with {bits} bits is unknown; use 'uniform', "
                "or 'learned' with at most 4 bits"
            )
        if max_value is not None and not max_value > 0:
            raise ModelError(f"QuantActivation: max_value={max_value} is not above 0")
        self.bits, self.kind, self.levels, self.momentum = bits, kind, levels, momentum
        self.max_value = _RANGE[bits] if max_value is None else float(max_value)
        #: every subset of the basis, [2**bits, bits]
        codes = np.arange(2**bits)[:, None] >> np.arange(bits)[None, :] & 1
        self._subsets = codes.astype(np.float32)
        self.supports_masking = True

    def build(self, input_shape: Any) -> None:
        """The learned basis, evenly spaced at first."""
        self.basis = None
        if self.levels == "learned":
            even = self.max_value / (2**self.bits - 1) * 2.0 ** np.arange(self.bits)
            self.basis = self.add_weight(
                name="basis",
                shape=(self.bits,),
                initializer=keras.initializers.Constant(even),
                trainable=False,
            )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """The quantized activation, the shape of `inputs`."""
        if self.kind == "sign":
            clipped = tf.clip_by_value(inputs, -1.0, 1.0)
            return clipped + tf.stop_gradient(tf.where(inputs >= 0, 1.0, -1.0) - clipped)
        if self.levels == "uniform":
            step = self.max_value / (2**self.bits - 1)
            clipped = tf.clip_by_value(inputs, 0.0, self.max_value)
            return clipped + tf.stop_gradient(step * tf.floor(clipped / step + 0.5) - clipped)
        assert self.basis is not None
        if training:
            self.basis.assign(self._smoothed(tf.stop_gradient(inputs)))
        values, thresholds = self._table()
        clipped = tf.clip_by_value(inputs, 0.0, values[-1])
        code = tf.searchsorted(thresholds, tf.reshape(inputs, [-1]), side="right")
        chosen = tf.reshape(tf.gather(values, code), tf.shape(inputs))
        return clipped + tf.stop_gradient(chosen - clipped)

    def _table(self) -> tuple[Any, Any]:
        assert self.basis is not None
        values = tf.sort(tf.linalg.matvec(self._subsets, self.basis.value))
        return values, (values[1:] + values[:-1]) / 2

    def _smoothed(self, inputs: Any) -> Any:
        """One QEM step: nearest subset of every element, least squares for the basis."""
        assert self.basis is not None
        old = tf.convert_to_tensor(self.basis.value)
        sums = tf.linalg.matvec(self._subsets, old)
        order = tf.argsort(sums)
        ordered = tf.gather(sums, order)
        flat = tf.reshape(inputs, [-1])
        place = tf.searchsorted((ordered[1:] + ordered[:-1]) / 2, flat, side="right")
        codes = tf.gather(self._subsets, tf.gather(order, place))
        positive = tf.nn.relu(flat)[:, None]
        count = tf.cast(tf.size(flat), tf.float32)
        gram = tf.matmul(codes, codes, True) / count + 1e-4 * tf.eye(self.bits)
        target = tf.matmul(codes, positive, True) / count + 1e-4 * old[:, None]
        fitted = tf.maximum(tf.linalg.solve(gram, target)[:, 0], 1e-4)
        return self.momentum * old + (1 - self.momentum) * fitted

    def table(self) -> tuple[np.ndarray, np.ndarray]:
        """(values float32 [2**bits] ascending, thresholds float32 [2**bits - 1]).

        code(x) = number of thresholds <= x; the layer's output is values[code].
        """
        if self.kind == "sign":
            return np.array([-1, 1], np.float32), np.array([0], np.float32)
        if self.levels == "uniform":
            step = self.max_value / (2**self.bits - 1)
            codes = np.arange(2**self.bits)
            return (step * codes).astype(np.float32), (step * (codes[1:] - 0.5)).astype(np.float32)
        values, thresholds = self._table()
        return np.array(values), np.array(thresholds)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The input's."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """What a front end reads."""
        own = {
            "bits": self.bits,
            "kind": self.kind,
            "max_value": self.max_value,
            "levels": self.levels,
            "momentum": self.momentum,
        }
        return {**super().get_config(), **own}


@partial(checked, who="quantize_activations")
def quantize_activations(
    model: keras.Model,
    bits: int,
    kind: str = "relu",
    levels: str = "uniform",
    include: Sequence[Pattern] | None = None,
) -> keras.Model:
    """A copy of `model` whose ReLUs are `QuantActivation`s and whose hidden states have few bits.

    Layers keep their names and weights; the copy is not compiled. ReLU layers and
    `Activation("relu")` are replaced; behind a layer with a ReLU inside (`activation="relu"`)
    comes one of its own, called NAME_activation. LSTM, GRU, SimpleRNN (and RNN of their cells,
    Bidirectional) become an RNN of the same name with a `QuantLSTMCell` or the like; with
    kind="sign", learned levels or one bit they stay, and a warning says so.

    Args:
        model: functional or Sequential, built.
        bits, kind, levels: see `QuantActivation`; recurrent layers take any bits of 2..8.
        include: names (with * and ?) of the layers to turn; None for all.

    Raises:
        ModelError: the model has no such layer, or a recurrent one has no form of few bits.

    Example:
        small = sc.quantize_activations(model, 4)
        small.compile("adam", "mse")
        small.fit(x, y, callbacks=[sc.QuantizedNN(weight_bits=4, activation_bits=4)])
    """
    replaced, fused, left = [], [], []
    states = kind == "relu" and levels == "uniform" and bits > 1

    def swap(layer: keras.layers.Layer) -> keras.layers.Layer:
        is_relu = getattr(layer, "activation", None) is keras.activations.relu
        alone = isinstance(layer, keras.layers.ReLU) or (
            is_relu and isinstance(layer, keras.layers.Activation)
        )
        wanted = include is None or any(matches(layer, p) for p in include)
        if wanted and quant_cells.is_recurrent(layer):
            if states:
                replaced.append(layer.name)
                return quant_cells.quantized(layer, bits)
            left.append(layer.name)
        if wanted and alone:
            replaced.append(layer.name)
            return QuantActivation(bits, kind, levels=levels, name=layer.name)
        config = layer.get_config()
        if wanted and is_relu and not isinstance(layer, keras.layers.RNN):
            fused.append(layer.name)
            config = {**config, "activation": "linear"}
        return layer.__class__.from_config(config)

    def behind(name: str) -> QuantActivation:
        return QuantActivation(bits, kind, levels=levels, name=f"{name}_activation")

    if isinstance(model, keras.Sequential):
        copy = _sequential(model, swap, fused, behind)
    else:
        after: dict[str, QuantActivation] = {}

        def call(layer: keras.layers.Layer, *args: Any, **kwargs: Any) -> Any:
            out = layer(*args, **kwargs)
            if layer.name not in fused:
                return out
            if layer.name not in after:  # a shared layer has one
                after[layer.name] = behind(layer.name)
            return after[layer.name](out)

        copy = keras.models.clone_model(model, clone_function=swap, call_function=call)
    if not replaced and not fused:
        named = "" if include is None else f" named {', '.join(map(str, include))}"
        raise ModelError(
            f"quantize_activations: model {model.name!r} has no ReLU or recurrent layer{named} to "
            f"take {bits} bit{'s' * (bits > 1)} of kind {kind!r}, {levels} levels"
        )
    if left:
        warnings.warn(
            f"the hidden states of {', '.join(map(repr, left))} keep 8 bits: they have evenly "
            "spaced levels of 2 bits or more only",
            stacklevel=2,
        )
    for layer in model.layers:
        if layer.weights:
            copy.get_layer(layer.name).set_weights(layer.get_weights())
    return copy


def _sequential(
    model: keras.Sequential,
    swap: Callable[[keras.layers.Layer], keras.layers.Layer],
    fused: list[str],
    behind: Callable[[str], QuantActivation],
) -> keras.Sequential:
    made: list[Any] = [keras.Input(model.input_shape[1:], dtype=model.inputs[0].dtype)]
    for layer in model.layers:
        made.append(swap(layer))
        if layer.name in fused:
            made.append(behind(layer.name))
    return keras.Sequential(made, name=model.name)


def check_activations(
    model: keras.Model, bits: int | None, who: str, kind: str | None = None
) -> None:
    """ModelError unless `model` has activations of `bits` (None: nothing is asked for)."""
    if bits is None:
        return
    found = [x for x in model.layers if isinstance(x, QuantActivation)]
    if any(x.bits == bits and kind in (None, x.kind) for x in found):
        return
    if kind in (None, "relu") and any(bits in quant_cells.state_bits(x) for x in model.layers):
        return
    asked = f"{bits}, {kind!r}" if kind else str(bits)
    raise ModelError(
        f"{who} wants {bits}-bit activations and model {model.name!r} has no "
        f"QuantActivation({asked}); make it one with quantize_activations(model, {asked})"
    )
