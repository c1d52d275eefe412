"""Every constructor argument and activation of every supported layer, at other than its default.

Either the float executor gives what the framework gives, or the conversion is refused: nothing is
read as something else. The layers come from the registry of readers, their arguments from the
framework's signatures, so that a new reader is walked over by itself.
"""

from __future__ import annotations

import inspect
import itertools
import warnings
import zlib
from collections.abc import Iterator
from types import FunctionType
from typing import Any

import numpy as np
import pytest

from secateur.errors import ModelError
from secateur.frontend import execute
from secateur.frontend.layers import supported

pytestmark = pytest.mark.train

#: Drawn from anew for every layer: what a test draws hangs on no other test.
RNG = np.random.default_rng(11)
#: Not built from a signature: inputs, this package's own.
_ELSEWHERE = {"InputLayer", "QuantActivation"}
#: Shapes tried, in this order, until a layer takes one.
_SHAPES: list[Any] = [(6, 8, 4), (8, 4), (5,), [(6,), (6,)], [(8, 4), (8, 4)], [(6, 8, 4)] * 2]
_FIRST_SHAPES: dict[str, list[Any]] = {
    "Dense": [(5,)],
    "Embedding": [(7,)],
    "EinsumDense": [(8, 4)],
    "RepeatVector": [(5,)],
    "TimeDistributed": [(8, 4)],
    "Bidirectional": [(8, 4)],
    "RNN": [(8, 4)],
    "Attention": [[(8, 4), (8, 4)]],
    "AdditiveAttention": [[(8, 4), (8, 4)]],
    "MultiHeadAttention": [[(8, 4), (8, 4)]],
    "GroupQueryAttention": [[(8, 4), (8, 4)]],
    "GroupedQueryAttention": [[(8, 4), (8, 4)]],
    "ConvLSTM2D": [(3, 6, 8, 4)],
    "ConvLSTM3D": [(2, 4, 5, 6, 3)],
    "Dot": [[(8, 4), (8, 4)], [(5,), (5,)]],
}
#: Values for arguments without a default, and (after them) other values to try.
_REQUIRED: dict[str, Any] = {
    "activation": "relu", "axes": -1, "axis": -1, "cropping": 1, "dims": (2, 1), "epsilon": 0.01,
    "equation": "abc,cd->abd", "factor": 0.2, "filters": 4, "groups": 2, "head_dim": 4,
    "height": 3, "height_factor": 0.2, "input_dim": 9, "kernel_size": 3, "key_dim": 3, "n": 3,
    "num_heads": 2, "num_key_value_heads": 1, "num_query_heads": 2, "output_dim": 4,
    "output_shape": (None, 6), "output_size": 2, "pool_size": 2, "rate": 0.3, "scale": 0.25,
    "stddev": 0.3, "target_shape": (-1, 2), "units": 3, "width": 5, "width_factor": 0.2,
}  # fmt: skip
_VALUES: dict[str, list[Any]] = {
    "activation": [
        "linear", "relu", "relu6", "softmax", "log_softmax", "sigmoid", "hard_sigmoid", "tanh",
        "elu", "selu", "gelu", "silu", "swish", "softplus", "softsign", "exponential", "mish",
        "leaky_relu", "hard_silu", "hard_tanh", "celu", "glu", "hard_shrink", "soft_shrink",
        "tanh_shrink", "soft_shrink", "sparse_plus", "sparsemax", "squareplus", "threshold",
        "log_sigmoid", "sparse_sigmoid", "hard_swish",
    ],
    "axis": [1, 2, [1, 2], -2, 0],
    "axes": [1, (1, 2)],
    "cropping": [(1, 2), ((1, 0), (0, 2))],
    "data_format": ["channels_first"],
    "depth_multiplier": [2],
    "dilation_rate": [2, (2, 1)],
    "dims": [(2, 1, 3), (3, 1, 2)],
    "factor": [0.9],
    "fill_mode": ["nearest", "reflect", "wrap"],
    "groups": [1, 4],
    "interpolation": ["nearest", "bilinear", "bicubic", "lanczos3"],
    "invert": [True],
    "kernel_size": [1, 2, (2, 3)],
    "mean": [0.3, [0.1, 0.2, 0.3, 0.4]],
    "mode": ["horizontal"],
    "max_value": [2.0, 0.5],
    "offset": [0.7, -0.3],
    "output_padding": [1, (1, 0)],
    "output_shape": [5],
    "output_size": [3, (2, 4)],
    "padding": ["same", "causal", 2, (1, 2), ((1, 0), (2, 1))],
    "pool_size": [1, 3, (2, 3)],
    "scale": [2.0, False],
    "score_mode": ["concat"],
    "shared_axes": [[1], [1, 2]],
    "size": [3, (2, 3)],
    "sliding_window": [3],
    "strides": [2, (2, 1), 3],
    "target_shape": [(8, 4, 6), (192,), (4, -1)],
    "value_dim": [5],
    "variance": [2.0],
    "bias_axes": ["d"],
    "attention_axes": [1],
    "merge_mode": ["sum", "mul", "ave", None],
    "backward_layer": [
        lambda layers: layers.LSTM(3, return_sequences=True, go_backwards=True),
        lambda layers: layers.GRU(3, return_sequences=True, go_backwards=True),
        lambda layers: layers.LSTM(3, return_sequences=True),
    ],
    "cell": [
        lambda layers: layers.GRUCell(3),
        lambda layers: layers.SimpleRNNCell(3, activation="relu"),
        lambda layers: layers.LSTMCell(3, unit_forget_bias=False, recurrent_dropout=0.2),
        lambda layers: [layers.LSTMCell(3), layers.GRUCell(2)],
        lambda layers: layers.StackedRNNCells([layers.GRUCell(3), layers.GRUCell(2)]),
    ],
}  # fmt: skip
#: What layers around layers are given where nothing is said.
_INNER: dict[str, dict[str, Any]] = {
    "TimeDistributed": {"layer": lambda layers: layers.Dense(3, activation="relu")},
    "Bidirectional": {"layer": lambda layers: layers.LSTM(3, return_sequences=True)},
    "RNN": {"cell": lambda layers: layers.LSTMCell(3)},
}
#: Act in training alone, or name things.
_IDLE = {"name", "dtype", "trainable", "seed", "noise_shape", "autocast", "weights", "layer"}


