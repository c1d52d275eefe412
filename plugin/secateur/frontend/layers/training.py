"""Layers that act during training alone."""

from __future__ import annotations

from secateur.frontend.build import Builder

from .base import SourceLayer, handles


@handles(
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "AlphaDropout",
    "GaussianNoise",
    "GaussianDropout",
    "ActivityRegularization",
    "Identity",
    "RandomBrightness",
    "RandomContrast",
    "RandomFlip",
    "RandomHue",
    "RandomRotation",
    "RandomSaturation",
    "RandomShear",
    "RandomTranslation",
    "RandomZoom",
    "StochasticDepth",  # ConvNeXt's, of keras.applications
)
def _identity(
    b: Builder, layer: SourceLayer, inputs: list[str], out: tuple[int, ...] | None
) -> str:
    return inputs[0]
