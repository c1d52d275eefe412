"""SmartDeal: a small basis and sparse power-of-two coefficients for each filter.

Chen, Zhao, Wang, Li, Fu, Zhang, Wang, Lin, "SmartDeal: Remodeling Deep Network Weights for
Efficient Inference and Training", TNNLS 2022 (SmartExchange, ISCA 2020).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur import factors
from secateur.callbacks.base import Compression, require
from secateur.callbacks.kept_factors import keep
from secateur.callbacks.projection import Projection, Tensor
from secateur.callbacks.select import Pattern, Weight

_FIRST_ROUNDS = 8  #: alternations when the decomposition begins; one a step from then on


class DealProjection(Projection):
    """One weight as coefficients [co, rows, S] times basis [co, S, S]."""

    method = "SmartDeal"

    def __init__(
        self,
        variable: keras.Variable,
        basis: int,
        power_bits: int,
        begin_step: int = 0,
        row_threshold: float = 0.0,
    ):
        super().__init__(variable, begin_step)
        self.size = basis
        self.powers = 2 ** (power_bits - 1) - 1  #: exponents 0, -1 .. 1 - powers; sign and zero too
        self.row_threshold = row_threshold
        channels = int(variable.shape[-1])
        self.inner = int(np.prod(variable.shape[:-1]))
        self.rows = -(-self.inner // basis)
        shape = (channels, self.rows, basis)
        self.coefficients = self.add_state("coefficients", np.zeros(shape, np.float32))
        eye = np.tile(np.eye(basis, dtype=np.float32), (channels, 1, 1))
        self.basis = self.add_state("basis", eye)

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """Coefficients times basis, both fitted to `value`. A mask zeroes weights afterwards."""
        rows = self._split(value)
        first = tf.equal(self.step.value, self.begin_step)

        def begin() -> tuple[Tensor, Tensor]:
            scale = tf.reduce_max(tf.abs(rows), axis=(1, 2), keepdims=True)
            basis = tf.eye(self.size) * tf.maximum(scale, 1e-6)
            return tf.while_loop(
                lambda ce, basis: True,
                lambda ce, basis: self._alternate(rows, basis),
                (tf.zeros_like(rows), tf.broadcast_to(basis, self.basis.shape)),
                maximum_iterations=_FIRST_ROUNDS,
            )

        ce, basis = tf.cond(
            first, begin, lambda: self._alternate(rows, tf.convert_to_tensor(self.basis.value))
        )
        self.coefficients.assign(ce)
        self.basis.assign(basis)
        joined = self._join(self._rebuild(ce, basis), value)
        return joined if mask is None else joined * mask

    def _rebuild(self, ce: Tensor, basis: Tensor) -> Tensor:
        """Coefficients times basis as the device makes it, exactly: in int8, times a unit."""
        most = tf.reduce_max(tf.abs(basis), axis=(1, 2), keepdims=True)
        step = tf.maximum(most / factors.BASIS, 1e-20)
        whole = tf.matmul(tf.round(ce * factors.TOP), tf.round(basis / step))  # integers below 2^17
        largest = tf.reduce_max(tf.abs(whole), axis=(1, 2), keepdims=True)
        half_steps = 127.5 * 2.0 ** tf.range(factors.MOST_SHIFT + 1, dtype=tf.float32)
        shift = tf.reduce_sum(tf.cast(largest >= half_steps, tf.float32), axis=2, keepdims=True)
        divisor = tf.pow(2.0, shift)
        return tf.floor(whole / divisor + 0.5) * (divisor * step / factors.TOP)

    def _alternate(self, rows: Tensor, basis: Tensor) -> tuple[Tensor, Tensor]:
        """Fit the coefficients, round them to powers of two, fit the basis to them, round it."""
        ridge = 1e-6 * tf.eye(self.size)
        gram = tf.matmul(basis, basis, transpose_b=True)
        wide = tf.reduce_mean(tf.linalg.diag_part(gram), -1)[:, None, None]
        right = tf.matmul(basis, rows, transpose_b=True)
        fit = tf.linalg.matrix_transpose(tf.linalg.solve(gram + ridge * wide + 1e-20, right))
        most = tf.reduce_max(tf.abs(fit), axis=(1, 2), keepdims=True)
        ce = round_to_powers(fit / tf.maximum(most, 1e-20), self.powers)
        if self.row_threshold:
            length = tf.sqrt(tf.reduce_sum(tf.square(rows), -1, keepdims=True))
            mean = tf.reduce_mean(length, axis=1, keepdims=True)
            ce = tf.where(length > self.row_threshold * mean, ce, 0.0)
        gram = tf.matmul(ce, ce, transpose_a=True)
        fitted = tf.linalg.solve(gram + 1e-4 * tf.eye(self.size), tf.matmul(ce, rows, True))
        step = tf.reduce_max(tf.abs(fitted), axis=(1, 2), keepdims=True) / 127
        step = tf.maximum(step, 1e-20)
        return ce, step * tf.round(fitted / step)

    def _split(self, value: Tensor) -> Tensor:
        """[co, rows, S], each filter flattened as (ci, kh, kw) and filled up with zeros."""
        rank = len(value.shape)
        order = [rank - 1, rank - 2, *range(rank - 2)]
        flat = tf.reshape(tf.transpose(value, order), [int(value.shape[-1]), self.inner])
        flat = tf.pad(flat, [[0, 0], [0, self.rows * self.size - self.inner]])
        return tf.reshape(flat, [-1, self.rows, self.size])

    def _join(self, rows: Tensor, like: Tensor) -> Tensor:
        flat = tf.reshape(rows, [int(like.shape[-1]), -1])[:, : self.inner]
        shape = [like.shape[-1], like.shape[-2], *like.shape[:-2]]
        rank = len(shape)
        return tf.transpose(tf.reshape(flat, shape), [*range(2, rank), 1, 0])

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-127..127 and the scale of each output channel: what the device rebuilds."""
        coefficients, basis = self.whole()
        step = np.abs(self.basis.numpy()).max(axis=(1, 2)) / factors.BASIS
        scale = step * 2.0 ** factors.shifts(coefficients, basis) / factors.TOP
        scale = np.where(scale > 0, scale, 1).astype(np.float32)
        return np.rint(weight / scale).astype(np.int32), scale

    def whole(self) -> tuple[np.ndarray, np.ndarray]:
        """Coefficients int8 [co, rows, S], 0 or +-2^p with p = 0..6, and basis int8 [co, S, S]."""
        return factors.whole(self.coefficients.numpy(), self.basis.numpy())

    def bits(self, weight: np.ndarray) -> float:
        """Bits of a coefficient (the bases come on top: S * S numbers a filter)."""
        if int(self.step.numpy()) < self.begin_step:
            return 32.0
        return float(np.log2(2 * self.powers + 1)) * self.rows * self.size / self.inner


