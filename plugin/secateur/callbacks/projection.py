"""The one interface every training-time compression method implements.

A projection keeps a layer's weight inside the set its method allows (sparse, clustered, ternary
...). It is attached to the weight variable as its Keras `constraint`, so the optimizer applies it
inside the compiled train step, after each update, with no per-batch Python.

Straight-through training on a latent copy needs no custom gradient: Keras computes the gradient at
the projected weight Q(latent), the optimizer moves the variable by some delta, and the projection
adds exactly that delta to the latent copy before projecting again:

    latent += w - previous;   w = previous = Q(latent)

Several callbacks may share a weight: a `ProjectionChain` runs its masks (pruning) first and then
its one quantizer, which is told which weights the masks keep.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
import tensorflow as tf

from secateur.errors import ModelError

Tensor = Any  #: a tf.Tensor; TensorFlow ships no types


class Projection(ABC):
    """Keeps one weight in one set. Subclasses are the methods.

    Args:
        variable: the weight, a float32 or float64 `keras.Variable` of any shape; its last axis is
            the output channel (the last two for a depthwise kernel). Projections compute in
            float32; a float64 weight holds what comes out.
        begin_step: the optimizer step, counted from 1, after which the weight is first projected
            (0 means 1).
        depthwise: the kernel is [kh, kw, channels, multiplier].
    """

    method: ClassVar[str] = ""  #: name of the method, unique
    #: A mask may be combined with anything; a weight has at most one quantizer.
    quantizes: ClassVar[bool] = True
    #: Trained on a latent copy: `project` gets the latent weight instead of the weight.
    straight_through: ClassVar[bool] = True
    #: The set differs from output channel to output channel (by a scale, usually).
    per_channel: ClassVar[bool] = True

    def __init__(self, variable: keras.Variable, begin_step: int = 0, depthwise: bool = False):
        self.variable = variable
        self.path = variable.path  #: layer name / weight name once a callback knows the layer
        self.begin_step = max(1, begin_step)
        self.depthwise = depthwise
        rank = len(variable.shape)
        #: axes summed over to get one figure for each output channel
        self.axes = tuple(range(rank - (2 if depthwise else 1)))
        self._state: dict[str, keras.Variable] = {}
        #: steps done; within `project` the current one counts
        self.step = self.add_state("step", np.int32(0))
        self.latent: keras.Variable | None = None
        if self.straight_through:
            self.latent = self.add_state("latent", as_float32(variable))
        self.left: np.ndarray | None = None  #: the weight when last detached

    def add_state(self, name: str, value: Any) -> keras.Variable:
        """A non-trainable variable that is saved in checkpoints; `value` gives shape and dtype."""
        array = np.asarray(value)
        var = keras.Variable(array, dtype=str(array.dtype), trainable=False, name=name)
        self._state[name] = var
        return var

    @property
    def last_step(self) -> int:
        """The step after which the set no longer changes; later than `begin_step` if it grows."""
        return self.begin_step

    @property
    def steps(self) -> int:
        """Optimizer steps this projection has seen."""
        return int(self.step.numpy())

    @property
    def state(self) -> dict[str, keras.Variable]:
        """Every variable `add_state` made, by name."""
        return dict(self._state)

    @abstractmethod
    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The member of the set nearest (in the method's sense) to `value`; traced once.

        A mask returns 1 and 0 instead: what it keeps.

        Args:
            value: float32, the weight's shape: the latent weight if `straight_through`.
            mask: 1 where a mask before this one keeps the weight, 0 where the result must be 0;
                None if nothing masks this weight.
        """

    def absorb(self, delta: Tensor, previous: Tensor) -> Tensor:
        """The latent weight after a step; straight through: latent + delta.

        Methods whose paper scales the gradient override this. Before `begin_step` the result is
        not used, but the function runs.

        Args:
            delta: how far the optimizer moved the weight (with SGD: -rate * dL/dw).
            previous: the projected weight the gradient was taken at.
        """
        assert self.latent is not None
        return self.latent.value + delta

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A trained weight as the device stores it: integer levels and a scale.

        Args:
            weight: float32, the trained weight, in the set.

        Returns:
            (levels, scale): int32 levels of the weight's shape and a float32 scale that broadcasts
            against it, levels * scale == weight up to float32 rounding. This default names the
            distinct values: levels are indices into `scale`, so weight == scale[levels].
        """
        values, index = np.unique(weight, return_inverse=True)
        return index.reshape(weight.shape).astype(np.int32), values.astype(np.float32)

    def bits(self, weight: np.ndarray) -> float:
        """Bits of one weight: log2 of the number of distinct values, 32 before `begin_step`."""
        if self.steps < self.begin_step:
            return 32.0
        rows = np.reshape(weight, (-1, int(np.prod(weight.shape[len(self.axes) :])))).T
        sets = rows if self.per_channel else [weight]
        return float(np.log2(max(2, *(np.unique(s).size for s in sets))))


def as_float32(variable: keras.Variable) -> np.ndarray:
    """A copy of the weight as projections see it."""
    return np.array(variable.numpy(), np.float32)


def ternary_levels(weight: np.ndarray, axes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Levels -1, 0, 1 and the scale of each output channel of a weight in {-a, 0, a}."""
    scale = np.abs(weight).max(axis=axes, keepdims=True).astype(np.float32)
    return np.sign(weight).astype(np.int32), np.where(scale == 0, np.float32(1), scale)


