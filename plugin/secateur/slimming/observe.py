"""Run a network call by call and look at, or change, what goes through it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from secateur.errors import DataError

from .network import Key, LayerCall, Network

#: (call, its input tensors) -> the inputs it shall have
Look = Callable[[LayerCall, list[Any]], list[Any]]


def run(network: Network, inputs: list[Any], look: Look) -> list[Any]:
    """The model's outputs for a batch, not training; `look` sees the inputs of every call."""
    import keras

    values: dict[Key, Any] = dict(zip(network.inputs, inputs, strict=True))
    last = {k: i for i, c in enumerate(network.calls) for k in c.inputs}
    keep = set(network.outputs)
    for i, call in enumerate(network.calls):
        node = call.visit.node
        given = look(call, [values[k] for k in call.inputs])
        fed = {id(t): v for t, v in zip(node.input_tensors, given, strict=True)}
        args, kwargs = node.arguments.fill_in(fed)
        out = keras.tree.flatten(call.visit.op(*args, **kwargs))
        values.update(zip(call.outputs, out, strict=True))
        for k in set(call.inputs):
            if last[k] == i and k not in keep:
                del values[k]
    return [values[k] for k in network.outputs]


def as_inputs(network: Network, data: Any) -> list[np.ndarray]:
    """The arrays of `data`, one for each input of the model.

    data: an array, a list of arrays, a dict by input name, or a pair (x, labels) as a tuple, of
    which the labels are ignored. Raises DataError.
    """
    x = data[0] if isinstance(data, tuple) and len(data) == 2 else data
    wanted = network.model.inputs
    if isinstance(x, Mapping):
        missing = [t.name for t in wanted if t.name not in x]
        if missing:
            raise DataError(f"data have no array for the input '{missing[0]}'")
        parts = [x[t.name] for t in wanted]
    else:
        parts = list(x) if isinstance(x, list | tuple) else [x]
    if len(parts) != len(wanted):
        raise DataError(f"data have {len(parts)} arrays for {len(wanted)} inputs of the model")
    arrays = [np.asarray(p, np.float32) for p in parts]
    for a, t in zip(arrays, wanted, strict=True):
        shape = tuple(t.shape[1:])
        fits = a.ndim == len(shape) + 1 and all(
            m in (None, n) for n, m in zip(a.shape[1:], shape, strict=True)
        )
        if not fits or not len(a) or len(a) != len(arrays[0]):
            raise DataError(
                f"data of shape {list(a.shape)} do not fit the input '{t.name}', which takes "
                f"[n, {', '.join(str(n) for n in shape)}]"
            )
    return arrays


def batches(arrays: list[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    """Slices of `size` samples."""
    for i in range(0, len(arrays[0]), size):
        yield [a[i : i + size] for a in arrays]


def channels_last(call: LayerCall, x: Any) -> np.ndarray:
    """The first input of a call as float64 [n, ..., channels]."""
    axis = call.visit.inputs[0]
    value = np.asarray(x, np.float64)
    return value if axis is None else np.moveaxis(value, axis.axis, -1)
