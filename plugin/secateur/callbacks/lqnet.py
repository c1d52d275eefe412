"""LQ-Nets: levels that are sums of a learned basis.

Zhang, Yang, Ye, Hua, "LQ-Nets: Learned Quantization for Highly Accurate and Compact Deep Neural
Networks", ECCV 2018.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import product

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression, require
from secateur.callbacks.projection import Projection, Tensor, columns
from secateur.callbacks.quant_activation import check_activations
from secateur.callbacks.select import Pattern, Weight

#: v is rounded to this share of its sum: every level then is an integer of an int8 times a scale
_GRID = 120
_FIRST_ROUNDS = 10  #: alternations when quantization begins; one a step from then on


class LearnedBasis(Projection):
    """One weight; each output channel has its own basis v of K numbers."""

    method = "LQNet"

    def __init__(
        self,
        variable: keras.Variable,
        bits: int,
        begin_step: int = 0,
        momentum: float = 0.9,
        depthwise: bool = False,
    ):
        super().__init__(variable, begin_step, depthwise)
        self.momentum = momentum
        #: every sign pattern, [2**K, K]
        self.signs = np.array(list(product((-1.0, 1.0), repeat=bits)), np.float32)
        channels = int(np.prod(variable.shape[len(self.axes) :]))
        self.basis = self.add_state("basis", np.zeros((channels, bits), np.float32))
        self.unit = self.add_state("unit", np.ones(channels, np.float32))

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The nearest level of each element, after one QEM step on the basis."""
        flat = columns(value, len(self.axes))
        kept = tf.ones_like(flat) if mask is None else columns(mask, len(self.axes))

        def begin() -> Tensor:
            mean = tf.reduce_sum(tf.abs(flat) * kept, 0) / tf.maximum(tf.reduce_sum(kept, 0), 1.0)
            basis = mean[:, None] * 2.0 ** -tf.range(self.signs.shape[1], dtype=tf.float32)
            (basis,) = tf.while_loop(
                lambda basis: True,
                lambda basis: (self._fit(flat, kept, basis),),
                (basis,),
                maximum_iterations=_FIRST_ROUNDS,
            )
            return basis

        def smooth() -> Tensor:
            old = tf.convert_to_tensor(self.basis.value)
            return self.momentum * old + (1 - self.momentum) * self._fit(flat, kept, old)

        basis = tf.cond(tf.equal(self.step.value, self.begin_step), begin, smooth)
        self.basis.assign(basis)
        unit = tf.reduce_sum(tf.abs(basis), -1) / _GRID
        unit = tf.maximum(unit, 1e-20)
        whole = tf.round(basis / unit[:, None])
        self.unit.assign(unit)
        levels = tf.matmul(whole, self.signs, transpose_b=True)  # [channels, 2**K], whole numbers
        index = self._nearest(flat, whole * unit[:, None])
        chosen = tf.transpose(tf.gather(levels, tf.transpose(index), batch_dims=1))
        return tf.reshape(chosen * unit * kept, value.shape)

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Sums of +-n_i, n the integer basis of the channel, |sum| <= 122, and v_i / n_i."""
        shape = [1] * len(self.axes) + list(weight.shape[len(self.axes) :])
        unit = np.array(self.unit.numpy()).reshape(shape)
        return np.rint(weight / unit).astype(np.int32), unit

    def _nearest(self, flat: Tensor, basis: Tensor) -> Tensor:
        levels = tf.matmul(basis, self.signs, transpose_b=True)
        return tf.argmin(tf.abs(flat[:, :, None] - levels[None]), axis=-1, output_type=tf.int32)

    def _fit(self, flat: Tensor, kept: Tensor, basis: Tensor) -> Tensor:
        """Least squares for the basis given the nearest codes: (B B^T)^-1 B w."""
        codes = tf.gather(self.signs, self._nearest(flat, basis)) * kept[:, :, None]
        gram = tf.einsum("nck,ncl->ckl", codes, codes)
        gram += 1e-3 * tf.eye(self.signs.shape[1])
        return tf.linalg.solve(gram, tf.einsum("nck,nc->ck", codes, flat)[..., None])[..., 0]


class LQNet(Compression):
    """K-bit weights whose levels are all sums of +-v_i, v in R^K learned for each channel.

    QEM alternates, once a step, on the latent weight x:

        b_j = the sign pattern with least (v^T b - x_j)^2
        v   = (B B^T)^-1 B x,     smoothed: v <- m v_old + (1 - m) v,  m = `momentum`
        w_j = v^T b_j,            dL/dx = dL/dw   (straight through)

    The levels used are those of v rounded to 1/120 of |v_1| + .. + |v_K|, so that the device's
    int8 weights hold them exactly.

    Activations: with `activation_bits` the model must hold `QuantActivation` layers of that width
    (`levels="learned"` for the paper's basis); `quantize_activations` puts them there.

    Args:
        weight_bits: K, 1..4.
        activation_bits: width the model's activations are checked for; None for 8-bit ones.
        begin_step: first step that projects.
        momentum: m.
        include, exclude, resume: see `Compression`; depthwise kernels only when included.
    """

    depthwise_by_default = False

    def __init__(
        self,
        weight_bits: int = 2,
        activation_bits: int | None = None,
        begin_step: int = 0,
        momentum: float = 0.9,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(1 <= weight_bits <= 4, f"LQNet: weight_bits={weight_bits} is not 1, 2, 3 or 4")
        require(begin_step >= 0, f"LQNet: begin_step={begin_step} is negative; give 0 or more")
        require(0 <= momentum < 1, f"LQNet: momentum={momentum} is not in 0 <= momentum < 1")
        self.weight_bits, self.activation_bits = weight_bits, activation_bits
        self.begin_step, self.momentum = begin_step, momentum

    def prepare(self, targets: list[Weight]) -> None:
        """Check the model's activations."""
        check_activations(self.model, self.activation_bits, self.name)

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return LearnedBasis(
            target.variable, self.weight_bits, self.begin_step, self.momentum, target.depthwise
        )