def scaled_sign(value: Tensor, kept: Tensor, axes: tuple[int, ...] | None) -> Tensor:
    """a * sign(value) * kept with a = mean |value| over the kept ones along `axes`."""
    total = tf.reduce_sum(tf.abs(value) * kept, axes, keepdims=True)
    scale = total / tf.maximum(tf.reduce_sum(kept, axes, keepdims=True), 1.0)
    return scale * tf.where(value < 0, -1.0, 1.0) * kept


def keep_largest(magnitude: Tensor, share: Tensor) -> Tensor:
    """1 for all but the round(share * n) smallest of n magnitudes >= 0, exactly; any shape.

    Of equal magnitudes the first are left out.
    """
    flat = tf.reshape(magnitude, [-1])
    size = int(flat.shape[0])
    drop = tf.cast(tf.round(tf.cast(share, tf.float32) * size), tf.int32)
    kept = _keep_by_sort(flat, drop) if size <= _SORTED else _keep_by_search(flat, drop)
    return tf.reshape(tf.cast(kept, tf.float32), magnitude.shape)


_SORTED = 2048  #: up to here a sort is quicker


def _keep_by_sort(flat: Tensor, drop: Tensor) -> Tensor:
    size = int(flat.shape[0])
    order = tf.argsort(flat, stable=True)
    rank = tf.scatter_nd(order[:, None], tf.range(size), [size])
    return rank >= drop


def _keep_by_search(flat: Tensor, drop: Tensor) -> Tensor:
    """Search over the bit patterns: those of floats >= 0 are ordered like the floats."""
    code = tf.bitcast(tf.abs(flat), tf.int32)

    def narrower(
        low: Tensor, high: Tensor, below: Tensor, upto: Tensor, step: Tensor
    ) -> tuple[Tensor, ...]:
        share = tf.cast(drop - below, tf.float32) / tf.cast(upto - below, tf.float32)
        share = tf.where(step % 4 < 3, share, 0.5)  # halving bounds what interpolation may take
        far = tf.cast(share * tf.cast(high - low, tf.float32), tf.int32)
        middle = low + tf.clip_by_value(far, 1, high - low - 1)
        count = tf.reduce_sum(tf.cast(code <= middle, tf.int32))
        enough = count >= drop
        return (
            tf.where(enough, low, middle), tf.where(enough, middle, high),
            tf.where(enough, below, count), tf.where(enough, count, upto), step + 1,
        )  # fmt: skip

    def wide(low: Tensor, high: Tensor, below: Tensor, upto: Tensor, step: Tensor) -> Tensor:
        return (high - low > 1) & (upto > drop)

    # (low, high] holds the smallest code with at least `drop` magnitudes up to it, or high has
    # exactly `drop`
    first = (tf.constant(-1), tf.reduce_max(code), tf.constant(0), tf.size(code), tf.constant(0))
    _, mark, below, upto, _ = tf.while_loop(wide, narrower, first)

    def first_of_equals() -> Tensor:
        tied = tf.equal(code, mark)
        return (code > mark) | (tied & (tf.cumsum(tf.cast(tied, tf.int32)) > drop - below))

    return tf.cond(upto > drop, first_of_equals, lambda: code > mark)


