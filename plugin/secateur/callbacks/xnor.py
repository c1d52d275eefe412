"""XNOR-Net: binary weights on binary inputs.

Rastegari, Ordonez, Redmon, Farhadi, "XNOR-Net: ImageNet Classification Using Binary Convolutional
Neural Networks", ECCV 2016.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression, require
from secateur.callbacks.binary import Sign
from secateur.callbacks.projection import Projection, Tensor
from secateur.callbacks.quant_activation import check_activations
from secateur.callbacks.select import Pattern, Weight


class XNORSign(Sign):
    """Binary weights with the paper's gradient, in units of what the whole channel has."""

    method = "XNOR"

    def absorb(self, delta: Tensor, previous: Tensor) -> Tensor:
        """latent + delta * (1/n + a [|latent| <= 1]) / (1/n + a), clipped to -1..1."""
        assert self.latent is not None
        latent = tf.convert_to_tensor(self.latent.value)
        count = float(np.prod(self.variable.shape[: len(self.axes)]))
        scale = tf.reduce_max(tf.abs(previous), self.axes, keepdims=True)
        inside = tf.cast(tf.abs(latent) <= 1.0, tf.float32)
        factor = (1.0 / count + scale * inside) / (1.0 / count + scale)
        return tf.clip_by_value(latent + delta * factor, -1.0, 1.0)


class XNOR(Compression):
    """w = a sign(v), a = mean |v| over each output channel of n weights, on inputs of one bit:

        dL/dv = dL/dw (1/n + a [|v| <= 1]) / (1/n + a),   v clipped to -1..1

    The paper has no denominator. It is what all weights of a channel have in common: Adam, with
    which the paper trains, divides it out of a gradient, but here the optimizer has done its part
    before, and 1/n + a, some hundredths, would be a rate by so much smaller. The clipping is that
    of the authors' code.

    The inputs of the chosen layers must be signs: `QuantActivation(1, "sign")` in front of them,
    with the block order batch norm, sign, convolution, pool (`quantize_activations(model, 1,
    "sign")` turns a model's ReLUs into signs; a pooling between sign and next convolution would
    make nearly all of them 1). The paper's first and last layer keep real weights: `exclude` the
    last. The paper's per-position input scale is left out,
    in training as on the device: batch normalisation behind the layer takes its place.

    Args:
        begin_step: first step that projects.
        include, exclude, resume: see `Compression`; depthwise kernels only when included.

    Raises:
        ModelError: the model has no `QuantActivation(1, "sign")`, when `fit` begins.
    """

    depthwise_by_default = False

    def __init__(
        self,
        begin_step: int = 0,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(begin_step >= 0, f"XNOR: begin_step={begin_step} is negative; give 0 or more")
        self.begin_step = begin_step

    def prepare(self, targets: list[Weight]) -> None:
        """Check the model's activations."""
        check_activations(self.model, 1, self.name, "sign")

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return XNORSign(target.variable, self.begin_step, "channel", target.depthwise)
