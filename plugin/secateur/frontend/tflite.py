"""TensorFlow Lite models: float32, float16, dynamic-range and int8, read without TensorFlow.

Quantized weights become the real numbers they stand for, which lowering recognises as the grid they
lie on. Activation ranges stored in the file are not used: lowering calibrates, as for every model.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur import reading
from secateur.errors import ModelError
from secateur.frontend.flatbuffer import Table
from secateur.frontend.ir import Graph
from secateur.frontend.layers import Builder, canonical, resolve_padding, window_shape

_TYPES = {0: "f4", 1: "f2", 2: "i4", 3: "u1", 4: "i8", 6: "?", 7: "i2", 9: "i1"}
_ACTIVATIONS: dict[int, float | None] = {1: None, 3: 6.0}  # RELU, RELU6: the cap


@dataclass
class _Tensor:
    name: str
    shape: tuple[int, ...]
    dtype: str
    data: np.ndarray | None  #: real values of a constant


@dataclass
class _Op:
    kind: str
    name: str
    inputs: list[int]
    output: int
    options: Table | None

    def option(self, i: int, form: str = "<i", default: int = 0) -> int:
        return self.options.integer(i, form, default) if self.options else default


def from_tflite(path: Any, name: str | None = None, *, tolerant: bool = False) -> Graph:
    """The float graph of a `.tflite` file with one input and one output.

    Raises ModelError for damaged files and for operators outside `supported()`.
    """
    path = Path(path)
    data = reading.data(path, kind=ModelError)
    if data[4:8] != b"TFL3":
        raise ModelError(f"{path} is no .tflite file: its identifier is missing; convert it again")
    try:
        return _Reader(data, path, name or path.stem).graph()
    except (struct.error, ValueError, IndexError, MemoryError, TypeError, KeyError) as e:
        raise ModelError(f"{path} is damaged ({e}); convert the model again") from e


def supported() -> list[str]:
    """TensorFlow Lite operators that can be converted."""
    return sorted(kind for kind, _ in _OPERATORS.values())


class _Reader:
    def __init__(self, data: bytes, path: Path, name: str) -> None:
        self.path, self.b = path, Builder(name)
        model = Table.root(data)
        subgraphs = list(model.tables(2))
        if len(subgraphs) != 1:
            raise ModelError(
                f"{path} holds {len(subgraphs)} subgraphs; only models without control flow can be "
                "converted"
            )
        codes = [max(t.integer(0, "<b"), t.integer(3)) for t in model.tables(1)]
        custom = [t.text(1) for t in model.tables(1)]
        buffers = [t.array(0, "u1") for t in model.tables(4)]
        graph = subgraphs[0]
        self.tensors = [self._tensor(t, buffers) for t in graph.tables(0)]
        self.inputs, self.outputs = graph.array(1, "i4").tolist(), graph.array(2, "i4").tolist()
        self.ops: list[tuple[int, str, Table]] = []
        for t in graph.tables(3):
            index = t.integer(0, "<I")
            self.ops.append((codes[index], custom[index], t))
        self.values: dict[int, str] = {}

    def _tensor(self, t: Table, buffers: list[np.ndarray]) -> _Tensor:
        shape = tuple(int(d) for d in t.array(0, "i4"))
        name, kind = t.text(3), t.integer(1, "<b")
        dtype = _TYPES.get(kind, "")
        raw = buffers[t.integer(2, "<I")]
        if not raw.size:
            return _Tensor(name, shape, dtype, None)
        if t.table(6) is not None or not dtype:
            raise ModelError(
                f"tensor '{name}' in {self.path} has a storage type that is not supported; convert "
                "the model without sparsity encoding, as float32 or int8"
            )
        value = np.frombuffer(raw.tobytes(), np.dtype(dtype).newbyteorder("<")).reshape(shape)
        q = t.table(4)
        scale = q.array(2, "f4").astype(np.float64) if q else np.zeros(0)
        if q is not None and scale.size:
            zero = q.array(3, "i8").astype(np.float64)
            along = [1] * value.ndim
            if scale.size > 1:
                along[q.integer(6)] = scale.size
            else:
                along = [1] * max(value.ndim, 1)
            zero = zero if zero.size == scale.size else np.zeros(scale.size)
            value = (value - zero.reshape(along)) * scale.reshape(along)
        if dtype in ("f4", "f2") or scale.size:
            with np.errstate(over="ignore"):  # what overflows is reported below
                value = value.astype(np.float32)
            if not np.isfinite(value).all():
                raise ModelError(
                    f"tensor '{name}' in {self.path} holds NaN or infinity; restore an earlier "
                    "checkpoint and convert it again"
                )
        return _Tensor(name, shape, dtype, value)

    def graph(self) -> Graph:
        for what, ends in (("inputs", self.inputs), ("outputs", self.outputs)):
            if len(ends) != 1:
                raise ModelError(
                    f"{self.path} has {len(ends)} {what}; only models with one input and one "
                    "output can be converted"
                )
        start = self.inputs[0]
        self.values[start] = self.b.add_input("input", self.tensors[start].shape[1:])
        for i, (code, custom, t) in enumerate(self.ops):
            kind, handler = _OPERATORS.get(code, ("", None))
            outputs = t.array(2, "i4").tolist()
            if all(self.tensors[o].dtype in ("i4", "i8") for o in outputs):
                continue  # it computes a shape, which the file states too
            if handler is None or len(outputs) != 1:
                what = f"custom operator '{custom}'" if custom else f"operator number {code}"
                raise ModelError(
                    f"operator {i} of {self.path} is the {kind or what}, which cannot be "
                    f"converted; supported operators: {', '.join(supported())}"
                )
            inputs = t.array(1, "i4").tolist()
            op = _Op(kind, f"{kind.lower()}_{i}", inputs, outputs[0], t.table(4))
            handler(self, op)
        return self.b.finish(self.values[self.outputs[0]])

    # -- helpers ---------------------------------------------------------------------------------

    def refuse(self, op: _Op, what: str) -> ModelError:
        return ModelError(
            f"operator '{op.name}' ({op.kind}) of {self.path} {what}, which is not supported; "
            "change the layer it came from"
        )

    def activation_of(self, op: _Op, i: int) -> str:
        """Node value of data operand i; ModelError where there is none."""
        tensor = op.inputs[i]
        if tensor not in self.values:
            raise self.refuse(op, f"takes '{self.tensors[tensor].name}', no activation, as data")
        return self.values[tensor]

    def constant(self, op: _Op, i: int) -> np.ndarray | None:
        """Constant operand i, or None if it is absent or computed."""
        if i >= len(op.inputs) or op.inputs[i] < 0:
            return None
        return self.tensors[op.inputs[i]].data

    def done(self, op: _Op, value: str, fused: int = 0) -> None:
        """Record the output, behind the activation function fused into the operator."""
        if fused in _ACTIVATIONS:
            cap = {"max_value": _ACTIVATIONS[fused]}
            shape = self.b.shape(value)
            value = self.b.emit("relu", f"{op.name}_relu", [value], shape, cap)
        elif fused:
            raise self.refuse(op, f"has fused activation number {fused}")
        self.values[op.output] = value

    def weighted(self, op: _Op) -> tuple[str, np.ndarray, dict[str, np.ndarray]]:
        x, kernel, bias = self.activation_of(op, 0), self.constant(op, 1), self.constant(op, 2)
        if kernel is None:
            raise self.refuse(op, "has computed weights")
        return x, kernel, {} if bias is None else {"bias": bias.astype(np.float32).ravel()}

    def view(self, op: _Op, x: str, shape: tuple[int, ...]) -> str:
        shape, have = canonical(shape), self.b.shape(x)
        if int(np.prod(shape)) != int(np.prod(have)):
            # The file's shape stands for one computed at run time: a Flatten, or positions folded
            # into the batch around a Dense layer along the last axis. That layer's weights tell.
            if len(shape) != 1 and shape[-1] != have[-1]:
                raise self.refuse(op, f"turns shape {have} into one known only at run time")
            return x
        if shape == have:
            return x
        if len(shape) == 1:
            return self.b.emit("flatten", op.name, [x], shape)
        if len(shape) != 3:
            raise self.refuse(op, f"makes a tensor of shape {shape}")
        return self.b.emit("reshape", op.name, [x], shape, {"shape": shape})

    def image(self, op: _Op, x: str) -> tuple[int, int, int]:
        shape = self.b.shape(x)
        if len(shape) != 3:
            raise self.refuse(op, f"gets a vector of shape {shape}")
        return shape[0], shape[1], shape[2]


def _sliding(r: _Reader, op: _Op, x: str, window: tuple[int, int]) -> tuple[dict[str, Any], Any]:
    """Attributes and output size of an operator whose options start padding, stride_w, stride_h."""
    h, w, _ = r.image(op, x)
    strides = (op.option(2, default=1), op.option(1, default=1))
    pads = resolve_padding("valid" if op.option(0, "<b") else "same", (h, w), window, strides)
    return {"strides": strides, "pads": pads}, window_shape((h, w), window, strides, pads)


def _conv(r: _Reader, op: _Op) -> None:
    x, kernel, params = r.weighted(op)
    if op.option(4, default=1) != 1 or op.option(5, default=1) != 1:
        raise r.refuse(op, "is dilated")
    if kernel.shape[3] != r.image(op, x)[2]:
        raise r.refuse(op, "is a grouped convolution")
    attrs, (oh, ow) = _sliding(r, op, x, (kernel.shape[1], kernel.shape[2]))
    params["kernel"] = kernel.transpose(1, 2, 3, 0)
    shape = (oh, ow, kernel.shape[0])
    r.done(op, r.b.emit("conv2d", op.name, [x], shape, attrs, params), op.option(3, "<b"))


def _depthwise(r: _Reader, op: _Op) -> None:
    x, kernel, params = r.weighted(op)
    if op.option(5, default=1) != 1 or op.option(6, default=1) != 1:
        raise r.refuse(op, "is dilated")
    if kernel.shape[3] != r.image(op, x)[2]:
        raise r.refuse(op, "has a depth multiplier")
    attrs, (oh, ow) = _sliding(r, op, x, (kernel.shape[1], kernel.shape[2]))
    params["kernel"] = kernel.transpose(1, 2, 3, 0)
    shape = (oh, ow, kernel.shape[3])
    y = r.b.emit("depthwise_conv2d", op.name, [x], shape, attrs, params)
    r.done(op, y, op.option(4, "<b"))


def _dense(r: _Reader, op: _Op) -> None:
    x, kernel, params = r.weighted(op)
    if op.option(1, "<b"):
        raise r.refuse(op, "has shuffled weights")
    shape = r.b.shape(x)
    if len(shape) == 3 and shape[2] == kernel.shape[1] and shape[:2] != (1, 1):
        params["kernel"] = kernel.T[None, None]  # along the last axis: a pointwise convolution
        attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0)}
        y = r.b.emit("conv2d", op.name, [x], (*shape[:2], len(kernel)), attrs, params)
    else:
        if len(shape) == 3:
            x = r.b.emit("flatten", f"{op.name}_flatten", [x], (int(np.prod(shape)),))
        params["kernel"] = kernel.T
        y = r.b.emit("dense", op.name, [x], (len(kernel),), {}, params)
        y = r.view(op, y, r.tensors[op.output].shape[1:])
    r.done(op, y, op.option(0, "<b"))


def _pool(r: _Reader, op: _Op) -> None:
    x = r.activation_of(op, 0)
    window = (op.option(4), op.option(3))
    attrs, (oh, ow) = _sliding(r, op, x, window)
    kind = "max_pool" if op.kind == "MAX_POOL_2D" else "avg_pool"
    shape = (oh, ow, r.b.shape(x)[2])
    y = r.b.emit(kind, op.name, [x], shape, {**attrs, "window": window})
    r.done(op, y, op.option(5, "<b"))


def _mean(r: _Reader, op: _Op) -> None:
    x, axes = r.activation_of(op, 0), r.constant(op, 1)
    rank = len(r.tensors[op.inputs[0]].shape)
    wanted = sorted(int(a) % rank for a in np.ravel(axes)) if axes is not None else []
    if wanted != list(range(1, rank - 1)) or rank not in (3, 4):
        raise r.refuse(op, f"averages axes {wanted}, not the image")
    h, w, c = r.image(op, x)
    attrs = {"window": (h, w), "strides": (h, w), "pads": (0, 0, 0, 0)}
    y = r.b.emit("avg_pool", op.name, [x], (1, 1, c), attrs)
    if not op.option(0, "<b"):
        y = r.b.emit("flatten", f"{op.name}_flatten", [y], (c,))
    r.done(op, y)


def _arithmetic(r: _Reader, op: _Op) -> None:
    """ADD of two tensors; ADD, SUB or MUL with a constant per channel."""
    constants = [r.constant(op, i) for i in (0, 1)]
    fused = op.option(0, "<b")
    if constants[0] is None and constants[1] is None:
        a, b = r.activation_of(op, 0), r.activation_of(op, 1)
        if op.kind != "ADD" or r.b.shape(a) != r.b.shape(b):
            raise r.refuse(op, "combines two tensors in another way than adding equal shapes")
        r.done(op, r.b.emit("add", op.name, [a, b], r.b.shape(a)), fused)
        return
    i = 0 if constants[1] is not None else 1
    x, value = r.activation_of(op, i), constants[1 - i]
    shape, source = r.b.shape(x), r.tensors[op.inputs[i]].shape
    channels = value is not None and value.shape[-1:] in ((), (1,), source[-1:])
    alike = value is not None and value.ndim <= len(source) and set(value.shape[:-1]) <= {1}
    if value is None or not channels or not alike or (op.kind == "SUB" and i == 1):
        raise r.refuse(op, "has a constant that is not one value per channel")
    v = np.broadcast_to(value.ravel().astype(np.float32), (shape[-1],))
    params = {"scale": np.ones_like(v), "shift": np.zeros_like(v)}
    if op.kind == "MUL":
        params["scale"] = v
    else:
        params["shift"] = v if op.kind == "ADD" else -v
    r.done(op, r.b.emit("batch_norm", op.name, [x], shape, {}, params), fused)


def _relu(r: _Reader, op: _Op) -> None:
    r.done(op, r.activation_of(op, 0), 1 if op.kind == "RELU" else 3)


def _softmax(r: _Reader, op: _Op) -> None:
    x = r.activation_of(op, 0)
    if op.options is not None and op.options.real(0, 0.0) != 1.0:
        raise r.refuse(op, f"has beta {op.options.real(0):g}")
    r.done(op, r.b.emit("softmax", op.name, [x], r.b.shape(x)))


def _view(r: _Reader, op: _Op) -> None:
    r.done(op, r.view(op, r.activation_of(op, 0), r.tensors[op.output].shape[1:]))


def _pad(r: _Reader, op: _Op) -> None:
    x, p = r.activation_of(op, 0), r.constant(op, 1)
    if p is None or len(p) not in (3, 4) or p[0].any() or p[-1].any():
        raise r.refuse(op, "pads more than height and width")
    rows = p[1] if len(p) == 4 else np.zeros(2, int)
    pads = (int(rows[0]), int(p[-2][0]), int(rows[1]), int(p[-2][1]))
    h, w, c = r.image(op, x)
    shape = (h + pads[0] + pads[2], w + pads[1] + pads[3], c)
    r.done(op, r.b.emit("zero_pad", op.name, [x], shape, {"pads": pads}))


def _recode(r: _Reader, op: _Op) -> None:
    """QUANTIZE and DEQUANTIZE change how a value is stored, not the value."""
    data = r.constant(op, 0)
    if data is not None:
        r.tensors[op.output].data = data.astype(np.float32)
    else:
        r.done(op, r.activation_of(op, 0))


#: Builtin operator number: name, handler.
_OPERATORS: dict[int, tuple[str, Callable[[_Reader, _Op], None]]] = {
    0: ("ADD", _arithmetic),
    1: ("AVERAGE_POOL_2D", _pool),
    3: ("CONV_2D", _conv),
    4: ("DEPTHWISE_CONV_2D", _depthwise),
    6: ("DEQUANTIZE", _recode),
    9: ("FULLY_CONNECTED", _dense),
    17: ("MAX_POOL_2D", _pool),
    18: ("MUL", _arithmetic),
    19: ("RELU", _relu),
    21: ("RELU6", _relu),
    22: ("RESHAPE", _view),
    25: ("SOFTMAX", _softmax),
    34: ("PAD", _pad),
    40: ("MEAN", _mean),
    41: ("SUB", _arithmetic),
    43: ("SQUEEZE", _view),
    70: ("EXPAND_DIMS", _view),
    114: ("QUANTIZE", _recode),
}
