"""Sparsity of batch-norm scales while training, for network slimming.

Liu, Li, Shen, Huang, Yan, Zhang, "Learning Efficient Convolutional Networks through Network
Slimming", ICCV 2017, arXiv 1708.06519.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from secateur.callbacks.select import Pattern, leaves, matches
from secateur.errors import ModelError
from secateur.progress import tell

#: scales below this are as good as gone
_SMALL = 1e-2


class _Subgradient(keras.regularizers.Regularizer):
    """Worth 0, with the gradient s * sign(x): the loss that is logged is the task's alone."""

    def __init__(self, strength: float) -> None:
        self.strength = strength

    def __call__(self, x: Any) -> Any:
        penalty = self.strength * keras.ops.sum(keras.ops.abs(x))
        return penalty - keras.ops.stop_gradient(penalty)

    def get_config(self) -> dict[str, Any]:
        return {"strength": self.strength}


class NetworkSlimming(keras.callbacks.Callback):
    """Add s * sign(gamma) to the gradient of every batch-norm scale while fitting.

    Channels whose scale this draws to zero are those that `Slimming` then takes out:

        model.fit(..., callbacks=[NetworkSlimming(strength=1e-4)])
        smaller = secateur.prune_filters(model, secateur.Slimming(parameters=0.3))

    The loss that is logged stays that of the task. `fit` logs `slim`, the share of scales below
    0.01. At the end of `fit` the model is as it was but for its weights.

    Args:
        strength: s; the paper takes 1e-4 for VGG, 1e-5 for ResNet and DenseNet.
        initial_gamma: set all scales to this before the first step, 0.5 in the paper; None leaves
            them as they are.
        include: layer names (with * and ?), class names or classes; None for all batch norms.
        exclude: the same, taken out again.

    Raises:
        ModelError: no batch norm with a scale is chosen, or one that has a regularizer already.
    """

    def __init__(
        self,
        strength: float = 1e-4,
        initial_gamma: float | None = None,
        include: Sequence[Pattern] | None = None,
        exclude: Sequence[Pattern] = (),
    ) -> None:
        super().__init__()
        if not (math.isfinite(strength) and strength > 0):
            raise ModelError(f"strength={strength!r} draws nothing to zero; give more than 0")
        if initial_gamma is not None and not (math.isfinite(initial_gamma) and initial_gamma):
            raise ModelError(f"initial_gamma={initial_gamma!r} lets nothing through; give 0.5")
        self.strength = strength
        self.initial_gamma = initial_gamma
        self.include = [include] if isinstance(include, str | type) else include
        self.exclude = [exclude] if isinstance(exclude, str | type) else list(exclude)
        self.scales: list[Any] = []
        self._set = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Hang the subgradient on the scales and have the train step traced with it."""
        self.scales = [layer.gamma for layer in self._layers()]
        for gamma in self.scales:
            # one of ours is what a fit that was interrupted left
            if not isinstance(gamma.regularizer, _Subgradient | None):
                raise ModelError(
                    f"'{gamma.path}' has a gamma_regularizer, which NetworkSlimming would replace; "
                    "build the model without it"
                )
        for gamma in self.scales:
            gamma.regularizer = _Subgradient(self.strength)
            if self.initial_gamma is not None and not self._set:
                gamma.assign(np.full(gamma.shape, self.initial_gamma))
        self._set = True
        self.model.make_train_function(force=True)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Say how far it is."""
        tell("training, rounds done", epoch, self.params.get("epochs"))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """`slim`: the share of scales that are as good as gone."""
        if logs is not None:
            values = np.concatenate([np.abs(np.asarray(g.value)).reshape(-1) for g in self.scales])
            logs["slim"] = float((values < _SMALL).mean())

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leave a plain model."""
        for gamma in self.scales:
            gamma.regularizer = None
        self.model.train_function = None

    def _layers(self) -> list[Any]:
        norms = [
            layer for layer in leaves(self.model)
            if isinstance(layer, keras.layers.BatchNormalization) and layer.gamma is not None
        ]  # fmt: skip
        for pattern in [*(self.include or []), *self.exclude]:
            if not any(matches(layer, pattern) for layer in norms):
                raise ModelError(f"NetworkSlimming: {pattern!r} means no batch norm with a scale")
        chosen = [
            layer for layer in norms
            if (self.include is None or any(matches(layer, p) for p in self.include))
            and not any(matches(layer, p) for p in self.exclude)
        ]  # fmt: skip
        if not chosen:
            raise ModelError(
                f"NetworkSlimming finds no batch norm with a scale in '{self.model.name}'; it "
                "needs BatchNormalization(scale=True) behind the layers to be slimmed"
            )
        return chosen
