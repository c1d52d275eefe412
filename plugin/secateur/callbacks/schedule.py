"""How a share of zeros grows over the steps of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from secateur.errors import ModelError


@dataclass(frozen=True)
class Schedule:
    """Share of zeros against optimizer step, counted from 1.

    polynomial (Zhu and Gupta 2017, "To prune, or not to prune"):
        s(t) = s_end + (s_begin - s_end) * (1 - (t - begin) / (end - begin)) ** 3
    constant: s_end from `begin` on.
    """

    final: float
    begin: int
    end: int
    kind: str = "polynomial"
    every: int = 1  #: steps between two updates

    def __post_init__(self) -> None:
        if not 0.0 <= self.final < 1.0:
            raise ModelError(f"sparsity {self.final} is not in 0 <= sparsity < 1; give a share")
        if self.kind not in ("polynomial", "constant"):
            raise ModelError(f"schedule {self.kind!r} is unknown; use 'polynomial' or 'constant'")
        if self.begin < 0 or (self.kind == "polynomial" and self.end < self.begin):
            raise ModelError(
                f"steps begin_step={self.begin}, end_step={self.end} are not a range; "
                "give 0 <= begin_step <= end_step"
            )
        if self.every < 1:
            raise ModelError(f"every={self.every} steps is not a period; give 1 or more")

    @property
    def last(self) -> int:
        """The step after which the final share is reached."""
        return max(1, self.begin if self.kind == "constant" else self.end)

    def at(self, step: Any, initial: Any) -> Any:
        """The share after step number `step` (a tensor), from share `initial` at the beginning."""
        final = tf.cast(self.final, tf.float32)
        if self.kind == "constant" or self.end == self.begin:
            share = final
        else:
            left = 1.0 - tf.cast(step - self.begin, tf.float32) / float(self.end - self.begin)
            share = final + (tf.minimum(initial, final) - final) * tf.clip_by_value(left, 0, 1) ** 3
        return tf.where(step >= self.begin, share, 0.0)

    def due(self, step: Any) -> Any:
        """Whether this step changes the share: every `every` steps, and surely the last."""
        if self.kind == "constant":
            return tf.equal(step, max(1, self.begin))
        inside = (step >= self.begin) & (step <= self.last)
        return inside & (tf.equal((step - self.begin) % self.every, 0) | tf.equal(step, self.last))
