"""Scores from what goes through the network: mean activations, and Taylor's first order.

Molchanov, Tyree, Karras, Aila, Kautz, "Pruning Convolutional Neural Networks for Resource Efficient
Inference", ICLR 2017, arXiv 1611.06440.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secateur.errors import DataError, ToolError

from .. import observe
from ..network import LayerCall, Network
from .base import Criterion, criterion


@criterion("activation")
@dataclass(kw_only=True)
class ActivationMean(Criterion):
    """s_j = the mean |a_j| where channel j is read. A baseline.

    Args:
        data: inputs, an array [n, *input shape], a list or dict of them, or (x, labels).
        batch_size: of the passes.
        Others: see `Criterion`.
    """

    data: Any = field(default=None, repr=False)
    batch_size: int = 32

    def scores(self, network: Network) -> np.ndarray:
        """Means over data, places and readers."""
        total, count = np.zeros(network.size), np.zeros(network.size)

        def look(call: LayerCall, inputs: list[Any]) -> list[Any]:
            view = call.visit.layer
            if view is not None and view.read is not None:
                x = np.abs(observe.channels_last(call, inputs[0]))
                units = network.units(view.read)
                np.add.at(total, units, x.reshape(-1, x.shape[-1]).sum(0))
                np.add.at(count, units, x.size / x.shape[-1])
            return inputs

        for batch in observe.batches(needed(self, network), self.batch_size):
            observe.run(network, list(batch), look)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)


@criterion("taylor")
@dataclass(kw_only=True)
class Taylor(Criterion):
    """s_j = |sum over places of a_j dL/da_j|, the mean over samples: the loss to first order.

    Each group's scores are divided by their L2 norm, as in the paper.

    Args:
        data: (x, labels), labels int [n] or one-hot [n, classes].
        loss: a Keras loss; by default cross-entropy, of logits unless the model ends in a softmax.
        batch_size: of the passes.
        Others: see `Criterion`.
    """

    scope: str = "global"
    data: Any = field(default=None, repr=False)
    loss: Any = None
    batch_size: int = 32

    def scores(self, network: Network) -> np.ndarray:
        """A factor of 1 on every unit where it is read; its gradient is the sum of a dL/da."""
        import keras

        if keras.backend.backend() != "tensorflow":
            raise ToolError("Taylor needs Keras' TensorFlow backend; set KERAS_BACKEND=tensorflow")
        import tensorflow as tf

        if not (isinstance(self.data, tuple) and len(self.data) == 2):
            raise DataError("Taylor needs labels: give data=(x, y)")
        arrays, y = observe.as_inputs(network, self.data), np.asarray(self.data[1])
        if len(y) != len(arrays[0]):
            raise DataError(f"Taylor has {len(arrays[0])} inputs and {len(y)} labels")
        total = np.zeros(network.size)
        for i in range(0, len(y), self.batch_size):
            part = slice(i, i + self.batch_size)
            gate = tf.Variable(tf.ones((len(y[part]), network.size)))

            def look(call: LayerCall, inputs: list[Any], gate: Any = gate) -> list[Any]:
                view, axis = call.visit.layer, call.visit.inputs[0] if inputs else None
                if view is None or view.read is None or axis is None:
                    return inputs
                factor = tf.gather(gate, network.units(view.read), axis=1)
                shape = [1] * len(inputs[0].shape)
                shape[0], shape[axis.axis] = -1, len(view.read)
                return [inputs[0] * tf.reshape(factor, shape), *inputs[1:]]

            with tf.GradientTape() as tape:
                fed = [tf.convert_to_tensor(a[part]) for a in arrays]
                out = observe.run(network, fed, look)[0]
                loss = tf.reduce_sum(self._loss(out, y[part]))
            gradient = tape.gradient(loss, gate)
            total += np.abs(np.asarray(tf.convert_to_tensor(gradient))).sum(0)
        scores = total / len(y)
        for g in network.cuttable:
            norm = np.sqrt((scores[g.units] ** 2).sum())
            if norm > 0:
                scores[g.units] /= norm
        return scores

    def _loss(self, out: Any, y: np.ndarray) -> Any:
        import keras

        if self.loss is not None:
            return keras.losses.get(self.loss)(y, out) * len(y)
        flat = keras.ops.reshape(out, (len(y), -1))
        total = keras.ops.sum(flat, axis=1)
        probable = bool(keras.ops.all(keras.ops.abs(total - 1) < 1e-3)) and bool(
            keras.ops.all(flat >= 0)
        )
        if y.ndim > 1 and y.shape[-1] > 1:
            return keras.losses.categorical_crossentropy(y, flat, from_logits=not probable)
        return keras.losses.sparse_categorical_crossentropy(
            y.reshape(-1), flat, from_logits=not probable
        )


def needed(criterion: Any, network: Network) -> list[np.ndarray]:
    """The criterion's data as arrays; DataError if it has none."""
    if criterion.data is None:
        raise DataError(f"{criterion.name} looks at activations: give data=... (inputs)")
    return observe.as_inputs(network, criterion.data)
