"""How often a model is right: in float, in the integer reference, on the device."""

from __future__ import annotations

import numpy as np

from ..errors import ModelError
from ..frontend import execute
from ..report.figures import Accuracy
from .compiled import CompiledModel


def _top1(outputs: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(outputs.reshape(len(labels), -1).argmax(axis=1) == labels))


def measure(
    compiled: CompiledModel,
    inputs: np.ndarray | None,
    labels: np.ndarray | None,
    expected: np.ndarray,
    device: np.ndarray,
) -> Accuracy:
    """Top-1 of the float model, the reference (`expected`) and the device's outputs.

    Nothing where inputs or labels are missing; no float figure where the float graph cannot be run.
    """
    if labels is None or inputs is None:
        return Accuracy()
    y = np.asarray(labels).reshape(-1)
    if np.issubdtype(np.asarray(inputs).dtype, np.integer):
        t = compiled.qgraph.tensors[compiled.qgraph.input]
        x = (np.asarray(inputs, np.float32) + 128 - t.zero_point) * np.float32(t.scale)
    else:
        x = np.asarray(inputs, np.float32)
    try:
        real = execute.run(compiled.graph, x)
    except ModelError:
        return Accuracy(None, _top1(expected, y), _top1(device, y))
    return Accuracy(_top1(real, y), _top1(expected, y), _top1(device, y))
