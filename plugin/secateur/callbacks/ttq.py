"""Trained ternary quantization: Zhu, Han, Mao, Dally, ICLR 2017."""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression, require
from secateur.callbacks.projection import Projection, Tensor, keep_largest
from secateur.callbacks.select import Pattern, Weight

_LEAST = 1e-6  #: the two scales stay positive


class TTQ(Projection):
    """One layer in {-Wn, 0, Wp}; both scales are trained."""

    method = "TernaryTTQ"
    per_channel = False

    def __init__(
        self,
        variable: keras.Variable,
        begin_step: int = 0,
        threshold: float = 0.05,
        sparsity: float | None = None,
        update: str = "mean",
        depthwise: bool = False,
    ):
        super().__init__(variable, begin_step, depthwise)
        self.threshold, self.sparsity, self.update = threshold, sparsity, update
        self.scales = self.add_state("scales", np.ones(2, np.float32))  #: Wp, Wn
        #: the largest |v| when quantization began: the paper's latent weights lie in -1..1
        self.most = self.add_state("most", np.float32(1))

    def absorb(self, delta: Tensor, previous: Tensor) -> Tensor:
        """The scales take their weights' moves, the latent weight the scaled one."""
        assert self.latent is not None
        up, down = tf.cast(previous > 0, tf.float32), tf.cast(previous < 0, tf.float32)
        moves = tf.stack([tf.reduce_sum(delta * up), -tf.reduce_sum(delta * down)])
        if self.update == "mean":
            moves = moves / tf.maximum(tf.stack([tf.reduce_sum(up), tf.reduce_sum(down)]), 1.0)
        scales = tf.convert_to_tensor(self.scales.value)
        factor = (scales[0] * up + scales[1] * down) / self.most.value + (1 - up - down)
        self.scales.assign(tf.maximum(scales + moves, _LEAST))
        return self.latent.value + delta * factor

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """Wp above the threshold, -Wn below minus the threshold."""
        size = tf.abs(value)
        if self.sparsity is None:
            kept = tf.cast(size > self.threshold * tf.reduce_max(size), tf.float32)
        else:
            kept = keep_largest(size, self.sparsity)
        if mask is not None:
            kept = kept * mask
        up, down = kept * tf.cast(value > 0, tf.float32), kept * tf.cast(value < 0, tf.float32)

        def means() -> Tensor:
            total = tf.stack([tf.reduce_sum(size * up), tf.reduce_sum(size * down)])
            count = tf.stack([tf.reduce_sum(up), tf.reduce_sum(down)])
            return tf.maximum(total / tf.maximum(count, 1.0), _LEAST)

        first = tf.equal(self.step.value, self.begin_step)
        scales = tf.cond(first, means, lambda: tf.convert_to_tensor(self.scales.value))
        self.scales.assign(scales)
        most = tf.maximum(tf.reduce_max(size), _LEAST)
        self.most.assign(tf.where(first, most, self.most.value))
        return scales[0] * up - scales[1] * down


class TernaryTTQ(Compression):
    """w in {-Wn, 0, Wp} with both scales of the layer trained:

        w = Wp where v > D, -Wn where v < -D, else 0;   D = threshold * max |v|
        dL/dWp = sum of dL/dw over the positive ones,  dL/dWn = -sum over the negative ones
        dL/dv  = Wp/m dL/dw, dL/dw, Wn/m dL/dw   (positive, zero, negative).

    m is the layer's max |v| when quantization begins: the paper first divides the weights by it,
    and its Wp and Wn are in that unit.

    The scales start as the mean |v| of their side. `update="sum"` is the paper's sum, which needs
    plain SGD with a small rate; "mean" divides it by the number of weights, so that a scale moves
    like a weight under any optimizer.

    Args:
        begin_step: first step that projects.
        threshold: D in units of max |v| (the paper's 0.05).
        sparsity: a share of zeros in the layer, instead of `threshold` (the paper's second way).
        update: "mean" or "sum".
        include, exclude, resume: see `Compression`; depthwise kernels only when included.
    """

    depthwise_by_default = False

    def __init__(
        self,
        begin_step: int = 0,
        threshold: float = 0.05,
        sparsity: float | None = None,
        update: str = "mean",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(begin_step >= 0, f"TernaryTTQ: begin_step={begin_step} is negative; give 0 or more")
        require(0 <= threshold < 1, f"TernaryTTQ: threshold={threshold} is not in 0..1; try 0.05")
        require(
            sparsity is None or 0 <= sparsity < 1,
            f"TernaryTTQ: sparsity={sparsity} is not a share; give 0 <= sparsity < 1",
        )
        require(update in ("mean", "sum"), f"TernaryTTQ: update {update!r} is unknown; mean or sum")
        self.begin_step, self.threshold = begin_step, threshold
        self.sparsity, self.update = sparsity, update

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return TTQ(
            target.variable,
            self.begin_step,
            self.threshold,
            self.sparsity,
            self.update,
            target.depthwise,
        )
