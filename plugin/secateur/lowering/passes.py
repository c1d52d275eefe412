"""Passes: what they may do, and how a flow of them runs.

A pass takes a graph and returns a graph. It never changes its argument: not the graph, its
operators or their arrays; what stays the same may be shared. FLOAT and INTEGER are the flows of
lowering, in order; `secateur.flow.conversion` adds those that choose how tensors are stored.

In tests (SECATEUR_VERIFY=1) both halves of the contract are checked around every pass.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

import numpy as np

from secateur.frontend.ir import Graph
from secateur.lowering.align import align
from secateur.lowering.find_functions import find_functions
from secateur.lowering.find_norms import find_norms
from secateur.lowering.find_softmax import find_softmax
from secateur.lowering.fold_input import fold_input
from secateur.lowering.fold_levels import fold_levels
from secateur.lowering.fold_norm import fold_norm
from secateur.lowering.fold_pad import fold_pad
from secateur.lowering.fold_relu import fold_relu
from secateur.lowering.fuse_residual import fuse_residual
from secateur.lowering.orient import orient
from secateur.lowering.qgraph import QGraph
from secateur.lowering.verify import InvalidGraphError, verify

G = TypeVar("G", Graph, QGraph)

#: Float passes before calibration; each leaves the graph's function unchanged.
FLOAT: tuple[Callable[[Graph], Graph], ...] = (
    find_softmax, find_norms, find_functions, fold_pad, fold_input, fold_norm, fold_relu,
    fold_levels, fuse_residual,
)  # fmt: skip

#: Integer passes: images row by row or column by column, then constants brought into like form.
INTEGER: tuple[Callable[[QGraph], QGraph], ...] = (orient, align)


def run(flow: Sequence[Callable[[G], G]], graph: G) -> G:
    """`graph` through every pass of a flow, in order."""
    checked = os.environ.get("SECATEUR_VERIFY") == "1"
    for step in flow:
        before = fingerprint(graph) if checked else ""
        made = step(graph)
        if checked:
            name = getattr(step, "__name__", repr(step))
            if fingerprint(graph) != before:
                raise InvalidGraphError(f"pass {name} changed its argument")
            if isinstance(made, QGraph):
                try:
                    verify(made)
                except InvalidGraphError as error:
                    raise InvalidGraphError(f"behind pass {name}: {error}") from None
        graph = made
    return graph


def fingerprint(value: Any) -> str:
    """A digest of everything in a graph."""
    digest = hashlib.sha256()
    _feed(digest, value)
    return digest.hexdigest()


def _feed(digest: Any, value: Any) -> None:
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    elif is_dataclass(value):
        digest.update(type(value).__name__.encode())
        for field in fields(value):
            _feed(digest, getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            _feed(digest, key)
            _feed(digest, item)
    elif isinstance(value, list | tuple):
        digest.update(f"({len(value)}".encode())
        for item in value:
            _feed(digest, item)
    else:
        digest.update(repr(value).encode())
