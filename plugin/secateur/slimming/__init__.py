"""Structured pruning: whole filters go, and the Keras model gets smaller.

channels.py and trace.py say which channels are one; rules/ what every layer does with them;
network.py puts a model together from that; criteria/ judge, solver.py chooses, surgery.py cuts.
"""

from .api import filter_plan, prune_filters
from .criteria import (
    FPGM,
    NISP,
    ActivationMean,
    Complexity,
    Criterion,
    L1Filters,
    L2Filters,
    RandomFilters,
    Slimming,
    Taylor,
    ThiNet,
)
from .plan import FilterPlan

__all__ = [
    "FPGM",
    "NISP",
    "ActivationMean",
    "Complexity",
    "Criterion",
    "FilterPlan",
    "L1Filters",
    "L2Filters",
    "RandomFilters",
    "Slimming",
    "Taylor",
    "ThiNet",
    "filter_plan",
    "prune_filters",
]
