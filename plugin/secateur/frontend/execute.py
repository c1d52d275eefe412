"""Float execution of a graph in NumPy: calibration and float accuracy without TensorFlow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from secateur.errors import DataError
from secateur.frontend.ir import Graph, Node
from secateur.frontend.ops import OPS
from secateur.frontend.ops.activation import level

Array = np.ndarray
#: Samples for a graph: an array [N, ...] for its one input, one each in order, or by input name.
Inputs = Array | Sequence[Array] | Mapping[str, Array]


def run(graph: Graph, x: Inputs, batch: int = 64) -> Array:
    """The one output for samples `x` [N, ...], as float32 (indices: int32) [N, ...]."""
    output = graph.output
    return np.concatenate([values[output] for values in batches(graph, x, batch, keep=False)])


def run_outputs(graph: Graph, x: Inputs, batch: int = 64) -> list[Array]:
    """Every output for samples `x`, in the model's order."""
    parts: list[list[Array]] = [[] for _ in graph.outputs]
    for values in batches(graph, x, batch, keep=False):
        for part, t in zip(parts, graph.outputs, strict=True):
            part.append(values[t])
    return [np.concatenate(p) for p in parts]


def run_all(graph: Graph, x: Inputs) -> dict[str, Array]:
    """Every tensor of the graph for `x` [N, ...], by name, [N, ...]; constants as [1, ...]."""
    return _execute(graph, as_inputs(graph, x), keep=True)


def run_to(graph: Graph, x: Inputs, tensor: str) -> Array:
    """One tensor of the graph for `x`, [N, ...]; nothing behind it is computed."""
    at = graph.nodes.index(graph.node(tensor))
    nodes = [n for i, n in enumerate(graph.nodes) if i <= at or n.op == "input"]
    return run_outputs(Graph(graph.name, nodes, graph.inputs, (tensor,)), x)[0]


def batches(
    graph: Graph, x: Inputs, batch: int = 64, keep: bool = True
) -> Iterator[dict[str, Array]]:
    """`run_all` over slices of `x`; with keep=False only live tensors are held."""
    arrays = as_inputs(graph, x)
    for i in range(0, len(next(iter(arrays.values()))), batch):
        yield _execute(graph, {t: a[i : i + batch] for t, a in arrays.items()}, keep)


def as_inputs(graph: Graph, x: Inputs, what: str = "inputs") -> dict[str, Array]:
    """`x` by input tensor, each as `as_input` gives it; DataError unless it is what they take."""
    if isinstance(x, Mapping):
        unknown = sorted(set(x) - set(graph.inputs))
        missing = [t for t in graph.inputs if t not in x]
        if unknown or missing:
            wrong = f"lack '{missing[0]}'" if missing else f"hold '{unknown[0]}'"
            raise DataError(
                f"{what} for model '{graph.name}' {wrong}; its inputs are "
                + ", ".join(f"'{t}'" for t in graph.inputs)
            )
        parts = [x[t] for t in graph.inputs]
    elif len(graph.inputs) == 1:
        one = isinstance(x, list | tuple) and len(x) == 1 and isinstance(x[0], np.ndarray)
        parts = [x[0] if one else x]  # type: ignore[list-item]
    else:
        if isinstance(x, np.ndarray) or len(x) != len(graph.inputs):
            raise DataError(
                f"{what} for model '{graph.name}' are one array, and it has "
                f"{len(graph.inputs)} inputs; give an array for each of "
                + ", ".join(f"'{t}'" for t in graph.inputs)
            )
        parts = list(x)
    single = len(graph.inputs) == 1
    found = {
        t: _as_input(graph, t, a, what if single else f"{what} '{t}'")
        for t, a in zip(graph.inputs, parts, strict=True)
    }
    counts = {len(a) for a in found.values()}
    if len(counts) > 1:
        listed = ", ".join(f"'{t}' {len(a)}" for t, a in found.items())
        raise DataError(
            f"{what} for model '{graph.name}' differ in their number of samples ({listed}); give "
            "as many for each input"
        )
    return found


def as_input(graph: Graph, x: Array, what: str = "inputs") -> Array:
    """`x` as float32 [N, *input shape]; DataError if its shape, size or values do not fit."""
    return _as_input(graph, graph.input, x, what)


def _as_input(graph: Graph, tensor: str, x: Array, what: str) -> Array:
    shape = graph.node(tensor).shape
    asked = tuple(graph.node(tensor).attrs.get("nominal", shape))  # (L, C) is carried as (1, L, C)
    advice = f"give an array [{', '.join(map(str, ('N', *asked)))}]"
    try:
        x = np.asarray(x)
    except ValueError:  # lists of different lengths
        raise DataError(
            f"{what} for model '{graph.name}' are no array: samples differ in shape; {advice}"
        ) from None
    if x.dtype.kind not in "fiub":
        raise DataError(
            f"{what} for model '{graph.name}' have type {x.dtype}; give an array of numbers"
        )
    if x.ndim == 0 or len(x) == 0:
        raise DataError(
            f"{what} for model '{graph.name}' are empty; give at least one sample of shape {asked}"
        )
    # (L, C) is carried as (1, L, C), and a single channel may be left out.
    squeeze = tuple(d for d in shape if d != 1)
    if x.shape[1:] != shape and tuple(d for d in x.shape[1:] if d != 1) != squeeze:
        raise DataError(
            f"{what} for model '{graph.name}' have shape {x.shape[1:]} a sample, but the model "
            f"takes {asked}; {advice}"
        )
    dtype = np.int32 if graph.dtype(tensor) == "int32" else np.float32
    source = x
    x = np.ascontiguousarray(x.reshape(len(x), *shape), dtype=dtype)
    bad = ~np.isfinite(x)
    if dtype == np.int32:
        whole = np.isfinite(source) & (source == np.rint(source)) & (np.abs(source) < 2**31)
        bad = ~np.broadcast_to(whole, source.shape)
        if bad.any():
            sample = int(np.argwhere(bad)[0, 0])
            raise DataError(
                f"{what} for model '{graph.name}' are indices, and sample {sample} holds a number "
                "that is no whole number of 32 bits"
            )
    if bad.any():
        sample = int(np.argwhere(bad)[0, 0])
        raise DataError(
            f"{what} for model '{graph.name}' hold NaN or infinity (first in sample {sample}); "
            "remove or repair those samples"
        )
    return x


def compute(node: Node, inputs: list[Array]) -> Array:
    """The output of one node for operands [N, *shape]."""
    y = OPS[node.op].run(node, inputs)
    clamp = node.attrs.get("clamp")
    if clamp is not None:
        y = np.clip(y, clamp[0], clamp[1])
    if "levels" in node.attrs and node.op != "quant_activation":
        y = level(y, *node.attrs["levels"])
    return y.reshape(len(y), *node.shape)


def _execute(graph: Graph, given: Mapping[str, Array], keep: bool) -> dict[str, Array]:
    values: dict[str, Array] = {}
    last = {t: i for i, n in enumerate(graph.nodes) for t in n.inputs}
    samples = len(next(iter(given.values())))
    for i, node in enumerate(graph.nodes):
        if node.op == "input":
            values[node.output] = given[node.output]
            continue
        values[node.output] = compute(node, [values[t] for t in node.inputs])
        if not keep:
            for t in set(node.inputs):
                if last[t] == i and t not in graph.outputs:
                    del values[t]
    for t in graph.outputs:  # what no input changes has a batch of 1
        if len(values[t]) != samples:
            values[t] = np.broadcast_to(values[t], (samples, *values[t].shape[1:]))
    return values
