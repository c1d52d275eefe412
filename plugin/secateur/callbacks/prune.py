"""Magnitude pruning with the mask held while the survivors train on.

Han, Pool, Tran, Dally, "Learning both Weights and Connections for Efficient Neural Networks",
NeurIPS 2015; the gradual schedule is Zhu and Gupta, "To prune, or not to prune", 2017.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression
from secateur.callbacks.projection import Projection, Tensor, keep_largest
from secateur.callbacks.schedule import Schedule
from secateur.callbacks.select import Pattern, Weight
from secateur.errors import ModelError


class MagnitudeMask(Projection):
    """Keeps the largest |w| of one weight, as many as the schedule leaves."""

    method = "Prune"
    quantizes = False
    straight_through = False

    def __init__(self, variable: keras.Variable, schedule: Schedule, depthwise: bool = False):
        super().__init__(variable, schedule.begin, depthwise)
        self.schedule = schedule
        weight = variable.numpy()
        # A pruned layer is not opened again; one that is all zero has yet to be trained.
        mask = weight != 0 if np.any(weight) else np.ones(weight.shape)
        self.mask = self.add_state("mask", mask.astype(np.float32))
        self.initial = self.add_state("initial", np.float32(1 - mask.mean()))  #: share of zeros

    @property
    def last_step(self) -> int:
        """The schedule's last."""
        return max(self.begin_step, self.schedule.last)

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """1 where `value` is kept."""
        magnitude = tf.abs(value) * self.mask.value
        fresh = tf.cond(
            self.schedule.due(self.step.value),
            lambda: (
                self.choose(magnitude, self.schedule.at(self.step.value, self.initial.value))
                * self.mask.value
            ),
            lambda: tf.convert_to_tensor(self.mask.value),
        )
        self.mask.assign(fresh)
        return fresh

    def choose(self, magnitude: Tensor, share: Tensor) -> Tensor:
        """The mask that leaves `share` of `magnitude` out."""
        return keep_largest(magnitude, share)


class PatternMask(MagnitudeMask):
    """Keeps the `n` largest of every `m` neighbours along the input channels."""

    def __init__(
        self, variable: keras.Variable, schedule: Schedule, n: int, m: int, depthwise: bool = False
    ):
        super().__init__(variable, schedule, depthwise)
        self.n, self.m = n, m

    def choose(self, magnitude: Tensor, share: Tensor) -> Tensor:
        """The mask; while the schedule climbs, more than n of m stay."""
        drop = tf.cast(tf.round(share * self.m), tf.int32)
        last_two = tf.einsum("...io->...oi", magnitude)
        groups = tf.reshape(last_two, (-1, self.m))
        order = tf.argsort(groups, axis=-1, direction="DESCENDING", stable=True)
        rank = tf.argsort(order, axis=-1)
        kept = tf.cast(rank < self.m - drop, tf.float32)
        return tf.einsum("...oi->...io", tf.reshape(kept, tf.shape(last_two)))


