"""Sparse binary weights: present or absent.

Schiavone, Zuluaga, "Sparse Binary Neural Networks", 2021 ("Sparsifying Binary Networks", 2022).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression, require
from secateur.callbacks.projection import Projection, Tensor, keep_largest, ternary_levels
from secateur.callbacks.schedule import Schedule
from secateur.callbacks.select import Pattern, Weight


class Present(Projection):
    """One weight in {0, b}, b and its sign by output channel."""

    method = "SparseBinary"

    def __init__(self, variable: keras.Variable, schedule: Schedule, depthwise: bool = False):
        super().__init__(variable, schedule.begin, depthwise)
        self.schedule = schedule
        shape = [1] * len(self.axes) + list(variable.shape[len(self.axes) :])
        self.sign = self.add_state("sign", np.ones(shape, np.float32))

    @property
    def last_step(self) -> int:
        """The schedule's last."""
        return max(self.begin_step, self.schedule.last)

    def absorb(self, delta: Tensor, previous: Tensor) -> Tensor:
        """latent + delta; c * latent stops at 0, where a weight is as absent as it can be."""
        sign = self.sign.value
        return sign * tf.nn.relu(sign * super().absorb(delta, previous))

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """b where the weight is present: the largest sign * value of the layer."""
        first = tf.equal(self.step.value, self.begin_step)
        cubes = tf.reduce_sum(value**3, self.axes, keepdims=True)  # the heavier tail decides
        sign = tf.where(first, tf.where(cubes < 0, -1.0, 1.0), self.sign.value)
        self.sign.assign(sign)
        strength = tf.nn.relu(value * sign)
        strength = strength if mask is None else strength * mask
        size = float(np.prod(value.shape))
        share = tf.math.ceil(self.schedule.at(self.step.value, 0.5) * size - 1e-3) / size
        kept = keep_largest(strength, share) * tf.cast(strength > 0, tf.float32)
        count = tf.maximum(tf.reduce_sum(kept, self.axes, keepdims=True), 1.0)
        level = tf.reduce_sum(strength * kept, self.axes, keepdims=True) / count
        return sign * level * kept

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """0 and 1 (-1 in channels with a negative b) and |b| of each output channel."""
        return ternary_levels(weight, self.axes)


class SparseBinary(Compression):
    """w = b m, m in {0, 1}, with at most `max_density` of a layer's weights present.

        m_i = 1 for the largest c v_i > 0 of the layer, c = sign of the channel (fixed at the start)
        b   = c * mean of |v_i| over the present ones of the channel,   dL/dv = dL/dw

    c v stops at 0: below, a weight is no more absent than there, but would take the longer to come
    back (the saturation of the hard tanh through which binary networks' gradients go).

    An absent weight costs nothing and a present one an addition; batch normalisation takes b. The
    allowed share falls from one half to `max_density` between `begin_step` and `end_step`. With
    b = 0 for the absent level the domain is the paper's 0/1; the channel's sign is ours, and lets
    a network without batch normalisation subtract.

    Args:
        max_density: largest share of present weights in a layer, 0 < max_density <= 0.5.
        begin_step, end_step: see above.
        include, exclude, resume: see `Compression`; depthwise kernels only when included.
    """

    depthwise_by_default = False

    def __init__(
        self,
        max_density: float = 0.1,
        begin_step: int = 0,
        end_step: int = 400,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(
            0 < max_density <= 0.5,
            f"SparseBinary: max_density={max_density} is not in 0 < max_density <= 0.5",
        )
        self.schedule = Schedule(1.0 - max_density, begin_step, end_step)

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return Present(target.variable, self.schedule, target.depthwise)
