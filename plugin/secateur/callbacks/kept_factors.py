"""What SmartDeal leaves with a model: the factors of its weights.

They hang on the model as a Keras saveable, as the state of a fit does, so that `model.save` writes
them beside the weights. A plain Keras reading such a file does not look there.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras.src.saving.keras_saveable import KerasSaveable

from secateur.factors import ATTRIBUTE


class KeptFactors(KerasSaveable):
    """By "layer/weight": integer coefficients and basis, see `secateur.factors`."""

    def __init__(self) -> None:
        self.by_path: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def _obj_type(self) -> str:
        return "Layer"

    def save_own_variables(self, store: Any) -> None:
        """Keras' hook."""
        for path, pair in self.by_path.items():
            for name, value in zip(("coefficients", "basis"), pair, strict=True):
                store[f"{path}|{name}".replace("/", "|")] = value

    def load_own_variables(self, store: Any) -> None:
        """Keras' hook: the model's weights come from elsewhere, and with them what it knows."""
        self.by_path = {}
        for key in store.keys():  # noqa: SIM118
            path, _, name = key.rpartition("|")
            if name == "coefficients":
                pair = (np.array(store[key]), np.array(store[f"{path}|basis"]))
                self.by_path[path.replace("|", "/")] = pair


def keep(model: keras.Model, path: str, coefficients: np.ndarray, basis: np.ndarray) -> None:
    """Remember the factors of the weight "layer/weight"."""
    kept = getattr(model, ATTRIBUTE, None)
    if kept is None:
        kept = KeptFactors()
        setattr(model, ATTRIBUTE, kept)
    kept.by_path[path] = (coefficients, basis)
