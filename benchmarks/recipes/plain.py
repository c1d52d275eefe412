"""A trained network without what training needed."""

from __future__ import annotations

import keras

from secateur.factors import ATTRIBUTE


def plain(model: keras.Model) -> keras.Model:
    """A copy of `model` without optimizer; what SmartDeal left with it goes along."""
    fresh = keras.models.clone_model(model)
    fresh.set_weights(model.get_weights())
    if (kept := getattr(model, ATTRIBUTE, None)) is not None:
        setattr(fresh, ATTRIBUTE, kept)
    return fresh


def still(model: keras.Model) -> None:
    """Kernels (and what else their layers have) no longer train; batch norm does.

    While ternary kernels move, averages of batch norm, which follow by a hundredth a step, seem not
    to fit the weights of the moment: a keyword spotter gained five points by steps in which batch
    norm alone trained (docs/low-bit-activations.md).
    """
    for layer in model.layers:
        if hasattr(layer, "kernel"):
            layer.trainable = False
