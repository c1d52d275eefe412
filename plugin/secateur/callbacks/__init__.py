"""Keras callbacks that compress a model while it trains. Importing this imports Keras."""

from secateur.callbacks.base import Compression
from secateur.callbacks.cluster import Cluster
from secateur.callbacks.projection import Projection
from secateur.callbacks.prune import Prune
from secateur.callbacks.ternarize import Ternarize

__all__ = ["Cluster", "Compression", "Projection", "Prune", "Ternarize"]