def _signature(kind: Any) -> dict[str, inspect.Parameter]:
    """The constructor's parameters, and those of its bases that have a default."""
    found: dict[str, inspect.Parameter] = {}
    for base in reversed(kind.__mro__):
        own = base.__module__.startswith(("keras.src.layers", "tf_keras.src.layers"))
        if own and "__init__" in vars(base):
            empty = inspect.Parameter.empty
            given = inspect.signature(base.__init__).parameters
            found.update((n, p) for n, p in given.items() if base is kind or p.default is not empty)
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {n: p for n, p in found.items() if n != "self" and p.kind in named and n not in _IDLE}


def _others(name: str, default: Any) -> Iterator[Any]:
    """Values of an argument that are not its default."""
    if name.endswith(("_initializer", "initializer")):
        values: list[Any] = ["random_normal"]
    elif name.endswith(("_regularizer", "_constraint")):
        values = ["non_neg" if name.endswith("constraint") else "l2"]
    elif name in _VALUES:
        values = _VALUES[name]
    elif isinstance(default, bool):
        values = [not default]
    elif isinstance(default, int):
        values = [default + 1]
    elif isinstance(default, float):
        values = [default + 0.3, default * 3]
    else:
        values = [True, 2, 0.4, "same", (1, 2)]
    yield from (v for v in values if v is not default)


