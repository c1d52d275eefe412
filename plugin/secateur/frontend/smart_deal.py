"""The factors that training left with a Keras model or in its file (SmartDeal)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from secateur.factors import ATTRIBUTE, whole
from secateur.frontend.ir import Graph

Pair = tuple[np.ndarray, np.ndarray]
_FIT = "_secateur_state"  #: the group of a checkpoint written during a fit


def of_model(model: Any) -> dict[str, Pair]:
    """By "layer/weight": integer coefficients and basis; empty where nothing was left."""
    kept = getattr(model, ATTRIBUTE, None)
    return dict(kept.by_path) if kept is not None else {}


def of_file(path: Path) -> dict[str, Pair]:
    """The same of a `.keras` file, which `frontend.keras3` has found intact."""
    import h5py

    with zipfile.ZipFile(path) as archive:
        data = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(data, "r") as file:
        for group, middle in ((ATTRIBUTE, ""), (_FIT, "SmartDeal|")):
            if f"{group}/vars" in file:
                found = _pairs(file[f"{group}/vars"], middle)
                if found:
                    return found if not middle else {k: whole(*v) for k, v in found.items()}
    return {}


def _pairs(store: Any, middle: str) -> dict[str, Pair]:
    """Entries "layer|weight|MIDDLEcoefficients" and "...basis"."""
    out = {}
    end = f"|{middle}coefficients"
    for key in store:
        basis = f"{key[: -len(end)]}|{middle}basis"
        if key.endswith(end) and basis in store:
            out[key[: -len(end)].replace("|", "/")] = (np.array(store[key]), np.array(store[basis]))
    return out


def attach(graph: Graph, found: dict[str, Pair]) -> Graph:
    """Give the nodes their factors, as attrs["factors"]."""
    for node in graph.nodes:
        pair = found.get(f"{node.name}/kernel")
        if pair is not None and node.op in ("conv2d", "dense"):
            node.attrs["factors"] = pair
    return graph
