"""Keras callbacks that compress a model while it trains. Importing this imports Keras."""

from secateur.callbacks.base import Compression
from secateur.callbacks.cluster import Cluster
from secateur.callbacks.deep_compression import DeepCompression
from secateur.callbacks.projection import Projection
from secateur.callbacks.prune import Prune
from secateur.callbacks.sensitivity import LayerPlan, Sensitivity, sensitivity
from secateur.callbacks.ternarize import Ternarize

__all__ = [
    "Cluster",
    "Compression",
    "DeepCompression",
    "LayerPlan",
    "Projection",
    "Prune",
    "Sensitivity",
    "Ternarize",
    "sensitivity",
]
