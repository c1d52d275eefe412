"""Figures of a deployment: as data, JSON, terminal text and HTML."""

from .figures import (
    Accuracy,
    Alternative,
    Energy,
    Flash,
    Latency,
    Outputs,
    Ram,
    Regression,
    Report,
    Size,
    estimate_energy,
    estimate_latency,
)
from .gains import Gains
from .layers import LayerFigures, layer_macs
from .stream import StreamReport

__all__ = [
    "Accuracy",
    "Alternative",
    "Energy",
    "Flash",
    "Gains",
    "Latency",
    "LayerFigures",
    "Outputs",
    "Ram",
    "Regression",
    "Report",
    "Size",
    "StreamReport",
    "estimate_energy",
    "estimate_latency",
    "layer_macs",
]
