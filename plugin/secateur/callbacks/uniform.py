"""Uniform k-bit weights, symmetric about zero.

Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam, Kalenichenko, "Quantization and Training of Neural
Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018.
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


class Grid(Projection):
    """One weight on an even grid: its spacing by output channel or by layer."""

    method = "Uniform"

    def __init__(
        self,
        variable: keras.Variable,
        bits: int,
        begin_step: int = 0,
        scale: str = "channel",
        depthwise: bool = False,
    ):
        super().__init__(variable, begin_step, depthwise)
        self.top = 2 ** (bits - 1) - 1
        self.scale_axes = self.axes if scale == "channel" else None

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """The nearest grid point; the largest |value| is one."""
        most = tf.reduce_max(tf.abs(value), self.scale_axes, keepdims=True)
        spacing = tf.maximum(most, 1e-20) / self.top
        level = tf.clip_by_value(tf.round(value / spacing), -self.top, self.top)
        return spacing * level if mask is None else spacing * level * mask

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-(2^(bits-1) - 1) .. 2^(bits-1) - 1 and the spacing."""
        most = np.abs(weight).max(axis=self.scale_axes, keepdims=True)
        scale = (np.where(most == 0, 1, most) / np.float32(self.top)).astype(np.float32)
        return np.rint(weight / scale).astype(np.int32), scale


class Uniform(Compression):
    """w = D q, q = round(v / D) in -(2^(bits-1) - 1) .. 2^(bits-1) - 1, dL/dv = dL/dw,
    D = max |v| / (2^(bits-1) - 1) over each output channel or the layer.

    Args:
        bits: 2..8.
        begin_step: first step that projects.
        scale: "channel" or "layer" (one codebook for the layer).
        include, exclude, resume: see `Compression`. Default: every Conv, Dense and depthwise
            kernel.
    """

    def __init__(
        self,
        bits: int = 4,
        begin_step: int = 0,
        scale: str = "channel",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(2 <= bits <= 8, f"Uniform: bits={bits} is not in 2..8")
        require(begin_step >= 0, f"Uniform: begin_step={begin_step} is negative; give 0 or more")
        require(
            scale in ("channel", "layer"),
            f"Uniform: scale {scale!r} is unknown; use channel or layer",
        )
        self.bits_, self.begin_step, self.scale = bits, begin_step, scale

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return Grid(target.variable, self.bits_, self.begin_step, self.scale, target.depthwise)
