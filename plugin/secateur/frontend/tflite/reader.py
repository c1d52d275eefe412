"""The graph of a `.tflite` file, operator by operator.

Axis 0 of every tensor is the batch, which the graph does not carry. Integer tensors that are made
of shapes alone are not followed: the file states the shapes that come of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.build import Builder, Operand
from secateur.frontend.flatbuffer import FlatTable
from secateur.frontend.ir import Graph

from .names import BUILTIN

_TYPES = {0: "f4", 1: "f2", 2: "i4", 3: "u1", 4: "i8", 6: "?", 7: "i2", 9: "i1"}
#: Operators that only move codes: their result has those of what they read.
_MOVING = frozenset(
    {"transpose", "slice", "tile", "gather", "depth_to_space", "space_to_depth", "pad", "flatten",
     "reshape", "cast", "zero_pad", "max_pool", "resize", "constant"}
)  # fmt: skip
_ACTIVATIONS: dict[int, float | None] = {1: None, 3: 6.0}  # RELU, RELU6: the cap


@dataclass
class Tensor:
    """A tensor of the file; `shape` counts the batch."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    data: np.ndarray | None  #: real values of a constant
    step: float = 0.0  #: real value of a step of 16-bit codes, where it holds such
    span: tuple[float, float] | None = None  #: real values of the ends of 8-bit codes, likewise


@dataclass
class TfliteOp:
    """One operator. Inputs that are left out are -1."""

    kind: str
    name: str
    inputs: list[int]
    outputs: list[int]
    options: FlatTable | None

    @property
    def output(self) -> int:
        """The first output."""
        return self.outputs[0]

    def option(self, i: int, form: str = "<i", default: int = 0) -> int:
        """Option i of the operator's table in the schema."""
        return self.options.integer(i, form, default) if self.options else default

    def real(self, i: int) -> float:
        """Option i, a real number; 0 where the file leaves it out."""
        return self.options.real(i) if self.options else 0.0


@dataclass
class Spread:
    """An image whose pixels SPACE_TO_BATCH_ND has spread over the batch: a dilated convolution."""

    image: str
    block: tuple[int, int]


Handler = Callable[["TfliteReader", TfliteOp], "str | list[str] | None"]
_HANDLERS: dict[str, Handler] = {}


