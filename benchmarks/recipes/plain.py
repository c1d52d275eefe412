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
