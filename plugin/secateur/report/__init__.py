"""Figures of a deployment: as data, JSON, terminal text and HTML."""

from .figures import (
    Accuracy,
    Energy,
    Flash,
    Latency,
    LayerFigures,
    Outputs,
    Ram,
    Report,
    Size,
    estimate_energy,
    estimate_latency,
    layer_macs,
    write_text,
)

__all__ = [
    "Accuracy",
    "Energy",
    "Flash",
    "Latency",
    "LayerFigures",
    "Outputs",
    "Ram",
    "Report",
    "Size",
    "estimate_energy",
    "estimate_latency",
    "layer_macs",
    "write_text",
]
