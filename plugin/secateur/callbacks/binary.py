"""Binary weights: BinaryConnect and Binary-Weight-Networks.

Courbariaux, Bengio, David, "BinaryConnect", NeurIPS 2015; Rastegari, Ordonez, Redmon, Farhadi,
"XNOR-Net", ECCV 2016 (its Binary-Weight-Networks).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from secateur.callbacks.base import Compression, require
from secateur.callbacks.projection import Projection, Tensor, scaled_sign
from secateur.callbacks.select import Pattern, Weight


class Sign(Projection):
    """One weight in {-a, a}: a by output channel, by layer, or 1."""

    method = "Binary"

    def __init__(
        self,
        variable: keras.Variable,
        begin_step: int = 0,
        scale: str | None = "channel",
        depthwise: bool = False,
    ):
        super().__init__(variable, begin_step, depthwise)
        self.scale = scale

    def absorb(self, delta: Tensor, previous: Tensor) -> Tensor:
        """Straight through; BinaryConnect clips the latent weight to -1..1."""
        latent = super().absorb(delta, previous)
        return tf.clip_by_value(latent, -1.0, 1.0) if self.scale is None else latent

    def project(self, value: Tensor, mask: Tensor | None) -> Tensor:
        """a * sign(value), sign(0) = 1."""
        kept = tf.ones_like(value) if mask is None else mask
        if self.scale is None:
            return tf.where(value < 0, -1.0, 1.0) * kept
        return scaled_sign(value, kept, self.axes if self.scale == "channel" else None)

    def levels(self, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-1, 1 and the scale of each output channel."""
        return np.sign(weight).astype(np.int32), np.abs(weight).max(axis=self.axes, keepdims=True)


class Binary(Compression):
    """w = a sign(v), the gradient straight through to v: dL/dv = dL/dw.

    scale="channel" or "layer": a = mean |v|, the least-squares optimum (BWN). scale=None: a = 1
    and v is clipped to -1..1 (BinaryConnect); that wants batch normalisation behind the layer.

    Args:
        begin_step: first step that projects.
        scale: "channel", "layer" or None.
        include, exclude, resume: see `Compression`; depthwise kernels only when included.
    """

    depthwise_by_default = False

    def __init__(
        self,
        begin_step: int = 0,
        scale: str | None = "channel",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(begin_step >= 0, f"Binary: begin_step={begin_step} is negative; give 0 or more")
        require(
            scale in ("channel", "layer", None),
            f"Binary: scale {scale!r} is unknown; use channel, layer or None",
        )
        self.begin_step, self.scale = begin_step, scale

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return Sign(target.variable, self.begin_step, self.scale, target.depthwise)
