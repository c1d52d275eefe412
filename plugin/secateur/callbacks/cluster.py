"""Weight sharing: a k-means codebook for each layer whose centroids train on.

Han, Mao, Dally, "Deep Compression", ICLR 2016.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression
from secateur.callbacks.projection import Projection, Tensor
from secateur.callbacks.prune import check_layers
from secateur.callbacks.select import Pattern, Weight
from secateur.errors import ModelError

_ROUNDS = 30  #: Lloyd's iterations; one-dimensional k-means has settled long before


class CodebookProjection(Projection):
    """Weights of one layer share `clusters` values; zeros stay zeros and take none of them."""

    method = "Cluster"
    straight_through = False
    per_channel = False

    def __init__(
        self,
        variable: keras.Variable,
        clusters: int,
        begin_step: int = 0,
        init: str = "linear",
        update: str = "mean",
        seed: int = 0,
    ):
        super().__init__(variable, begin_step)
        self.clusters, self.init, self.update, self.seed = clusters, init, update, seed
        self.centroids = self.add_state("centroids", np.zeros(clusters, np.float32))
        self.index = self.add_state("index", np.full(variable.shape, -1, np.int32))

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The weights' centroids, moved by the mean (or sum) of their weights' moves."""
        flat = tf.reshape(value, [-1])
        centroids, index = tf.cond(
            tf.equal(self.step.value, self.begin_step),
            lambda: kmeans(flat, self.clusters, self.init, self.seed),
            lambda: self._move(flat, mask),
        )
        self.centroids.assign(centroids)
        self.index.assign(tf.reshape(index, value.shape))
        shared = tf.where(index >= 0, tf.gather(centroids, tf.maximum(index, 0)), 0.0)
        shared = tf.reshape(shared, value.shape)
        return shared if mask is None else shared * mask

    def _move(self, flat: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        index = tf.reshape(self.index.value, [-1])
        if mask is not None:
            index = tf.where(tf.reshape(mask, [-1]) > 0, index, -1)
        centroids = tf.convert_to_tensor(self.centroids.value)
        moves = flat - tf.gather(centroids, tf.maximum(index, 0))
        total = tf.math.unsorted_segment_sum(moves, index, self.clusters)  # -1 is left out
        if self.update == "mean":
            count = tf.math.unsorted_segment_sum(tf.ones_like(flat), index, self.clusters)
            total = total / tf.maximum(count, 1.0)
        return centroids + total, index


def kmeans(flat: Tensor, clusters: int, init: str, seed: int) -> tuple[Tensor, Tensor]:
    """One-dimensional k-means of the non-zeros of `flat` (float32 [n]).

    Returns:
        (centroids float32 [clusters] ascending, index int32 [n], -1 for zeros). A cluster that
        no weight falls into keeps the value it had.
    """
    alive = tf.not_equal(flat, 0.0)
    count = tf.reduce_sum(tf.cast(alive, tf.int32))
    low = tf.reduce_min(tf.where(alive, flat, np.float32(np.inf)))
    high = tf.reduce_max(tf.where(alive, flat, np.float32(-np.inf)))
    low, high = tf.where(count > 0, low, 0.0), tf.where(count > 0, high, 0.0)
    if init == "linear":
        start = tf.linspace(low, high, clusters) if clusters > 1 else tf.reshape(low, [1])
    else:
        ordered = tf.sort(tf.where(alive, flat, np.float32(np.inf)))  # zeros at the end
        if init == "density":
            place = (tf.range(clusters, dtype=tf.float32) + 0.5) / clusters
        else:
            place = tf.random.stateless_uniform([clusters], [seed, clusters])
        at = tf.cast(place * tf.cast(count, tf.float32), tf.int32)
        start = tf.where(count > 0, tf.sort(tf.gather(ordered, tf.minimum(at, count - 1))), 0.0)

    def assign(centroids: Tensor) -> Tensor:
        middles = (centroids[1:] + centroids[:-1]) / 2
        nearest = tf.searchsorted(middles, flat, out_type=tf.int32)
        return tf.where(alive, nearest, -1)

    def body(i: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
        index = assign(centroids)
        total = tf.math.unsorted_segment_sum(flat, index, clusters)
        size = tf.math.unsorted_segment_sum(tf.ones_like(flat), index, clusters)
        return i + 1, tf.where(size > 0, total / tf.maximum(size, 1.0), centroids)

    _, centroids = tf.while_loop(lambda i, _: i < _ROUNDS, body, (0, start))
    return centroids, assign(centroids)


class Cluster(Compression):
    """A codebook for each layer (Deep Compression's trained quantization).

    At `begin_step` 1-D k-means groups each layer's weights; from then on the assignment stays and
    the centroids train: c_k += mean of the moves the optimizer gave the weights of cluster k (with
    plain SGD: c_k -= lr * mean dL/dw). The paper sums instead of averaging (`update="sum"`), which
    suits SGD with a learning rate made for it. Weights that are 0 when clustering begins stay 0
    and take none of the clusters, so `Prune` before `Cluster` in one fit gives Deep Compression.

    Args:
        bits: log2 of the number of clusters, 1..8 (at 8 one level less, so that zero fits too).
        clusters: the number itself, instead of `bits`.
        begin_step: optimizer step at which the weights are clustered.
        init: "linear" over [min, max] (the paper's best), "density" (equal shares) or "random".
        update: "mean" or "sum".
        per_layer: layer name -> bits.
        seed: of the random initialisation.
        include, exclude, resume: see `Compression`. Default: every Conv, Dense and depthwise
            kernel.

    Raises:
        ModelError: arguments out of range, or layers that are not there, when `fit` begins.
    """

    def __init__(
        self,
        bits: int = 4,
        clusters: int | None = None,
        begin_step: int = 0,
        init: str = "linear",
        update: str = "mean",
        per_layer: Mapping[str, int] | None = None,
        seed: int = 0,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        if init not in ("linear", "density", "random"):
            raise ModelError(f"Cluster: init {init!r} is unknown; use linear, density or random")
        if update not in ("mean", "sum"):
            raise ModelError(f"Cluster: update {update!r} is unknown; use 'mean' or 'sum'")
        if begin_step < 0:
            raise ModelError(f"Cluster: begin_step={begin_step} is negative; give 0 or more")
        self.per_layer = {
            name: _clusters(1 << b if 1 <= b <= 8 else 0, f"bits={b} for {name!r}")
            for name, b in (per_layer or {}).items()
        }
        if clusters is not None:
            self.clusters = _clusters(clusters, f"clusters={clusters}")
        else:
            self.clusters = _clusters(1 << bits if 1 <= bits <= 8 else 0, f"bits={bits}")
        self.begin_step, self.init, self.update, self.seed = begin_step, init, update, seed

    def prepare(self, targets: list[Weight]) -> None:
        """Check `per_layer`."""
        check_layers(self.per_layer, targets, self.name)

    def make(self, target: Weight) -> Projection:
        """The codebook for one weight."""
        clusters = self.per_layer.get(target.layer.name, self.clusters)
        return CodebookProjection(
            target.variable, clusters, self.begin_step, self.init, self.update, self.seed
        )


def _clusters(count: int, what: str) -> int:
    if not 2 <= count <= 256:
        raise ModelError(f"Cluster: {what} is out of range; give 1 to 8 bits or 2 to 256 clusters")
    return min(count, 255)
