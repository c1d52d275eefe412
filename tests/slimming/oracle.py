"""The original network with removed channels masked, call by call and without the code under test.

A removed channel is what its layer makes of it without its filter: the bias (through the layer's
own activation), or behind a norm the norm's shift. What happens to that value then is the network's
own doing.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

_MAKERS = (
    keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D, keras.layers.Conv2DTranspose, keras.layers.Dense,
)  # fmt: skip
_NORMS = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)


def masked(model: Any, inputs: list[np.ndarray], removed: dict[str, list[int]]) -> list[np.ndarray]:
    """The model's outputs with the channels `removed` (layer -> indices) masked."""
    out = _run(model, [keras.ops.convert_to_tensor(x) for x in inputs], removed, "")
    return [np.asarray(x) for x in out]


def _run(model: Any, inputs: list[Any], removed: dict[str, list[int]], prefix: str) -> list[Any]:
    values = {id(t): v for t, v in zip(model.inputs, inputs, strict=True)}
    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            op = node.operation
            if node.is_input:
                continue
            given = [values[id(t)] for t in node.input_tensors]
            if isinstance(op, keras.Model):
                out = _run(op, given, removed, f"{prefix}{op.name}/")
            else:
                args, kwargs = node.arguments.fill_in(values)
                out = keras.tree.flatten(op(*args, **kwargs))
                gone = removed.get(prefix + op.name)
                if gone:
                    out[0] = _without(op, np.array(out[0]), gone)
            for t, v in zip(node.outputs, out, strict=True):
                values[id(t)] = v
    return [values[id(t)] for t in model.outputs]


def _without(op: Any, out: np.ndarray, gone: list[int]) -> np.ndarray:
    if isinstance(op, _MAKERS):
        bias = np.zeros(out.shape[-1]) if op.bias is None else np.asarray(op.bias.value)
        value = np.asarray(op.activation(keras.ops.convert_to_tensor(bias[None], "float32")))[0]
    elif isinstance(op, _NORMS):
        value = np.zeros(out.shape[-1]) if op.beta is None else np.asarray(op.beta.value)
    else:
        return out
    out[..., gone] = value[gone]
    return out
