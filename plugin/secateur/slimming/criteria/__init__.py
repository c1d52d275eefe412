"""How filters are judged; a criterion is one file with a class."""

from .activation import ActivationMean, Taylor
from .base import CRITERIA, Criterion
from .chance import RandomFilters
from .complexity import Complexity
from .fpgm import FPGM
from .l1 import L1Filters, L2Filters
from .nisp import NISP
from .slimming import Slimming
from .thinet import ThiNet

__all__ = [
    "CRITERIA",
    "FPGM",
    "NISP",
    "ActivationMean",
    "Complexity",
    "Criterion",
    "L1Filters",
    "L2Filters",
    "RandomFilters",
    "Slimming",
    "Taylor",
    "ThiNet",
]
