"""Logarithmic quantization.

Miyashita, Lee, Murmann, "Convolutional Neural Networks using Logarithmic Data Representation",
2016.
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


class Log(Projection):
    """One layer in {0, +-s b^-i}: rounding is of the logarithm."""

    method = "Logarithmic"
    per_channel = False

    def __init__(
        self,
        variable: keras.Variable,
        bits: int,
        base: float,
        begin_step: int = 0,
        depthwise: bool = False,
    ):
        super().__init__(variable, begin_step, depthwise)
        count = 2 ** (bits - 1) - 1
        self.table = (base ** -np.arange(count, dtype=np.float64)).astype(np.float32)
        self.base = base

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The level whose logarithm is nearest, 0 half a level below the smallest."""
        size = tf.abs(value)
        scale = tf.maximum(tf.reduce_max(size), 1e-20)
        log = -tf.math.log(tf.maximum(size / scale, 1e-30)) / np.float32(np.log(self.base))
        index = tf.cast(tf.minimum(tf.round(log), float(len(self.table))), tf.int32)
        level = tf.gather(np.append(self.table, np.float32(0)), index)
        kept = 1.0 if mask is None else mask
        return scale * level * tf.where(value < 0, -1.0, 1.0) * kept

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The signed place in the table, 1 for the largest, 0 for zero; and the table's values.

        weight == sign(levels) * scale[|levels|], scale[0] == 0.
        """
        scale = np.abs(weight).max()
        place = np.argmin(np.abs(np.abs(weight)[..., None] - scale * self.table), axis=-1) + 1
        signed = np.where(weight == 0, 0, place * np.sign(weight)).astype(np.int32)
        return signed, np.append(np.float32(0), scale * self.table)


class Logarithmic(Compression):
    """w = 0 or +-s b^-i, i = 0 .. 2^(bits-1) - 2, nearest in the logarithm:

        i = round(-log_b(|v| / s)),  s = max |v| of the layer,  dL/dv = dL/dw

    Args:
        bits: 2..6, with sign and zero.
        base: b; the paper's 2 or sqrt(2).
        begin_step: first step that projects.
        include, exclude, resume: see `Compression`. Default: every Conv, Dense and depthwise
            kernel.
    """

    def __init__(
        self,
        bits: int = 4,
        base: float = 2**0.5,
        begin_step: int = 0,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(2 <= bits <= 6, f"Logarithmic: bits={bits} is not in 2..6")
        require(base > 1, f"Logarithmic: base={base} is not above 1; try 2 or 2 ** 0.5")
        require(
            begin_step >= 0, f"Logarithmic: begin_step={begin_step} is negative; give 0 or more"
        )
        self.bits_, self.base, self.begin_step = bits, base, begin_step

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return Log(target.variable, self.bits_, self.base, self.begin_step, target.depthwise)
