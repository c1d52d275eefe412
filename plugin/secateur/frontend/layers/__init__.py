"""Keras layers to graph nodes, for every front end whose layers carry Keras' names and configs.

A front end walks its own model and hands each layer over as a `SourceLayer`; one handler per type
emits nodes. Every file of this folder is a family of layers that registers its handlers with
`@handles`; the registry is the list of supported layers.
"""

from importlib import import_module
from pkgutil import iter_modules

from secateur.frontend.build import Builder, canonical

from .base import (
    Handler,
    Ref,
    SourceLayer,
    add_layer,
    add_layers,
    handles,
    kind_of_others,
    refuse,
    spreads,
    supported,
    supported_operations,
)
from .geometry import Pads, resolve_padding, window_shape

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Builder",
    "Handler",
    "Pads",
    "Ref",
    "SourceLayer",
    "add_layer",
    "add_layers",
    "canonical",
    "handles",
    "kind_of_others",
    "refuse",
    "resolve_padding",
    "spreads",
    "supported",
    "supported_operations",
    "window_shape",
]