def _build(framework: Any, kind: Any, shape: Any, arguments: dict[str, Any]) -> Any:
    """A model of the one layer, weights drawn at random; None where the framework takes it not."""
    layers = framework.layers
    integers = kind.__name__ == "Embedding"
    try:
        arguments = {**_INNER.get(kind.__name__, {}), **arguments}
        arguments = {
            n: v(layers) if isinstance(v, FunctionType) else v for n, v in arguments.items()
        }
        layer = kind(**arguments)
        several = isinstance(shape, list)
        inputs = [
            framework.Input(s, dtype="int32" if integers else "float32")
            for s in (shape if several else [shape])
        ]
        if "Attention" in kind.__name__ and kind.__name__.startswith(("Multi", "Group")):
            out = layer(*inputs)
        else:
            out = layer(inputs if several else inputs[0])
        model = framework.Model(inputs, out)
        for v in model.weights:
            if "seed" in v.name or "int" in str(v.dtype):
                continue
            new = RNG.normal(0.2, 0.6, v.shape)
            v.assign(np.abs(new) + 0.1 if "variance" in v.name else new)
        if hasattr(layer, "finalize_state"):  # Normalization keeps what it makes of its weights
            layer.finalize_state()
        data = [
            RNG.integers(0, 9, (2, *i.shape[1:]))
            if integers
            else RNG.normal(0, 2, (2, *i.shape[1:]))
            for i in inputs
        ]
        data = [d.astype(np.int32 if integers else np.float32) for d in data]
        expected = model(data if several else data[0], training=False)
        outs = [np.asarray(o) for o in _listed(expected)]
        fine = all(o.size and o.dtype.kind == "f" for o in outs)
        return (model, data, outs) if fine else None
    except Exception:  # whatever the framework says to arguments that do not go together
        return None


def _listed(outputs: Any) -> list[Any]:
    return list(outputs) if isinstance(outputs, list | tuple) else [outputs]


def _base(framework: Any, kind: Any) -> tuple[Any, dict[str, Any]] | None:
    """A shape and the least arguments with which a layer is built."""
    needed = {n: p for n, p in _signature(kind).items() if p.default is inspect.Parameter.empty}
    arguments = {n: _REQUIRED[n] for n in needed if n in _REQUIRED}
    if "groups" in _signature(kind) and kind.__name__ == "GroupNormalization":
        arguments["groups"] = 2
    for shape in _FIRST_SHAPES.get(kind.__name__, _SHAPES):
        if _build(framework, kind, shape, arguments) is not None:
            return shape, arguments
    return None


def _disagreement(read: Any, built: Any) -> str | None:
    """How conversion and framework differ; None where they agree or it is refused."""
    model, data, expected = built
    try:
        graph = read(model)
    except ModelError:
        return None
    try:
        got = execute.run_outputs(graph, data if len(data) > 1 else data[0])
    except Exception as e:
        return f"read, and then {type(e).__name__}: {e}"
    for g, e in zip(got, expected, strict=True):
        finite = np.isfinite(e)
        if g.size != e.size:
            return f"shape {g.shape} for {e.shape}"
        off = np.abs(np.where(finite, g.reshape(e.shape) - e, 0)).max()
        if off > 2e-4 * max(1.0, float(np.abs(e[finite]).max(initial=0))):
            return f"off by {off:.3g}"
    return None


def _kinds(framework: Any) -> list[str]:
    return [n for n in supported() if n not in _ELSEWHERE and hasattr(framework.layers, n)]


def _frameworks() -> list[Any]:
    cases = []
    for name in ("keras", "tf_keras"):
        try:
            module = __import__(name)
        except ImportError:
            continue
        cases += [pytest.param(name, kind, id=f"{name}-{kind}") for kind in _kinds(module)]
    return cases


@pytest.mark.parametrize(("package", "kind"), _frameworks())
def test_every_argument_agrees_or_is_refused(package: str, kind: str) -> None:
    RNG.bit_generator.state = np.random.default_rng(zlib.crc32(kind.encode())).bit_generator.state
    framework = __import__(package)
    if package == "keras":
        from secateur.frontend.keras3 import from_keras as read
    else:
        from secateur.frontend.tfkeras import from_tf_keras as read
    layer = getattr(framework.layers, kind)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        base = _base(framework, layer)
        assert base is not None, f"no arguments are known with which {kind} can be built"
        shape, arguments = base
        wrong, agreed = [], 0
        others = (
            {name: value}
            for name, p in _signature(layer).items()
            for value in _others(name, p.default)
        )
        for other in itertools.chain([{}], others):
            built = _build(framework, layer, shape, {**arguments, **other})
            if built is None:
                continue
            agreed += 1
            difference = _disagreement(read, built)
            if difference:
                wrong.append(f"{kind}({other}): {difference}")
    assert agreed, f"{kind}: nothing was compared"
    assert not wrong, "; ".join(wrong)
