"""How often a model is right, or how far off: in float, in the integer reference, on the device."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .. import tasks
from ..errors import DataError, ModelError
from ..frontend import execute
from ..frontend.ir import Graph
from ..lowering import reference
from ..report import classes
from ..report.classes import Classes
from ..report.figures import Accuracy, Regression
from ..tasks import Task
from .compiled import CompiledModel


def task(compiled: CompiledModel, inputs: object, labels: object) -> Task | None:
    """What `labels` ask of the model; None without labels. Raises DataError (`tasks.read`)."""
    if labels is None:
        return None
    if inputs is None:
        raise DataError("labels without the inputs they belong to; give inputs, too")
    graph, q = compiled.graph, compiled.qgraph
    if len(q.outputs) != 1 or len(q.inputs) != 1:
        raise DataError(
            f"model '{compiled.name}' has {len(q.inputs)} inputs and {len(q.outputs)} outputs; "
            "accuracy is measured with one of each: leave the labels out"
        )
    shape = q.interface_shape(q.output)
    indices = graph.dtype(graph.output) == "int32"
    return tasks.read(labels, len(inputs), shape, ends_in_sigmoid(graph), indices)  # type: ignore[arg-type]


def ends_in_sigmoid(graph: Graph) -> bool:
    """Whether the output's last function is a sigmoid, also behind reshapes."""
    node = graph.node(graph.output)
    while node.op in ("reshape", "flatten"):
        node = graph.node(node.inputs[0])
    return node.op == "activation" and node.attrs["function"] in ("sigmoid", "hard_sigmoid")


def measure(
    compiled: CompiledModel,
    inputs: np.ndarray | None,
    asked: Task | None,
    expected: np.ndarray,
    device: np.ndarray,
) -> tuple[Accuracy, Regression | None, Classes | None]:
    """The float model, the reference (`expected`) and the device's outputs, in codes, held to
    `asked`.

    Nothing where nothing is asked; no float figure where the float graph cannot be run, or where
    the inputs are codes of the converted model already and their reals lie outside the graph.
    """
    if asked is None or inputs is None:
        return Accuracy(), None, None
    shape = (len(device), *compiled.qgraph.interface_shape(compiled.qgraph.output))
    real, quantized, measured = (
        _float_outputs(compiled, inputs),
        reference.dequantize_output(compiled.qgraph, expected.reshape(shape)),
        reference.dequantize_output(compiled.qgraph, device.reshape(shape)),
    )
    stages = {"float": real, "reference": quantized, "device": measured}

    def each(figure: Callable[[np.ndarray], float | None]) -> dict[str, float | None]:
        return {name: None if out is None else figure(out) for name, out in stages.items()}

    if asked.kind == tasks.REGRESSION:
        return Accuracy(kind=asked.kind), Regression(each(asked.mae), each(asked.r2)), None
    return Accuracy(**each(asked.accuracy), kind=asked.kind), None, _classes(asked, real, measured)


def _classes(asked: Task, real: np.ndarray | None, measured: np.ndarray) -> Classes | None:
    """By class, where a sample has one; class numbers from a model itself are not counted out."""
    if asked.kind != tasks.TOP1 or measured.reshape(len(asked.targets), -1).shape[1] < 2:
        return None
    floats = None if real is None else asked.answers(real)
    return classes.of(asked.targets, asked.answers(measured), floats, measured.shape[-1])


def _float_outputs(compiled: CompiledModel, inputs: np.ndarray) -> np.ndarray | None:
    x = np.asarray(inputs)
    t = compiled.qgraph.tensors[compiled.qgraph.input]
    if x.dtype == np.int8 and t.dtype != "int32":  # the codes that `CompiledModel.quantize` takes
        x = (x.astype(np.float32) + 128 - t.zero_point) * np.float32(t.scale)
    try:
        return execute.run(compiled.graph, x)
    except ModelError:
        return None