def round_to_powers(value: Tensor, count: int) -> Tensor:
    """0 or the nearest +-2^p with p in 1 - count..0, for |value| <= 1."""
    size = tf.abs(value)
    exponent = tf.floor(tf.math.log(tf.maximum(size, 1e-30) * (4.0 / 3.0)) / np.float32(np.log(2)))
    least = 1 - count
    power = tf.pow(2.0, tf.clip_by_value(exponent, float(least), 0.0))
    power = tf.where(size < 2.0**least / 2, 0.0, power)
    return power * tf.where(value < 0, -1.0, 1.0)


class SmartDeal(Compression):
    """W = Ce B for each filter: B small, Ce sparse with entries 0 or +-2^p, p <= 0.

    A filter's weights, in the order (ci, kh, kw), become a matrix of rows of S = `basis` columns
    (filled with zeros). At every step, on the latent weight:

        Ce <- W B^T (B B^T)^-1, divided by its largest entry, rounded to powers of two,
              rows with |W_r| below `row_threshold` times the mean dropped
        B  <- (Ce^T Ce)^-1 Ce^T W, rounded to 1/127 of its largest entry (int8 on the device)
        w = Ce B rounded to 8 bits of its range,   dL/dW = dL/dw (straight through)

    The factors stay with the model in memory, in files it is saved to, and in checkpoints. They let
    `convert` store Ce and B in place of the weights, which the device rebuilds by shifts and
    additions. Weights that are changed afterwards (pruned, say) are stored as they are.

    Args:
        basis: S, 2..8.
        power_bits: bits of a coefficient with its sign and zero: 2^(power_bits-1) - 1 exponents.
        begin_step: first step that projects.
        row_threshold: share of the mean row length below which a row is dropped; 0 keeps all.
        include, exclude, resume: see `Compression`. Depthwise kernels are left out.
    """

    depthwise_by_default = False

    def __init__(
        self,
        basis: int = 3,
        power_bits: int = 4,
        begin_step: int = 0,
        row_threshold: float = 0.0,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(2 <= basis <= 8, f"SmartDeal: basis={basis} is not in 2..8")
        require(2 <= power_bits <= 4, f"SmartDeal: power_bits={power_bits} is not 2, 3 or 4")
        require(begin_step >= 0, f"SmartDeal: begin_step={begin_step} is negative; give 0 or more")
        require(
            row_threshold >= 0, f"SmartDeal: row_threshold={row_threshold} is negative; give 0.."
        )
        self.size, self.power_bits = basis, power_bits
        self.begin_step, self.row_threshold = begin_step, row_threshold

    def prepare(self, targets: list[Weight]) -> None:
        """A depthwise filter is too small to be a product."""
        for target in targets:
            require(
                not target.depthwise,
                f"SmartDeal: layer {target.layer.name!r} is depthwise, its filters are too small "
                "for a basis; exclude it",
            )

    def finish(self) -> None:
        """Leave the factors with the model."""
        for p in self.projections:
            if isinstance(p, DealProjection) and int(p.step.numpy()) >= p.begin_step:
                keep(self.model, p.path, *p.whole())

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return DealProjection(
            target.variable, self.size, self.power_bits, self.begin_step, self.row_threshold
        )
