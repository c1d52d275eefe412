"""Weights that are powers of two.

Zhou, Yao, Guo, Xu, Chen, "Incremental Network Quantization", ICLR 2017 (the levels).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression, require
from secateur.callbacks.projection import Projection, Tensor
from secateur.callbacks.select import Pattern, Weight
from secateur.callbacks.smart_deal import round_to_powers


class Powers(Projection):
    """One layer in {0, +-2^p}, the exponents following its largest weight."""

    method = "PowerOfTwo"
    per_channel = False

    def __init__(
        self, variable: keras.Variable, bits: int, begin_step: int = 0, depthwise: bool = False
    ):
        super().__init__(variable, begin_step, depthwise)
        self.count = 2 ** (bits - 1) - 1

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The nearest power of two, 0 below half the smallest."""
        most = tf.maximum(tf.reduce_max(tf.abs(value)), 1e-20)
        top = tf.floor(tf.math.log(most * (4.0 / 3.0)) / np.float32(np.log(2)))
        unit = tf.pow(2.0, top)
        power = unit * round_to_powers(value / unit, self.count)
        return power if mask is None else power * mask

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """0 or +-2^p, p >= 0, and the layer's scale, itself a power of two."""
        most = np.abs(weight).max()
        top = np.float32(1.0) if most == 0 else most
        unit = np.float32(top * 2.0 ** (1 - self.count))
        return np.rint(weight / unit).astype(np.int32), np.asarray(unit)


class PowerOfTwo(Compression):
    """w in {0, +-2^P, +-2^(P-1) .. +-2^(P-n+1)}, n = 2^(bits-1) - 1, for each layer:

        P = floor(log2(4/3 max |v|)),   |w| = 2^p for 3/4 2^p <= |v| < 3/2 2^p,
        w = 0 for |v| below half the smallest power,   dL/dv = dL/dw

    Args:
        bits: 2..4 (4 has seven exponents, as many as an int8 weight holds).
        begin_step: first step that projects.
        include, exclude, resume: see `Compression`. Default: every Conv, Dense and depthwise
            kernel.
    """

    def __init__(
        self,
        bits: int = 4,
        begin_step: int = 0,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(2 <= bits <= 4, f"PowerOfTwo: bits={bits} is not 2, 3 or 4")
        require(begin_step >= 0, f"PowerOfTwo: begin_step={begin_step} is negative; give 0 or more")
        self.bits_, self.begin_step = bits, begin_step

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return Powers(target.variable, self.bits_, self.begin_step, target.depthwise)
