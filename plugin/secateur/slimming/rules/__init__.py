"""What every kind of operation does with channels; each file registers its own."""

from . import conv, dense, elementwise, merge, norm, pool, recurrent, shape

__all__ = ["conv", "dense", "elementwise", "merge", "norm", "pool", "recurrent", "shape"]
