"""Secateur: deep compression for microcontrollers, from Keras to a measured board.

Importing this package imports neither TensorFlow nor Keras; the callbacks do when first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .flow import CompiledModel as CompiledModel
    from .flow import convert as convert
    from .flow import deploy as deploy
    from .flow import load as load

_FLOW = ("CompiledModel", "convert", "deploy", "load")
__all__ = [*_FLOW, "__version__"]


def __getattr__(name: str) -> Any:
    """`convert` and friends, and every callback (secateur.Prune ...), imported when first used."""
    if name in _FLOW:
        return getattr(import_module(".flow", __name__), name)
    # callbacks are classes; a lower-case name may be a submodule that is about to be imported
    if not name[0].isupper() and name not in ("sensitivity", "quantize_activations"):
        raise AttributeError(f"module 'secateur' has no attribute {name!r}")
    callbacks = import_module(".callbacks", __name__)
    try:
        return getattr(callbacks, name)
    except AttributeError:
        raise AttributeError(f"module 'secateur' has no attribute {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *import_module(".callbacks", __name__).__all__})
