"""Making float graphs: what all front ends share, from names and shapes to constant operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph, Node, infer
from secateur.frontend.ops import ShapeError
from secateur.frontend.tidy import tidy

Shape = tuple[int, ...]
#: An operand: a tensor's name, or a constant of nominal shape.
Operand = str | np.ndarray


def canonical(shape: Shape) -> Shape:
    """How a tensor is carried: (L, C) as (1, L, C), () as (1,), others as they are."""
    if len(shape) == 2:
        return (1, *shape)
    return tuple(shape) or (1,)


class Builder:
    """Collects nodes; keeps node and tensor names unique and equal parameters one array.

    Each tensor has a carried shape (`shape`) and a nominal one, the source's (`nominal`): they
    differ for sequences. Axes of the source are turned into the graph's by `axis`.
    """

    def __init__(self, name: str, tolerant: bool = False) -> None:
        self.name = name
        self.tolerant = tolerant  #: what cannot be read becomes an `opaque` node
        self.nodes: list[Node] = []
        self._shapes: dict[str, Shape] = {}
        self._nominal: dict[str, Shape] = {}
        self._params: dict[tuple[Any, ...], np.ndarray] = {}
        self.inputs: list[str] = []
        self.counted: set[int] = set()  #: layers whose parameters a node has counted

    def shape(self, tensor: str) -> Shape:
        """Shape of a tensor emitted before, without the batch."""
        return self._shapes[tensor]

    def maker(self, tensor: str) -> Node:
        """The node that produces `tensor`."""
        return next(n for n in reversed(self.nodes) if n.output == tensor)

    def nominal(self, tensor: str) -> Shape:
        """The same as the source model gives it: (L, C) for a sequence."""
        return self._nominal[tensor]

    def name_shape(self, tensor: str, shape: Shape) -> None:
        """Set the nominal shape; one that does not go with the carried one is not believed."""
        shape = tuple(int(d) for d in shape)
        if canonical(shape) == self._shapes[tensor]:
            self._nominal[tensor] = shape

    def axis(self, tensor: str, axis: int) -> int:
        """Axis `axis` of the nominal shape (below 0: from the end), counted in the carried one."""
        nominal, carried = self._nominal[tensor], self._shapes[tensor]
        axis = int(axis)
        if axis < 0:
            axis += len(nominal)
        if not 0 <= axis < max(len(nominal), 1):
            raise ModelError(
                f"tensor '{tensor}' of model '{self.name}' has shape {nominal} and no axis {axis}; "
                "the model is damaged"
            )
        return axis + len(carried) - max(len(nominal), 1)

    def emit(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        shape: Shape | None = None,
        attrs: dict[str, Any] | None = None,
        params: dict[str, np.ndarray] | None = None,
        nominal: Shape | None = None,
    ) -> str:
        """Append a node; returns its output tensor's name.

        The operator's declaration gives the shape; `shape`, where given, is believed instead.
        Raises ModelError where operands, attributes and parameters do not go together.
        """
        unique, i = name, 1
        while unique in self._shapes:
            i += 1
            unique = f"{name}_{i}"
        kept = {k: self._intern(v) for k, v in (params or {}).items()}
        node = Node(op, unique, tuple(inputs), unique, (), dict(attrs or {}), kept)
        if shape is None:
            try:
                shape = infer(node, [self._shapes[t] for t in inputs])
            except ShapeError as e:
                raise ModelError(f"{node.title} {e}; change the layer or build it anew") from e
        node.shape = tuple(int(d) for d in shape)
        self.nodes.append(node)
        self._shapes[unique] = node.shape
        self._nominal[unique] = node.shape if nominal is None else tuple(nominal)
        if nominal is None and inputs:
            first = inputs[0]
            alike = len(self._shapes[first]) == len(node.shape)
            if alike and len(self._nominal[first]) == 2 and node.shape[0] == 1:
                self._nominal[unique] = node.shape[1:]
        return unique

    def _intern(self, value: np.ndarray) -> np.ndarray:
        """The one array of this content: shared weights are stored once."""
        value = np.ascontiguousarray(value)
        key = (value.shape, value.dtype.str, hash(value.tobytes()))
        kept = self._params.setdefault(key, value)
        return kept if np.array_equal(kept, value) else value

    def add_input(self, name: str, shape: tuple[int | None, ...], dtype: str = "float32") -> str:
        """An input of the model; `shape` without the batch, dtype as `ops.source` lists them."""
        if any(d is None for d in shape):
            raise ModelError(
                f"the input '{name}' of model '{self.name}' has the open shape {tuple(shape)}; "
                "build the model with every dimension but the batch fixed"
            )
        whole = tuple(int(d or 0) for d in shape)
        if min(whole, default=1) < 1:
            raise ModelError(
                f"the input '{name}' of model '{self.name}' has shape {whole}, which is empty; "
                "build the model with sizes above 0"
            )
        attrs: dict[str, Any] = {} if dtype == "float32" else {"dtype": dtype}
        if canonical(whole) != whole:
            attrs["nominal"] = whole
        tensor = self.emit("input", name, [], canonical(whole), attrs, nominal=whole)
        self.inputs.append(tensor)
        return tensor

    def finish(self, outputs: str | Sequence[str], names: Sequence[str] = ()) -> Graph:
        """The finished graph, tidied: constants folded, reshapes merged, transposes cancelled."""
        if not self.inputs:
            raise ModelError(f"model '{self.name}' has no input; start it with keras.Input(shape)")
        ends = (outputs,) if isinstance(outputs, str) else tuple(outputs)
        self._mark_indices()
        return tidy(Graph(self.name, self.nodes, tuple(self.inputs), ends, tuple(names)))

    def _mark_indices(self) -> None:
        """Inputs that tables alone are asked for are indices, whatever type the source names."""
        readers: dict[str, list[Node]] = {}
        for n in self.nodes:
            for t in n.inputs:
                readers.setdefault(t, []).append(n)

        def asked(tensor: str) -> bool:
            return all(
                n.op == "embedding" or (n.op in ("cast", "reshape", "flatten") and asked(n.output))
                for n in readers.get(tensor, [])
            ) and bool(readers.get(tensor))

        for n in self.nodes:
            if n.op == "input" and asked(n.output):
                n.attrs["dtype"] = "int32"

    def opaque(self, name: str, inputs: Sequence[str], shape: Shape, reason: str) -> str:
        """A node for what cannot be read, in a tolerant reader."""
        inputs = [t for t in inputs if t in self._shapes]
        attrs = {"reason": reason}
        return self.emit("opaque", name, inputs, canonical(shape), attrs, nominal=shape)

    # -- operators several readers need ----------------------------------------------------------

    def constant(self, name: str, value: np.ndarray) -> str:
        """A constant of nominal shape; float32 but for integers, which stay indices."""
        value = np.asarray(value)
        kind = np.int32 if value.dtype.kind in "iu" else np.float32
        carried = value.astype(kind).reshape(canonical(value.shape))
        return self.emit("constant", name, [], None, {}, {"value": carried}, value.shape)

    def tensor(self, name: str, operand: Operand) -> str:
        """The operand as a tensor: a constant becomes a node."""
        return operand if isinstance(operand, str) else self.constant(name, operand)

    def reshape(self, name: str, tensor: str, shape: Shape) -> str:
        """The elements in their order as nominal `shape`; the tensor itself where it has it."""
        carried = canonical(tuple(int(d) for d in shape))
        if carried == self._shapes[tensor]:
            if self._nominal[tensor] == tuple(shape):
                return tensor
            same = self.emit("reshape", name, [tensor], None, {"shape": carried}, nominal=shape)
            return same
        if len(carried) == 1:
            return self.emit("flatten", name, [tensor], carried, nominal=shape)
        return self.emit("reshape", name, [tensor], None, {"shape": carried}, nominal=shape)

    def transpose(self, name: str, tensor: str, perm: Sequence[int]) -> str:
        """The tensor with its nominal axes permuted; itself where nothing moves."""
        nominal = self._nominal[tensor]
        perm = [int(p) % max(len(nominal), 1) for p in perm]
        if perm == sorted(perm):
            return tensor
        shift = len(self._shapes[tensor]) - len(nominal)
        carried = (*range(shift), *(p + shift for p in perm))
        shape = tuple(nominal[p] for p in perm)
        return self.emit("transpose", name, [tensor], None, {"perm": carried}, nominal=shape)

    def activation(self, name: str, tensor: str, function: str, **arguments: Any) -> str:
        """A function of `ops.activation.FUNCTIONS`."""
        attrs: dict[str, Any] = {"function": function}
        if arguments:
            attrs["arguments"] = arguments
        return self.emit("activation", name, [tensor], None, attrs)

    def affine(
        self, name: str, tensor: str, scale: np.ndarray | float, shift: np.ndarray | float
    ) -> str:
        """x * scale + shift; both one value, or one for each element of the last axis."""
        c = self._shapes[tensor][-1]
        params = {
            "scale": np.broadcast_to(np.asarray(scale, np.float32).ravel(), (c,)),
            "shift": np.broadcast_to(np.asarray(shift, np.float32).ravel(), (c,)),
        }
        return self.emit("batch_norm", name, [tensor], None, {}, params)

    def arithmetic(self, op: str, name: str, a: Operand, b: Operand) -> str:
        """add, sub, mul, div, maximum, minimum of two operands, one of them a tensor.

        Constants of one value, or one a channel, become an affine map or a limit.
        """
        if isinstance(a, str) and isinstance(b, str):
            return self._two(op, name, a, b)
        if isinstance(a, str) and not isinstance(b, str):
            done = self._with_constant(op, name, a, b)
            return done or self._two(op, name, a, self.constant(f"{name}_constant", b))
        if isinstance(b, str) and not isinstance(a, str):
            done = None
            if op in ("add", "mul", "maximum", "minimum"):
                done = self._with_constant(op, name, b, a)
            elif op == "sub":
                done = self._with_constant(op, name, b, a, reverse=True)
            elif op == "div" and a.size == 1:
                y = self.activation(name, b, "reciprocal")
                value = float(a.ravel()[0])
                done = y if value == 1 else self.affine(f"{name}_scale", y, value, 0)
            return done or self._two(op, name, self.constant(f"{name}_constant", a), b)
        raise ModelError(f"'{name}' of model '{self.name}' combines constants alone; fold them")

    def _two(self, op: str, name: str, a: str, b: str) -> str:
        if a == b and op == "mul":
            return self.activation(name, a, "square")
        y = self.emit(op, name, [a, b])
        ranks = [len(self._nominal[t]) for t in (a, b)]
        shape = self._shapes[y]
        if max(ranks) == 2 and len(shape) == 3 and shape[0] == 1:
            self._nominal[y] = shape[1:]
        elif max(ranks) != 2:
            self._nominal[y] = shape
        return y

    def _with_constant(
        self, op: str, name: str, x: str, value: np.ndarray, reverse: bool = False
    ) -> str | None:
        """The short form of `x op value` (reverse: value - x); None where there is none."""
        value = np.asarray(value, np.float32)
        c = self._shapes[x][-1]
        single = value.size == 1 and value.ndim <= max(len(self._nominal[x]), 1)
        channel = (
            value.shape[-1:] == (c,) and value.size == c and value.ndim <= len(self._shapes[x])
        )
        if op in ("maximum", "minimum"):
            if not single:
                return None
            limit = float(value.ravel()[0])
            if op == "maximum" and limit == 0:
                return self.emit("relu", name, [x], None, {"max_value": None})
            end = {"low": limit} if op == "maximum" else {"high": limit}
            return self.activation(name, x, "clip", **end)
        if not (single or channel):
            return None
        if op == "add":
            return self.affine(name, x, 1, value)
        if op == "sub":
            return self.affine(name, x, -1, value) if reverse else self.affine(name, x, 1, -value)
        if op == "mul":
            return self.affine(name, x, value, 0)
        if not np.all(value):
            raise ModelError(f"'{name}' of model '{self.name}' divides by 0; change the constant")
        return self.affine(name, x, 1 / value, 0)

    def reduce(self, function: str, name: str, tensor: str, axes: Sequence[int], keep: bool) -> str:
        """mean, sum, max, min, prod over nominal axes; whole images by pooling."""
        nominal = self._nominal[tensor]
        carried = sorted({self.axis(tensor, a) for a in axes})
        dropped = {a - len(self._shapes[tensor]) + len(nominal) for a in carried}
        left = tuple(
            1 if i in dropped else n for i, n in enumerate(nominal) if keep or i not in dropped
        )
        shape = self._shapes[tensor]
        whole = len(shape) == 3 and carried in ([0, 1], [1] if shape[0] == 1 else [0, 1])
        if whole and function in ("mean", "max"):
            window = shape[:2]
            attrs = {"window": window, "strides": window, "pads": (0, 0, 0, 0)}
            op = "avg_pool" if function == "mean" else "max_pool"
            y = self.emit(op, name, [tensor], None, attrs)
        else:
            how = {"function": function, "axes": tuple(carried)}
            y = self.emit("reduce", name, [tensor], None, how)
        return self._drop(y, left)

    def _drop(self, tensor: str, nominal: Shape) -> str:
        """`tensor`, whose axes of size 1 go where `nominal` has them no more."""
        if canonical(nominal) == self._shapes[tensor]:
            self._nominal[tensor] = nominal
            return tensor
        return self.reshape(f"{tensor}_flatten", tensor, nominal)

    def without(self, tensor: str, axis: int) -> str:
        """`tensor` without nominal axis `axis`, which has size 1."""
        nominal = self._nominal[tensor]
        axis %= len(nominal)
        return self._drop(tensor, (*nominal[:axis], *nominal[axis + 1 :]))

    def cut(
        self, name: str, tensor: str, begin: Sequence[int], size: Sequence[int],
        strides: Sequence[int] = (),
    ) -> str:  # fmt: skip
        """Slice of nominal axes; the tensor itself where that is all of it."""
        nominal = self._nominal[tensor]
        strides = tuple(strides) or (1,) * len(nominal)
        if tuple(size) == nominal and all(s == 1 for s in strides):
            return tensor
        lead = len(self._shapes[tensor]) - len(nominal)
        attrs = {
            "begin": (*(0,) * lead, *(int(b) for b in begin)),
            "size": (*self._shapes[tensor][:lead], *(int(n) for n in size)),
            "strides": (*(1,) * lead, *(int(s) for s in strides)),
        }
        return self.emit("slice", name, [tensor], None, attrs, nominal=tuple(size))

    def concat(self, name: str, tensors: Sequence[str], axis: int) -> str:
        """Tensors one behind the other along a nominal axis."""
        if len(tensors) == 1:
            return tensors[0]
        at = self.axis(tensors[0], axis)
        y = self.emit("concat", name, list(tensors), None, {"axis": at})
        nominal = self._nominal[tensors[0]]
        self._nominal[y] = self._shapes[y][len(self._shapes[y]) - len(nominal) :]
        return y

    def pad(
        self, name: str, tensor: str, pads: Sequence[tuple[int, int]], mode: str = "constant",
        value: float = 0.0,
    ) -> str:  # fmt: skip
        """Nominal axes padded; zeros around an image are `zero_pad`; below 0 cuts off."""
        nominal = self._nominal[tensor]
        if any(min(p) < 0 for p in pads):
            begin = [max(-a, 0) for a, _ in pads]
            size = [n - b - max(-e, 0) for n, b, (_, e) in zip(nominal, begin, pads, strict=True)]
            tensor = self.cut(f"{name}_crop", tensor, begin, size)
            pads = [(max(a, 0), max(b, 0)) for a, b in pads]
            nominal = self._nominal[tensor]
        if not any(a or b for a, b in pads):
            return tensor
        lead = len(self._shapes[tensor]) - len(nominal)
        whole = (*((0, 0),) * lead, *((int(a), int(b)) for a, b in pads))
        shape = tuple(n + a + b for n, (a, b) in zip(nominal, pads, strict=True))
        if mode == "constant" and value == 0 and len(whole) == 3 and whole[2] == (0, 0):
            (t, b), (left, r) = whole[:2]
            return self.emit(
                "zero_pad", name, [tensor], None, {"pads": (t, left, b, r)}, nominal=shape
            )
        attrs: dict[str, Any] = {"pads": whole, "mode": mode}
        if mode == "constant":
            attrs["value"] = float(value)
        return self.emit("pad", name, [tensor], None, attrs, nominal=shape)

    def power(self, name: str, tensor: str, exponent: float) -> str:
        """x to a constant power, by the function that has a name of its own where there is one."""
        named = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt", -1.0: "reciprocal"}
        if exponent == 1:
            return tensor
        if exponent in named:
            return self.activation(name, tensor, named[exponent])
        return self.activation(name, tensor, "power", exponent=exponent)

    def tile(self, name: str, tensor: str, repeats: Sequence[int]) -> str:
        """The tensor repeats[i] times along nominal axis i."""
        nominal = self._nominal[tensor]
        if all(r == 1 for r in repeats):
            return tensor
        lead = len(self._shapes[tensor]) - len(nominal)
        attrs = {"repeats": (*(1,) * lead, *(int(r) for r in repeats))}
        shape = tuple(n * int(r) for n, r in zip(nominal, repeats, strict=True))
        return self.emit("tile", name, [tensor], None, attrs, nominal=shape)

    def softmax(self, name: str, tensor: str, axis: int, log: bool = False) -> str:
        """(Log) softmax along a nominal axis."""
        at = self.axis(tensor, axis)
        last = at == len(self._shapes[tensor]) - 1
        attrs = {} if last else {"axis": at}
        return self.emit("log_softmax" if log else "softmax", name, [tensor], None, attrs)

    def as_image(self, name: str, tensor: str) -> str:
        """A vector as (1, 1, C); images and sequences as they are."""
        if len(self._shapes[tensor]) != 1:
            return tensor
        c = self._shapes[tensor][0]
        return self.emit("reshape", name, [tensor], None, {"shape": (1, 1, c)})
