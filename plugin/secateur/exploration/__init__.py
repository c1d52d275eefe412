"""The best compressed network for a board, by search: `explore`, `compress`, `combinations`."""

from __future__ import annotations

from .api import compress, explore
from .grid import Combinations, combinations
from .points import Point
from .quality import quality
from .result import Exploration
from .space import Space, default_space
from .training import retrain

__all__ = [
    "Combinations",
    "Exploration",
    "Point",
    "Space",
    "combinations",
    "compress",
    "default_space",
    "explore",
    "quality",
    "retrain",
]
