"""Secateur: deep compression for microcontrollers, from Keras to a measured board.

Importing this package imports neither TensorFlow nor Keras; the callbacks do when first used. What
there is, and where it comes from, stands in `__init__.pyi`, which type checkers and the lazy loader
both read.
"""

from __future__ import annotations

import lazy_loader

from .version import __version__

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
__all__ = [*__all__, "__version__"]