def columns(value: Tensor, inner: int) -> Tensor:
    """[n, channels] from a weight whose first `inner` axes are summed over."""
    return tf.reshape(value, [int(np.prod(value.shape[:inner])), -1])


class ProjectionChain(keras.constraints.Constraint):  # Keras 3.12 takes no other callable
    """The Keras constraint: all projections of one weight, in order, as one function.

    `base` is the constraint the user gave the variable; it is applied to the weight (the latent
    one, if there is one) before the projections, so the methods' set wins.
    """

    def __init__(self, variable: keras.Variable, base: Callable[[Tensor], Tensor] | None):
        self.variable = variable
        self.base = base
        self.masks: list[Projection] = []
        self.quantizer: Projection | None = None
        #: what the last step left in the variable
        self.previous = keras.Variable(
            as_float32(variable), dtype="float32", trainable=False, name="previous"
        )
        self.restored = False

    @property
    def members(self) -> list[Projection]:
        """Masks, then the quantizer."""
        return self.masks + ([self.quantizer] if self.quantizer is not None else [])

    def add(self, projection: Projection) -> None:
        """Join `projection`; ModelError if the weight already has another quantizer."""
        if not projection.quantizes:
            self.masks.append(projection)
        elif self.quantizer is None:
            self.quantizer = projection
        else:
            raise ModelError(
                f"{projection.method} and {self.quantizer.method} both want to quantize "
                f"{projection.path}; exclude that layer from one of them"
            )
        now = as_float32(self.variable)
        if projection.latent is not None and not _same(projection.left, now):
            projection.latent.assign(now)

    def remove(self, projection: Projection) -> None:
        """Take `projection` out again."""
        projection.left = as_float32(self.variable)
        if projection is self.quantizer:
            self.quantizer = None
        else:
            self.masks.remove(projection)

    def sync(self) -> None:
        """Take up a weight that something else changed before the first step."""
        now = as_float32(self.variable)
        latent = self.quantizer.latent if self.quantizer is not None else None
        if latent is not None and not self.restored and not _same(self.previous.numpy(), now):
            latent.assign(now)
        self.restored = False
        self.previous.assign(now)

    def settle(self) -> float:
        """Project a weight that left the set after the last step (averaged or restored, say).

        Returns:
            how far that moved it: |after - before| / |before|, 0 if it was in the set.
        """
        before = as_float32(self.variable)
        if _same(before, self.previous.numpy()):
            return 0.0
        for projection in self.members:  # the last step again
            projection.step.assign_add(-1)
        self.variable.assign(self(self.variable, latent=True))
        moved = np.linalg.norm(as_float32(self.variable) - before)
        return float(moved / max(float(np.linalg.norm(before)), 1e-30))

    def __call__(self, variable: Any, latent: bool = False) -> Tensor:
        """The projected weight in the variable's dtype.

        Args:
            latent: `variable` is the latent weight itself, not the projected one after a step.
        """
        weight = tf.cast(tf.convert_to_tensor(variable), tf.float32)
        quantizer = self.quantizer
        if not latent and quantizer is not None and quantizer.latent is not None:
            moved = quantizer.absorb(weight - self.previous.value, self.previous.value)
            weight = tf.where(quantizer.step.value >= quantizer.begin_step, moved, weight)
        return tf.cast(self._step(weight), self.variable.dtype)

    def _step(self, weight: Tensor) -> Tensor:
        for projection in self.members:
            projection.step.assign_add(1)
        if self.base is not None:
            weight = self.base(weight)
        mask = None
        for pruner in self.masks:
            kept = pruner.project(weight, mask)
            mask = kept if mask is None else mask * kept
            weight = weight * kept
        quantizer = self.quantizer
        if quantizer is not None:
            latent = weight
            if quantizer.latent is not None:
                quantizer.latent.assign(latent)
            weight = tf.cond(
                quantizer.step.value >= quantizer.begin_step,
                lambda: quantizer.project(latent, mask),
                lambda: latent,
            )
        self.previous.assign(weight)
        return weight


def _same(a: np.ndarray | None, b: np.ndarray) -> bool:
    return a is not None and np.array_equal(a, b)
