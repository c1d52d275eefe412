"""Hyperspherical quantization (HQ) to ternary weights.

Liu, Chen, Ma, Liu, "Hyperspherical Quantization: Toward Smaller and More Accurate Models", 2022.
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

_LEAST = 1e-6  #: shortest vector that still has a direction


class HQ(Projection):
    """One weight whose output channels are points on spheres, later their ternary directions.

    The latent weight is the vector that a point is the direction of: its length is free.
    """

    method = "HypersphericalTernary"

    def __init__(
        self,
        variable: keras.Variable,
        prune: Schedule,
        grow: Schedule,
        train_radius: bool = False,
        rank: str = "direction",
        depthwise: bool = False,
    ):
        super().__init__(variable, prune.begin, depthwise)
        self.prune, self.grow, self.train_radius = prune, grow, train_radius
        self.rank = rank
        shape = [1] * len(self.axes) + list(variable.shape[len(self.axes) :])
        self.radius = self.add_state("radius", np.ones(shape, np.float32))

    @property
    def last_step(self) -> int:
        """The last of the ternary phase."""
        return max(self.begin_step, self.grow.last)

    def absorb(self, delta: Tensor, previous: Tensor) -> Tensor:
        """The latent vector takes the whole move, as only its direction counts; a trained radius
        takes the move's part along the weight.

        That part is not taken from the latent vector: the weight may be ternary, and what lies
        along it turns the latent vector. Nor is its length set back: moves across it lengthen it,
        so that it turns less and less, as under a derivative that goes through |v|.
        """
        assert self.latent is not None
        if self.train_radius:
            along = tf.reduce_sum(delta * previous / self._length(previous), self.axes, True)
            self.radius.assign(tf.maximum(self.radius.value + along, _LEAST))
        return self.latent.value + delta

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The nearest point: on the sphere at first, later ternary."""
        assert self.latent is not None
        step = self.step.value
        first = tf.equal(step, self.begin_step)
        radius = tf.where(first, self._length(value), self.radius.value)
        self.radius.assign(radius)
        size = tf.abs(value if self.rank == "latent" else value / self._length(value))

        def pruned() -> tuple[Tensor, Tensor]:
            kept = tf.cond(
                self.prune.due(step),
                lambda: keep_largest(size, self.prune.at(step, 0.0)),
                lambda: tf.ones_like(size),
            )
            latent = value * kept  # zeroed weights train on from zero: nothing is masked
            return latent, radius * latent / self._length(latent)

        def ternary() -> tuple[Tensor, Tensor]:
            kept = keep_largest(size, self.grow.at(step, self.prune.final))
            kept = kept if mask is None else kept * mask
            count = tf.reduce_sum(kept, self.axes, keepdims=True)
            sign = tf.where(value < 0, -1.0, 1.0) * kept
            return value, radius / tf.sqrt(tf.maximum(count, 1.0)) * sign

        latent, result = tf.cond(step >= max(1, self.grow.begin), ternary, pruned)
        self.latent.assign(latent)
        return result

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-1, 0, 1 and the scale of each output channel, radius / sqrt(non-zeros)."""
        return ternary_levels(weight, self.axes)

    def bits(self, weight: np.ndarray) -> float:
        """log2(3) once the weight is ternary."""
        return super().bits(weight) if int(self.step.numpy()) >= self.grow.begin else 32.0

    def _length(self, value: Tensor) -> Tensor:
        square = tf.reduce_sum(tf.square(value), self.axes, keepdims=True)
        return tf.sqrt(tf.maximum(square, _LEAST**2))


class HypersphericalTernary(Compression):
    """Ternary weights reached over the sphere (HQ).

    Every output channel is w = r u, u = v / |v|. A step moves its latent vector, v <- v + dw, of
    which only the direction counts: |v| tends to grow and v to turn less and less, as with weight
    normalisation.

    r is the channel's length at `begin_step` instead of the paper's 1, so that layers without
    batch normalisation keep their size; with `train_radius` it takes the radial part of the steps,
    dr = <dw, w> / |w|. (Behind a layer, batch normalisation makes that part mere noise, which its
    moving averages then chase.)

    1. `begin_step`..`ternary_step`: at every `every`-th step the share p(t) of smallest |u_i| (or
       |v_i|, see `rank`) of the layer, rising from 0 to `initial_sparsity` along a cubic, is reset
       to 0 and trained on from there. That opens a gap around zero and shrinks the cosine distance
       between u and its ternary pattern, on which the straight-through gradient's bias depends.
    2. `ternary_step`..`end_step`: w = r / sqrt(k) * sign(v) [|u_i| > t], k the channel's
       survivors, straight through to v; the threshold t rises step by step so that the share of
       zeros goes from `initial_sparsity` to `sparsity`. Then it stays.

    The paper also normalises the feature entering the classifier; that is a layer of the model
    (`keras.layers.UnitNormalization`), not of its weights, and is left to the user.

    Args:
        sparsity: share of zeros in each layer at the end.
        begin_step, ternary_step, end_step: see above.
        initial_sparsity: where pruning ends and the ternary threshold starts.
        every: steps between two resets.
        train_radius: see above; for networks without batch normalisation.
        rank: which weights are small. "direction", the paper's: those of small |u_i|, which leaves
            about as many to every channel; "latent": those of small |v_i|, so that channels whose
            vectors are short leave theirs to others, with batch normalisation the better way.
        include, exclude, resume: see `Compression`; depthwise kernels only when included.
    """

    depthwise_by_default = False

    def __init__(
        self,
        sparsity: float = 0.8,
        begin_step: int = 0,
        ternary_step: int = 400,
        end_step: int = 800,
        initial_sparsity: float = 0.5,
        every: int = 8,
        train_radius: bool = False,
        rank: str = "direction",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(
            0 <= initial_sparsity <= sparsity,
            f"HypersphericalTernary: initial_sparsity={initial_sparsity} is not in 0..sparsity; "
            f"give at most {sparsity}",
        )
        require(
            rank in ("direction", "latent"),
            f"HypersphericalTernary: rank {rank!r} is unknown; use direction or latent",
        )
        self.train_radius, self.rank = train_radius, rank
        self.prune = Schedule(initial_sparsity, begin_step, ternary_step, every=every)
        self.grow = Schedule(sparsity, ternary_step, end_step)

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        how = self.prune, self.grow, self.train_radius, self.rank
        return HQ(target.variable, *how, depthwise=target.depthwise)
