"""Low-bit weights and activations: QNN and DoReFa-Net.

Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, "Quantized Neural Networks", JMLR 2018; Zhou, Wu,
Ni, Zhou, Wen, Zou, "DoReFa-Net", 2016.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression, require
from secateur.callbacks.projection import Projection, Tensor
from secateur.callbacks.quant_activation import check_activations
from secateur.callbacks.select import Pattern, Weight


class DoReFa(Projection):
    """One layer on 2^k levels symmetric about zero."""

    method = "QuantizedNN"
    per_channel = False

    def __init__(
        self, variable: keras.Variable, bits: int, begin_step: int = 0, depthwise: bool = False
    ):
        super().__init__(variable, begin_step, depthwise)
        self.bits_ = bits
        self.top = 2**bits - 1
        #: the largest level: what the layer's was when quantization began
        self.scale = self.add_state("scale", np.float32(1))

    def absorb(self, delta: Tensor, previous: Tensor) -> Tensor:
        """latent + delta * the derivative of the squashing."""
        assert self.latent is not None
        latent = tf.convert_to_tensor(self.latent.value)
        if self.bits_ == 1:
            return latent + delta * tf.cast(tf.abs(latent) <= self.scale.value, tf.float32)
        squashed = tf.tanh(latent)
        factor = self.scale.value / self._most(squashed) * (1 - tf.square(squashed))
        return latent + delta * factor

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The level nearest to tanh(value)."""
        first = tf.equal(self.step.value, self.begin_step)
        size = tf.abs(value)
        start = tf.reduce_mean(size) if self.bits_ == 1 else tf.reduce_max(size)
        scale = tf.where(first, tf.maximum(start, 1e-6), self.scale.value)
        self.scale.assign(scale)
        if self.bits_ == 1:
            level = tf.where(value < 0, -1.0, 1.0)
        else:
            squashed = tf.tanh(value)
            share = squashed / (2 * self._most(squashed)) + 0.5
            level = 2 * tf.round(self.top * share) - self.top
        kept = 1.0 if mask is None else mask
        return level * (scale / self.top) * kept

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Odd integers -(2^k - 1)..2^k - 1 (0 where pruned) and the layer's scale."""
        scale = np.float32(self.scale.numpy()) / np.float32(self.top)
        return np.rint(weight / scale).astype(np.int32), np.asarray(scale)

    @staticmethod
    def _most(squashed: Tensor) -> Tensor:
        return tf.maximum(tf.reduce_max(tf.abs(squashed)), 1e-6)


class QuantizedNN(Compression):
    """k-bit weights and activations in the manner of QNN and DoReFa-Net.

        k > 1:  w = s (2 round((2^k - 1) x) / (2^k - 1) - 1),  x = tanh(v) / (2 max |tanh v|) + 1/2
                dL/dv = dL/dw * s (1 - tanh^2 v) / max |tanh v|     (rounding passed straight)
        k = 1:  w = s sign(v),  dL/dv = dL/dw [|v| <= s]            (hard tanh)

    The papers have s = 1 and batch normalisation; here s is the layer's max |v| (mean |v| for one
    bit) when quantization begins, so that a trained network keeps its size.

    Args:
        weight_bits: k, 1..8.
        activation_bits: width of the `QuantActivation` layers the model must have (1, 2, 4 or 8;
            `quantize_activations` puts them there); None if the activations stay 8 bit.
        begin_step: first step that projects.
        include, exclude, resume: see `Compression`; depthwise kernels only when included.
    """

    depthwise_by_default = False

    def __init__(
        self,
        weight_bits: int = 2,
        activation_bits: int | None = None,
        begin_step: int = 0,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(1 <= weight_bits <= 8, f"QuantizedNN: weight_bits={weight_bits} is not in 1..8")
        require(
            begin_step >= 0, f"QuantizedNN: begin_step={begin_step} is negative; give 0 or more"
        )
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.begin_step = begin_step

    def prepare(self, targets: list[Weight]) -> None:
        """Check the model's activations."""
        check_activations(self.model, self.activation_bits, self.name)

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return DoReFa(target.variable, self.weight_bits, self.begin_step, target.depthwise)