class BlockMask(MagnitudeMask):
    """Keeps the blocks of `inputs` x `outputs` neighbours with the largest mean |w|."""

    def __init__(
        self,
        variable: keras.Variable,
        schedule: Schedule,
        inputs: int,
        outputs: int,
        depthwise: bool = False,
    ):
        super().__init__(variable, schedule, depthwise)
        self.inputs, self.outputs = inputs, outputs

    def choose(self, magnitude: Tensor, share: Tensor) -> Tensor:
        """The mask, whole blocks of it."""
        *taps, ins, outs = magnitude.shape
        split = (*taps, ins // self.inputs, self.inputs, outs // self.outputs, self.outputs)
        mean = tf.reduce_mean(tf.reshape(magnitude, split), axis=(-3, -1), keepdims=True)
        kept = keep_largest(mean, share)
        return tf.reshape(tf.broadcast_to(kept, split), magnitude.shape)


class GlobalMask(MagnitudeMask):
    """One fraction over all weights of a callback; the first one decides for all."""

    def __init__(
        self,
        variable: keras.Variable,
        schedule: Schedule,
        pool: list[GlobalMask],
        depthwise: bool = False,
    ):
        super().__init__(variable, schedule, depthwise)
        self.pool = pool
        pool.append(self)

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """1 where `value` is kept. Keras updates all variables before the first constraint."""
        if self is not self.pool[0]:
            return tf.convert_to_tensor(self.mask.value)
        others = [tf.convert_to_tensor(p.variable.value) for p in self.pool[1:]]
        current = [value] + [tf.cast(w, tf.float32) for w in others]

        def fresh() -> list[Tensor]:
            parts = [tf.abs(w) * p.mask.value for w, p in zip(current, self.pool, strict=True)]
            flat = tf.concat([tf.reshape(x, [-1]) for x in parts], 0)
            zeros = [p.initial.value * float(np.prod(p.variable.shape)) for p in self.pool]
            initial = tf.add_n(zeros) / float(flat.shape[0])
            kept = keep_largest(flat, self.schedule.at(self.step.value, initial))
            sizes = [int(np.prod(p.variable.shape)) for p in self.pool]
            pieces = tf.split(kept, sizes)
            return [
                tf.reshape(k, x.shape) * p.mask.value
                for k, x, p in zip(pieces, parts, self.pool, strict=True)
            ]

        def held() -> list[Tensor]:
            return [tf.convert_to_tensor(p.mask.value) for p in self.pool]

        masks = tf.cond(self.schedule.due(self.step.value), fresh, held)
        for p, m in zip(self.pool, masks, strict=True):
            p.mask.assign(m)
        return masks[0]


class Prune(Compression):
    """Magnitude pruning during `fit`: |w| below the mark becomes 0 and stays 0.

    A fraction s of the weights, by layer or over all of them, follows the schedule
    s(t) = s_end + (s_0 - s_end) (1 - (t - begin)/(end - begin))^3 from `begin_step` to `end_step`
    (`"polynomial"`; s_0 is the share of zeros there already) or is s_end from `begin_step` on
    (`"constant"`). The survivors train on under the mask.

    Args:
        sparsity: share of zeros at the end, 0 <= sparsity < 1.
        begin_step, end_step: optimizer steps.
        schedule: "polynomial" or "constant".
        scope: "layer" (the share in every layer) or "global" (over all of them together).
        per_layer: layer name -> share; these layers go by their own share under either scope.
        l2: weight of an L2 loss on the chosen kernels until `end_step` (the paper's remedy).
        pattern: (n, m): keep the n largest of every m neighbours along the input channels
            instead of a share; layers whose input channels do not divide by m are left out.
        block_size: (inputs, outputs): prune blocks of so many neighbours along the input and the
            output channels as one, by their mean |w|. A Dense or recurrent layer of (2, 4) blocks
            takes a third of the flash and time of lists of single weights (docs/recurrent.md);
            fewer choices of what to keep cost accuracy. Layers that the block does not divide are
            left out, with a warning.
        every: steps between two updates of the mask while the schedule climbs.
        include, exclude, resume: see `Compression`. Default: every Conv, Dense and depthwise
            kernel.

    Raises:
        ModelError: arguments out of range, or layers that are not there, when `fit` begins.
    """

    def __init__(
        self,
        sparsity: float = 0.75,
        begin_step: int = 0,
        end_step: int = 800,
        schedule: str = "polynomial",
        scope: str = "layer",
        per_layer: Mapping[str, float] | None = None,
        l2: float = 0.0,
        pattern: tuple[int, int] | None = None,
        block_size: tuple[int, int] | None = None,
        every: int = 8,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        #: under the global scope the masks know of each other
        self.independent = scope != "global"
        if scope not in ("layer", "global"):
            raise ModelError(f"Prune: scope {scope!r} is unknown; use 'layer' or 'global'")
        if pattern is not None:
            n, m = pattern
            if not 0 < n < m:
                raise ModelError(f"Prune: pattern {pattern} is not (n, m) with 0 < n < m")
            sparsity = 1.0 - n / m
        if block_size is not None:
            if len(block_size) != 2 or min(block_size) < 1:
                raise ModelError(
                    f"Prune: block_size {block_size} is not (inputs, outputs), each at least 1"
                )
            if pattern is not None or scope == "global":
                raise ModelError(
                    "Prune: block_size goes with a share by layer; leave pattern and "
                    "scope='global' out"
                )
        if l2 < 0:
            raise ModelError(f"Prune: l2={l2} is negative; give 0 or more")
        self.pattern = pattern
        self.block_size = block_size
        self.scope = scope
        self.l2 = l2
        self.per_layer = dict(per_layer or {})
        self.schedule = Schedule(sparsity, begin_step, end_step, schedule, every)
        self._schedules = {
            name: Schedule(share, begin_step, end_step, schedule, every)
            for name, share in self.per_layer.items()
        }
        self._pool: list[GlobalMask] = []
        self._regularizers: list[tuple[keras.Variable, Any]] = []

    def prepare(self, targets: list[Weight]) -> None:
        """Check `per_layer`, drop what the pattern does not fit."""
        self._pool = []
        check_layers(self.per_layer, targets, self.name)
        if self.block_size is not None:
            self._keep_divided(targets, self.block_size)
        if self.pattern is None:
            return
        fits = [t for t in targets if not t.depthwise and self._divides(t)]
        if not fits:
            raise ModelError(
                f"Prune: pattern {self.pattern} fits no layer: none of "
                f"{', '.join(t.layer.name for t in targets)} has input channels in groups of "
                f"{self.pattern[1]}; choose another m"
            )
        targets[:] = fits

    def _keep_divided(self, targets: list[Weight], size: tuple[int, int]) -> None:
        """Leave out, by name, what blocks of `size` do not divide."""

        def fits(t: Weight) -> bool:
            last = zip(t.variable.shape[-2:], size, strict=True)
            return not t.depthwise and all(int(n) % k == 0 for n, k in last)

        kept = [t for t in targets if fits(t)]
        rest = dict.fromkeys(t.layer.name for t in targets if not fits(t))
        if not kept:
            raise ModelError(
                f"Prune: block_size {size} divides no layer: none of {', '.join(rest)} has "
                f"inputs in groups of {size[0]} and outputs in groups of {size[1]}"
            )
        if rest:
            self._warn(
                f"block_size {size} does not divide {', '.join(rest)}, which stay as they are"
            )
        targets[:] = kept

    def make(self, target: Weight) -> Projection:
        """The mask for one weight."""
        schedule = self._schedules.get(target.layer.name)
        if self.block_size is not None:
            return BlockMask(target.variable, schedule or self.schedule, *self.block_size)
        if schedule is None and self.pattern is not None:
            return PatternMask(target.variable, self.schedule, *self.pattern)
        if schedule is None and self.scope == "global":
            return GlobalMask(target.variable, self.schedule, self._pool, target.depthwise)
        return MagnitudeMask(target.variable, schedule or self.schedule, target.depthwise)

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Attach; the L2 loss too."""
        super().on_train_begin(logs)
        if self.l2:
            for projection in self.projections:
                variable = projection.variable
                self._regularizers.append((variable, variable.regularizer))
                variable.regularizer = _until(
                    projection, self.l2, self.schedule.end, variable.regularizer
                )

    def finish(self) -> None:
        """Give the regularizers back."""
        for variable, regularizer in self._regularizers:
            variable.regularizer = regularizer
        self._regularizers = []

    def _divides(self, target: Weight) -> bool:
        assert self.pattern is not None
        return int(target.variable.shape[-2]) % self.pattern[1] == 0


def check_layers(names: Mapping[str, Any], targets: list[Weight], who: str) -> None:
    """ModelError if a key of `per_layer` is not the name of a chosen layer."""
    known = [t.layer.name for t in targets]
    for name in names:
        if name not in known:
            raise ModelError(
                f"{who}: per_layer names {name!r}, which is not among the chosen layers "
                f"{', '.join(known)}"
            )


def _until(
    projection: Projection, l2: float, end: int, base: Callable[[Any], Any] | None
) -> Callable[[Any], Any]:
    def regularizer(weight: Any) -> Any:
        active = tf.cast(projection.step.value < end, tf.float32)
        value = tf.cast(tf.convert_to_tensor(weight), tf.float32)
        loss = l2 * active * tf.reduce_sum(tf.square(value))
        return loss if base is None else loss + tf.cast(base(weight), tf.float32)

    return regularizer