def reads(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for builtin operators.

    It gives the output's tensor, one for each output, or None where it has noted a constant.
    """

    def add(f: Handler) -> Handler:
        for kind in kinds:
            if kind not in BUILTIN:
                raise ValueError(f"TensorFlow Lite has no operator {kind}")
            _HANDLERS[kind] = f
        return f

    return add


def supported() -> list[str]:
    """TensorFlow Lite operators that can be converted."""
    return sorted({*_HANDLERS, "SHAPE"})


class TfliteReader:
    """Reads the one subgraph of a file; `values` holds the tensors that depend on the input."""

    def __init__(self, data: bytes, path: Path, name: str, tolerant: bool) -> None:
        self.path, self.b = path, Builder(name, tolerant)
        model = FlatTable.root(data)
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
        self.ops: list[tuple[int, str, FlatTable]] = []
        for t in graph.tables(3):
            index = t.integer(0, "<I")
            self.ops.append((codes[index], custom[index], t))
        self.values: dict[int, str] = {}
        self.shapes: set[int] = set()  #: integer tensors made of shapes
        #: tensors whose pixels were spread over the batch: source, block and crops so far
        self.spread: dict[int, Spread] = {}
        self.frames = 0  #: of a file that reads a frame a call and keeps the others, else 0

    def _tensor(self, t: FlatTable, buffers: list[np.ndarray]) -> Tensor:
        shape = tuple(int(d) for d in t.array(0, "i4"))
        name, kind = t.text(3), t.integer(1, "<b")
        dtype = _TYPES.get(kind, "")
        raw = buffers[t.integer(2, "<I")]
        if not raw.size:
            q = t.table(4)
            kept = t.integer(5, "<b")  # a state, 16 bits wide in networks of 8-bit codes, too
            scale = q.array(2, "f4") if q and not kept else np.zeros(0)
            if q is None or scale.size != 1 or not 1e-30 < scale[0] < 1e30:
                return Tensor(name, shape, dtype, None)
            if dtype == "i2":
                return Tensor(name, shape, dtype, None, float(scale[0]))
            return Tensor(name, shape, dtype, None, span=_span(float(scale[0]), q, dtype))
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
            if scale.size > 1:  # a bias of one axis may still name the kernel's (axis 3)
                axis = 0 if value.ndim == 1 else q.integer(6)
                if not 0 <= axis < value.ndim or value.shape[axis] != scale.size:
                    raise ValueError(f"tensor '{name}' has {scale.size} scales along axis {axis}")
                along[axis] = scale.size
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
        return Tensor(name, shape, dtype, value)

    def graph(self) -> Graph:
        """The float graph."""
        single = len(self.inputs) == 1
        for i in self.inputs:
            t = self.tensors[i]
            if not t.shape:
                raise ModelError(
                    f"the input '{t.name}' of {self.path} has no batch; convert it anew"
                )
            name = "input" if single else _plain(t.name)
            dtype = "int32" if t.dtype in ("i4", "i8") else "float32"
            self.values[i] = self.b.add_input(name, t.shape[1:], dtype)
            if self.frames:
                self.b.maker(self.values[i]).attrs["by_frame"] = True
            self._mark(t, self.values[i])
            self._keep(t, self.values[i])
        for op, (_, custom, _) in zip(self.listed(), self.ops, strict=True):
            try:
                self._visit(op, custom)
            except ModelError as e:
                if not self.b.tolerant:
                    raise
                for o in op.outputs:
                    inputs = [self.values[j] for j in op.inputs if j in self.values]
                    shape = self.tensors[o].shape[1:] or (1,)
                    self.values[o] = self.b.opaque(op.name, inputs, shape, str(e))
        names = [_plain(self.tensors[o].name) for o in self.outputs]
        ends = []
        for o in self.outputs:
            if o not in self.values:
                raise ModelError(
                    f"the output '{self.tensors[o].name}' of {self.path} does not depend on the "
                    "input; convert the model again"
                )
            ends.append(self.values[o])
        graph = self.b.finish(ends, names)
        if any(t.step for t in self.tensors):  # what lies between two of its tensors, too
            for node in graph.nodes:
                if node.op != "input":
                    node.attrs.setdefault("activations", "int16")
        return graph

    def listed(self) -> Iterator[TfliteOp]:
        """The file's operators in its order."""
        for i, (code, _, t) in enumerate(self.ops):
            kind = BUILTIN[code] if 0 <= code < len(BUILTIN) else f"number {code}"
            inputs, outputs = t.array(1, "i4").tolist(), t.array(2, "i4").tolist()
            yield TfliteOp(kind, f"{kind.lower()}_{i}", inputs, outputs, t.table(4))

    def _visit(self, op: TfliteOp, custom: str) -> None:
        known = [j in self.shapes or j < 0 or self.tensors[j].data is not None for j in op.inputs]
        integers = all(self.tensors[o].dtype in ("i4", "i8") for o in op.outputs)
        if op.kind == "SHAPE" or (integers and all(known)):
            self.shapes.update(op.outputs)  # the file states what comes of it, too
            return
        handler = _HANDLERS.get(op.kind)
        if handler is None:
            what = f"custom operator '{custom}'" if op.kind == "CUSTOM" else op.kind
            raise ModelError(
                f"operator '{op.name}' of {self.path} is the {what}, which cannot be converted; "
                f"supported operators: {', '.join(supported())}"
            )
        spread = [j for j in op.inputs if j in self.spread]
        first = len(self.b.nodes)
        found = handler(self, op)
        if found is None:
            return
        made = found if isinstance(found, list) else [found]
        for o, value in zip(op.outputs, made, strict=True):
            self.values[o] = value
            self._mark(self.tensors[o], value, first)
            self._keep(self.tensors[o], value, first)
            if spread and op.kind != "BATCH_TO_SPACE_ND":
                self.spread[o] = Spread(value, self.spread[spread[0]].block)
            else:
                self.b.name_shape(value, self.tensors[o].shape[1:])

    def _mark(self, tensor: Tensor, value: str, first: int = 0) -> None:
        """Note the 16-bit codes of a tensor at the node that makes it, and of the nodes from
        `first` on at those that it only gives another shape."""
        if not tensor.step:
            return
        codes = {"activations": "int16", "step": tensor.step}
        node = self.b.maker(value)
        node.attrs |= codes
        made = {n.output: n for n in self.b.nodes[first:]} if first else {}
        while node.op in ("flatten", "reshape") and node.inputs[0] in made:
            node = made[node.inputs[0]]
            node.attrs |= codes

    def _keep(self, tensor: Tensor, value: str, first: int = 0) -> None:
        """Note the ends of a tensor's 8-bit codes at the node that makes it, the first to say so.

        Where codes only move they stay those of what is read: of the nodes from `first` on the one
        before the moving.
        """
        if tensor.span is None:
            return
        node, made = self.b.maker(value), {n.output: n for n in self.b.nodes[first:]}
        while node.op in _MOVING and node.inputs and node.inputs[0] in made:
            node = made[node.inputs[0]]
        if node.op not in _MOVING:
            node.attrs.setdefault("range", tensor.span)

    # -- for handlers ----------------------------------------------------------------------------

    def refuse(self, op: TfliteOp, what: str) -> ModelError:
        """The error for an operator that is supported, but not like this."""
        return ModelError(
            f"operator '{op.name}' ({op.kind}) of {self.path} {what}, which is not supported; "
            "change the layer it came from"
        )

    def step(self, value: str) -> float:
        """Real value of a step of a tensor's 16-bit codes; 0 where the file has not said so."""
        return float(self.b.maker(value).attrs.get("step", 0.0))

    def tensor(self, op: TfliteOp, i: int = 0) -> str:
        """Operand i as a tensor of the graph; a constant becomes a node."""
        found = self.operand(op, i)
        return found if isinstance(found, str) else self.b.constant(f"{op.name}_constant", found)

    def operand(self, op: TfliteOp, i: int) -> Operand:
        """Operand i: a tensor's name, or a constant without the batch."""
        j = op.inputs[i]
        if j in self.values:
            return self.values[j]
        value = self.tensors[j].data if j >= 0 else None
        if value is None:
            name = self.tensors[j].name if j >= 0 else "nothing"
            raise self.refuse(op, f"takes '{name}', which only shapes make, as data")
        ranks = [len(self.tensors[k].shape) for k in op.inputs if k in self.values]
        if ranks and value.ndim >= max(ranks):
            if value.ndim > max(ranks) or value.shape[0] != 1:
                raise self.refuse(op, f"has a constant of shape {value.shape}, one a sample")
            value = value[0]
        return value.astype(np.float32) if value.dtype.kind == "f" else value

    def constant(self, op: TfliteOp, i: int) -> np.ndarray | None:
        """Constant operand i, or None if it is absent or computed."""
        if i >= len(op.inputs) or op.inputs[i] < 0:
            return None
        return self.tensors[op.inputs[i]].data

    def needed(self, op: TfliteOp, i: int) -> np.ndarray:
        """Constant operand i; ModelError if it is absent or computed."""
        value = self.constant(op, i)
        if value is None:
            raise self.refuse(op, f"has a computed operand {i + 1}")
        return value

    def rank(self, op: TfliteOp, i: int = 0) -> int:
        """Axes of operand i, the batch included."""
        return len(self.tensors[op.inputs[i]].shape)

    def axis(self, op: TfliteOp, axis: Any, i: int = 0) -> int:
        """An axis of operand i, which counts the batch, without it."""
        rank = self.rank(op, i)
        a = int(np.ravel(axis)[0])
        a += rank if a < 0 else 0
        if not 0 < a < rank:
            raise self.refuse(op, f"works along axis {a}, the batch")
        return a - 1

    def target(self, op: TfliteOp, k: int = 0) -> tuple[int, ...]:
        """The shape that the file states for output k, without the batch."""
        return self.tensors[op.outputs[k]].shape[1:]

    def fused(self, op: TfliteOp, value: str, activation: int) -> str:
        """`value` behind the activation function fused into the operator."""
        name = f"{op.name}_relu"
        if activation in _ACTIVATIONS:
            cap = {"max_value": _ACTIVATIONS[activation]}
            return self.b.emit("relu", name, [value], None, cap)
        if activation == 2:
            return self.b.activation(name, value, "hard_tanh")
        if activation == 4:
            return self.b.activation(f"{op.name}_tanh", value, "tanh")
        if activation == 5:
            return self.b.emit("sign", f"{op.name}_sign", [value])
        return value

    def image(self, op: TfliteOp, i: int = 0) -> str:
        """Operand i, which must be an image."""
        t = self.tensor(op, i)
        if len(self.b.shape(t)) != 3:
            raise self.refuse(op, f"gets a tensor of shape {self.b.nominal(t)}, no image")
        return t

    def view(self, op: TfliteOp, x: str, shape: tuple[int, ...]) -> str:
        """`x` as nominal `shape`; as it is where positions are folded into the batch."""
        have = self.b.shape(x)
        if int(np.prod(shape)) != int(np.prod(have)):
            # The file's shape stands for one computed at run time: a Flatten, or positions folded
            # into the batch around a Dense layer along the last axis. That layer's weights tell.
            if len(shape) > 1 and shape[-1] != have[-1]:
                raise self.refuse(op, f"turns shape {have} into one known only at run time")
            return x
        return self.b.reshape(op.name, x, shape)


def _span(scale: float, quantization: FlatTable, dtype: str) -> tuple[float, float] | None:
    """Real values of the least and the largest code; None where they do not lie about 0."""
    ends = {"i1": (-128, 127), "u1": (0, 255)}.get(dtype)
    zero = quantization.array(3, "i8")
    if ends is None or zero.size > 1:
        return None
    at = int(zero[0]) if zero.size else 0
    low, high = ends
    return (scale * (low - at), scale * (high - at)) if low <= at <= high else None


def _plain(name: str) -> str:
    """A tensor's name as the source model had it: "serving_default_image:0" is "image"."""
    return name.removeprefix("serving_default_").split(":")[0] or name
