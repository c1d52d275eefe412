"""Weight encodings. Importing the package registers every encoding found in its modules."""

from __future__ import annotations

from importlib import import_module
from pkgutil import iter_modules

from .base import Encoded, Encoding, Stream, all_encodings, best, get, register

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = ["Encoded", "Encoding", "Stream", "all_encodings", "best", "get", "register"]
