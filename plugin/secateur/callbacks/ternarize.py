"""Ternary weights -a, 0, a with one a for each output channel, trained straight through.

The set and its scale are those of Li, Zhang, Liu, "Ternary Weight Networks", 2016; the threshold
may also follow a share of zeros, so that ternarisation and pruning are one.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression
from secateur.callbacks.projection import (
    Projection,
    Tensor,
    keep_largest,
    scaled_sign,
    ternary_levels,
)
from secateur.callbacks.schedule import Schedule
from secateur.callbacks.select import Pattern, Weight
from secateur.errors import ModelError


class TernaryProjection(Projection):
    """One weight in {-a, 0, a}: a by output channel or by layer."""

    method = "Ternarize"

    def __init__(
        self,
        variable: keras.Variable,
        begin_step: int = 0,
        threshold: float = 0.7,
        schedule: Schedule | None = None,
        initial_sparsity: float = 0.42,
        scale: str = "channel",
        rank: str = "layer",
        depthwise: bool = False,
    ):
        super().__init__(variable, begin_step, depthwise)
        self.threshold, self.schedule, self.initial = threshold, schedule, initial_sparsity
        self.scale_axes = self.axes if scale == "channel" else None
        self.rank = rank

    @property
    def last_step(self) -> int:
        """The schedule's last, if there is one."""
        return max(self.begin_step, self.schedule.last if self.schedule else 0)

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """a * sign(value) where |value| is above the threshold, else 0."""
        kept = self._kept(tf.abs(value), mask)
        if mask is not None:
            kept = kept * mask
        return scaled_sign(value, kept, self.scale_axes)

    def _kept(self, magnitude: Tensor, mask: Tensor | None) -> Tensor:
        if self.schedule is not None:
            share = self.schedule.at(self.step.value, self.initial)
            if self.rank == "channel":
                return _keep_largest_by_channel(magnitude, share, len(self.axes))
            return keep_largest(magnitude, share)
        if mask is None:
            mean = tf.reduce_mean(magnitude, self.scale_axes, keepdims=True)
        else:  # of the survivors
            count = tf.reduce_sum(mask, self.scale_axes, keepdims=True)
            total = tf.reduce_sum(magnitude * mask, self.scale_axes, keepdims=True)
            mean = total / tf.maximum(count, 1.0)
        return tf.cast(magnitude > self.threshold * mean, tf.float32)

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-1, 0, 1 and the scale of each output channel."""
        return ternary_levels(weight, self.axes)


def _keep_largest_by_channel(magnitude: Tensor, share: Tensor, inner: int) -> Tensor:
    size = int(np.prod(magnitude.shape[:inner]))
    rows = tf.transpose(tf.reshape(magnitude, [size, -1]))
    drop = tf.cast(tf.round(share * size), tf.int32)
    rank = tf.argsort(tf.argsort(rows, axis=-1, stable=True), axis=-1)
    kept = tf.cast(rank >= drop, tf.float32)
    return tf.reshape(tf.transpose(kept), magnitude.shape)


class Ternarize(Compression):
    """Ternary weights during `fit`: w = a * sign(v) * [|v| > t], v the latent float weight.

    The gradient at w moves v (straight through). t is `threshold` * mean |v| (TWN's 0.7), or, with
    `sparsity`, whatever leaves exactly that share of zeros in the layer; a is the mean |v| of the
    survivors, anew at every step. With `Prune` in the same fit, pruned weights stay zero and the
    threshold is set by the survivors.

    Args:
        begin_step: optimizer step from which on weights are ternary.
        threshold: in units of the mean |v|; ignored when `sparsity` is given.
        sparsity: share of zeros in each layer, 0 <= sparsity < 1.
        end_step: with `sparsity`, the share grows from `initial_sparsity` to `sparsity` between
            `begin_step` and `end_step` along a cubic; None for at once.
        initial_sparsity: 0.42 is what TWN's threshold leaves of normally distributed weights.
        scale: "channel" (one a for each output channel) or "layer".
        rank: with `sparsity`: "layer" ranks all weights of the layer, "channel" gives each output
            channel the same share.
        include, exclude, resume: see `Compression`. Default: every Conv and Dense kernel;
            depthwise kernels only when `include` names them, as three levels cost them much
            accuracy and they are few.

    Raises:
        ModelError: arguments out of range, or layers that are not there, when `fit` begins.
    """

    depthwise_by_default = False

    def __init__(
        self,
        begin_step: int = 0,
        threshold: float = 0.7,
        sparsity: float | None = None,
        end_step: int | None = None,
        initial_sparsity: float = 0.42,
        scale: str = "channel",
        rank: str = "layer",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        if begin_step < 0:
            raise ModelError(f"Ternarize: begin_step={begin_step} is negative; give 0 or more")
        if threshold < 0:
            raise ModelError(f"Ternarize: threshold={threshold} is negative; give 0 or more")
        for name, value in (("scale", scale), ("rank", rank)):
            if value not in ("channel", "layer"):
                raise ModelError(f"Ternarize: {name} {value!r} is unknown; use channel or layer")
        self.begin_step, self.threshold = begin_step, threshold
        self.initial_sparsity, self.scale, self.rank = initial_sparsity, scale, rank
        self.schedule: Schedule | None = None
        if sparsity is None and end_step is not None:
            raise ModelError(
                f"Ternarize: end_step={end_step} has no meaning without `sparsity`, whose growth "
                "ends there; give both or neither"
            )
        if sparsity is not None:
            kind = "constant" if end_step is None else "polynomial"
            end = begin_step if end_step is None else end_step
            self.schedule = Schedule(sparsity, begin_step, end, kind)

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return TernaryProjection(
            target.variable,
            self.begin_step,
            self.threshold,
            self.schedule,
            self.initial_sparsity,
            self.scale,
            self.rank,
            target.depthwise,
        )
