"""Ternary weight networks: Li, Zhang, Liu, "Ternary Weight Networks", 2016."""

from __future__ import annotations

import os
from collections.abc import Sequence

from secateur.callbacks.base import Compression, require
from secateur.callbacks.projection import Projection
from secateur.callbacks.select import Pattern, Weight
from secateur.callbacks.ternarize import TernaryProjection


class TWN(TernaryProjection):
    """The baseline's projection."""

    method = "TernaryTWN"


class TernaryTWN(Compression):
    """w = a sign(v) [|v| > D] with the paper's optimum for normally distributed weights:

        D = 0.7 / n * sum |v_i|,   a = mean of |v_i| over |v_i| > D,   dL/dv = dL/dw.

    `Ternarize` is the same rule with a choice of sparsity; this is the published baseline.

    Args:
        begin_step: first step that projects.
        scale: D and a for each output "channel" or for the "layer" (the paper's choice).
        include, exclude, resume: see `Compression`; depthwise kernels only when included.
    """

    depthwise_by_default = False

    def __init__(
        self,
        begin_step: int = 0,
        scale: str = "channel",
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
        resume: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__(include, exclude, resume)
        require(begin_step >= 0, f"TernaryTWN: begin_step={begin_step} is negative; give 0 or more")
        require(
            scale in ("channel", "layer"),
            f"TernaryTWN: scale {scale!r} is unknown; use channel or layer",
        )
        self.begin_step, self.scale = begin_step, scale

    def make(self, target: Weight) -> Projection:
        """The projection for one weight."""
        return TWN(target.variable, self.begin_step, scale=self.scale, depthwise=target.depthwise)
