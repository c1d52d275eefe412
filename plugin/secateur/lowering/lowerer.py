"""What every lowering rule works with: the integer graph as it grows, and its tensors.

A rule is a function marked `@lowers("operator")` in lowering/operators/; it reads a node of the
simplified float graph and emits integer operators.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from secateur.errors import ModelError
from secateur.frontend.ir import Graph, Node
from secateur.lowering import levels
from secateur.lowering import wide as wide_codes
from secateur.lowering.calibrate import Range
from secateur.lowering.movement import QCopy, QView
from secateur.lowering.qgraph import (
    QGraph,
    QOp,
    QRescale,
    QTensor,
    Requant,
    Thresholds,
    WideRequant,
)
from secateur.lowering.registry import lowering_of, wide_lowering_of
from secateur.lowering.requant import DoesNotFitError, requantize
from secateur.lowering.views import planar
from secateur.lowering.weights import QWeights


@dataclass(frozen=True)
class Value:
    """Where a float tensor lives: in stored tensors, and which element of it where.

    at[r] is the address of row-major element r in the sources, one behind the other, or -1 for
    `fill`; None where one tensor holds it in the natural order (the last axis first). So slices,
    transpositions, concatenations and the like cost nothing until a reader needs them in order.
    """

    sources: tuple[str, ...]
    at: np.ndarray | None = None
    fill: float = 0.0  #: real value of the elements that no source holds

    @property
    def stored(self) -> str:
        """The only source."""
        (name,) = self.sources
        return name


class Lowering:
    """A float graph, simplified and calibrated, on its way to integers."""

    def __init__(
        self, graph: Graph, ranges: dict[str, Range], wide: Iterable[str] = (),
        narrow_ends: bool = False,
    ) -> None:  # fmt: skip
        self.graph = graph
        self.ranges = dict(ranges)  # rules add those of tensors they make
        self.wide = set(wide)  #: float tensors that shall have 16 bits
        self.narrow_ends = narrow_ends  #: whether the model's outputs have 8, whatever makes them
        self.q = QGraph(graph.name, [], {}, graph.inputs, graph.outputs)
        self.values: dict[str, Value] = {}
        self.shapes = {n.output: n.shape for n in graph.nodes}
        self.after: dict[str, list[QOp]] = {}  #: Rescales that must follow the tensor's operator

    def run(self) -> QGraph:
        for node in self.graph.nodes:
            self.lower(node)
        return self.finish()

    def finish(self) -> QGraph:
        """The integer graph, once every node has been lowered."""
        self.q.outputs = tuple(self._end(t).name for t in self.graph.outputs)
        self.q.titles = dict(zip(self.q.outputs, self.graph.output_names, strict=True))
        for t in [t for t in self.q.constants if not self._read(t)]:
            del self.q.constants[t], self.q.tensors[t]
        return self.q

    def lower(self, node: Node) -> None:
        """Apply a node's rule: that for 16 bits where one of its ends has them."""
        operands = [self.q.tensors[s] for t in node.inputs for s in self.values[t].sources]
        if node.output in self.wide or any(t.wide for t in operands):
            rule = None if "levels" in node.attrs else wide_lowering_of(node)
            if rule is not None:
                rule(self, node)
                return
            # 8 bits alone: what it reads of more is brought there
            node = replace(node, inputs=tuple(self._narrowed(t) for t in node.inputs))
        lowering_of(node)(self, node)

    def _narrowed(self, tensor: str) -> str:
        """A float tensor of the same values, in 8 bits."""
        if not any(self.q.tensors[s].wide for s in self.values[tensor].sources):
            return tensor
        name = f"{tensor}_8"
        if name not in self.values:
            x = self.settle(tensor)
            scale, zero = affine(*self.ranges[tensor])
            y = QTensor(name, x.shape, scale, zero)
            self.q.tensors[name], self.shapes[name] = y, self.shapes[tensor]
            self.values[name], self.ranges[name] = Value((name,)), self.ranges[tensor]
            self.emit(QRescale(name, (x.name,), name, wide_rescale(x, y)))
        return name

    def _end(self, tensor: str) -> QTensor:
        """Where a model's output lies."""
        return self.settle(self._narrowed(tensor) if self.narrow_ends else tensor)

    def _read(self, tensor: str) -> bool:
        return tensor in self.q.outputs or any(tensor in op.inputs for op in self.q.ops)

    def new(self, node: Node, like: QTensor | None = None) -> QTensor:
        """Declare the output of `node`: its own range, or scale and zero point of `like`."""
        if like is None:
            low, high = node.attrs.get("range", self.ranges[node.output])
            shape = stored_shape(node.shape)
            if node.output in self.wide:
                t = wide_codes.tensor(node.output, shape, low, high)
                if "step" in node.attrs:  # the source has fixed it
                    t = replace(t, scale=float(node.attrs["step"]))
            else:
                scale, zero = affine(low, high)
                t = QTensor(node.output, shape, scale, zero)
        else:
            t = replace(like, name=node.output, shape=stored_shape(node.shape))
        return self.declare(node, t)

    def declare(self, node: Node, t: QTensor) -> QTensor:
        """Make `t` the stored tensor of `node`'s output."""
        self.q.tensors[t.name] = t
        self.values[node.output] = Value((t.name,))
        return t

    def constant(self, name: str, value: np.ndarray, wide: bool = False) -> QTensor:
        """A tensor in flash, quantized to its own range; `value` in the float graph's layout."""
        v = np.asarray(value, np.float64)
        scale, zero = affine(float(v.min()), float(v.max()))
        t = QTensor(name, stored_shape(v.shape), scale, zero)
        if wide:
            t = wide_codes.tensor(name, t.shape, float(v.min()), float(v.max()))
            scale, zero = t.scale, 0
        self.q.tensors[name], self.shapes[name] = t, v.shape
        self.values[name] = Value((name,))
        codes = np.floor(np.moveaxis(v, -1, 0) / scale + 0.5) + zero
        self.q.constants[name] = np.clip(codes, t.bottom, t.top).astype(t.dtype).reshape(-1)
        return t

    def image(self, node: Node, i: int = 0) -> QTensor:
        """Operand i as an image (C, H, W); a vector is one of one pixel."""
        t = self.settle(node.inputs[i])
        shape = self.shape(node.inputs[i])
        if len(shape) not in (1, 3):
            raise ModelError(
                f"layer '{node.name}' ({node.op}) reads a tensor of shape {shape}; it works on "
                "images (H, W, C), sequences (L, C) and vectors"
            )
        if len(t.shape) == 1:
            t = replace(t, shape=(shape[0], 1, 1))
            self.q.tensors[t.name] = t
        return t

    def as_image(self, node: Node, i: int = 0) -> QTensor:
        """Operand i as (C, H, W) whatever its rank: axes between the first and last but one are
        one long row."""
        t = self.settle(node.inputs[i])
        if len(t.shape) == 3:
            return t
        return self._view(f"{t.name}_image", t, (t.shape[0], 1, t.size // t.shape[0]))

    def settle(self, tensor: str) -> QTensor:
        """The stored tensor that holds float tensor `tensor` in its natural order.

        Elements that lie elsewhere are moved here, by one copy.
        """
        value, shape = self.values[tensor], self.shape(tensor)
        at = self.addresses(tensor)[planar(shape)]
        if len(value.sources) == 1 and at.size == self.q.tensors[value.stored].size:
            t = self.q.tensors[value.stored]
            if np.array_equal(at, np.arange(at.size)):
                if _squeezed(t.shape) != _squeezed(stored_shape(shape)):
                    t = self._view(tensor, t, stored_shape(shape))
                self.values[tensor] = Value((t.name,))
                return t
        t = self._joined(tensor, value, stored_shape(shape))
        if t.wide:
            value = replace(value, sources=tuple(self._as(s, t) for s in value.sources))
        sources = [self.q.tensors[s] for s in value.sources]
        tables = tuple(
            None if (s.scale, s.zero_point) == (t.scale, t.zero_point) else rescale_table(s, t)
            for s in sources
        )
        fill = int(np.clip(np.floor(value.fill / t.scale + 0.5) + t.zero_point, t.bottom, t.top))
        self.q.tensors[t.name] = t
        self.q.ops.append(
            QCopy(f"{tensor}_copy", value.sources, t.name, at.astype(np.int64), fill, tables)
        )
        self.values[tensor] = Value((t.name,))
        return t

    def addresses(self, tensor: str) -> np.ndarray:
        """For each row-major element its address in the sources, int64 [size]."""
        value, shape = self.values[tensor], self.shape(tensor)
        if value.at is not None:
            return value.at
        at = np.empty(int(np.prod(shape)), np.int64)
        at[planar(shape)] = np.arange(at.size)
        return at

    def view(self, node: Node, at: np.ndarray, i: int = 0, fill: float = 0.0) -> None:
        """Declare `node`'s output as elements of operand i: its row-major element r lies at
        address at[r] of the operand's sources (-1: `fill`)."""
        sources = self.values[node.inputs[i]].sources
        self.values[node.output] = Value(sources, at, fill)
        natural = np.empty(at.size, np.int64)
        natural[planar(node.shape)] = np.arange(at.size)
        if len(sources) == 1 and np.array_equal(at, natural):
            t = self.q.tensors[sources[0]]
            if t.size == at.size and _squeezed(t.shape) == _squeezed(stored_shape(node.shape)):
                self.values[node.output] = Value(sources)

    def _view(self, tensor: str, t: QTensor, shape: tuple[int, ...]) -> QTensor:
        """The bytes of `t` under another shape."""
        name = tensor if tensor not in self.q.tensors else f"{tensor}_view"
        self.q.ops.append(QView(f"{name}_view", (t.name,), name))
        self.q.tensors[name] = replace(t, name=name, shape=shape)
        return self.q.tensors[name]

    def _as(self, source: str, y: QTensor) -> str:
        """Stored tensor `source` in the 16-bit codes of `y`."""
        x = self.q.tensors[source]
        if (x.scale, x.dtype) == (y.scale, y.dtype):
            return source
        made = replace(y, name=f"{source}_for_{y.name}", shape=x.shape)
        self.q.tensors[made.name] = made
        self.emit(QRescale(made.name, (source,), made.name, wide_rescale(x, made)))
        return made.name

    def _joined(self, tensor: str, value: Value, shape: tuple[int, ...]) -> QTensor:
        """A tensor whose codes reach over those of all sources, and over the fill."""
        sources = [self.q.tensors[s] for s in value.sources]
        first = sources[0]
        alike = all(
            (s.scale, s.zero_point, s.dtype) == (first.scale, first.zero_point, first.dtype)
            for s in sources
        )
        low, high = (
            (u - first.zero_point) * first.scale for u in (first.bottom, first.top)
        )  # fmt: skip
        filled = bool((value.at is not None) and (value.at < 0).any())
        inside = not filled or low - 1e-9 <= value.fill <= high + 1e-9
        name = tensor if tensor not in self.q.tensors else f"{tensor}_moved"
        if alike and inside:
            whole = first.planes if not filled and len(sources) == 1 else ()
            return replace(first, name=name, shape=shape, planes=whole, packed=False)
        if any(s.dtype == "int32" for s in sources):
            raise ModelError(f"tensor '{tensor}' joins tensors of different kinds")
        if any(s.wide for s in sources):
            fixed = [n.attrs["step"] for n in self.graph.nodes if n.output == tensor
                     and "step" in n.attrs]  # fmt: skip
            if fixed:  # by the source
                return QTensor(name, shape, float(fixed[0]), 0, dtype="int16")
            steps = [s.scale * (1 if s.wide else 255 / 32767) for s in sources]
            most = max(32767 * max(steps), abs(value.fill))
            return wide_codes.tensor(name, shape, -most, most)
        low, high = self.ranges.get(tensor, (low, high))
        scale, zero = affine(min(low, value.fill), max(high, value.fill))
        return QTensor(name, shape, scale, zero)

    def shape(self, tensor: str) -> tuple[int, ...]:
        """Shape of a float tensor, the graph's or one that a rule made."""
        return self.shapes[tensor]

    def source(self, node: Node, i: int = 0) -> QTensor:
        """The tensor that holds operand i in whatever order, but whole and once; the operator's
        output lies in the same order: see `elementwise`."""
        value = self.values[node.inputs[i]]
        if value.at is not None:
            whole = len(value.sources) == 1 and _bijective(
                value.at, self.q.tensors[value.sources[0]].size
            )
            if not whole:
                return self.settle(node.inputs[i])
        return self.q.tensors[value.stored]

    def shift_for(self, node: Node, reach: float, most: int = 22, room: float = 2.0**31) -> int:
        """The largest shift up to `most` with which values up to `reach` codes stay below `room`.

        Raises ModelError where none does: the int32 arithmetic cannot hold the node.
        """
        for shift in range(most, -1, -1):
            if reach * 2.0**shift < room:
                return shift
        raise ModelError(
            f"{node.title} has operands of too different ranges; check the calibration data"
        )

    def elementwise(self, node: Node, y: QTensor, i: int = 0) -> QTensor:
        """Declare `y`, made element by element of operand i, in that operand's order and shape."""
        x, value = self.source(node, i), self.values[node.inputs[i]]
        y = replace(y, shape=x.shape)
        self.q.tensors[y.name] = y
        self.values[node.output] = Value((y.name,), value.at)
        return y

    def emit(self, op: QOp) -> None:
        self.q.ops.append(op)
        self.q.ops += self.after.pop(op.output, [])

    def weighted(
        self, node: Node, x: QTensor, weights: QWeights, residual: QTensor | None
    ) -> tuple[QTensor, Requant | Thresholds, int | None]:
        w = weights.values.astype(np.int64)
        if node.output in self.wide or x.wide or (residual is not None and residual.wide):
            return self._wide_weighted(node, x, weights, residual)
        low, high = x.top * np.minimum(w, 0).sum(axis=1), x.top * np.maximum(w, 0).sum(axis=1)
        if low.min() < -(2**31) or high.max() >= 2**31:
            raise ModelError(
                f"layer '{node.name}' ({node.op}) sums {w.shape[1]} products, which can leave the "
                "32-bit accumulator; split the layer or prune it"
            )
        factor = node.params.get("factor", np.ones(len(w))).astype(np.float64)
        bias = node.params.get("bias", np.zeros(len(w))).astype(np.float64)

        zero_sum = x.zero_point * w.sum(axis=1)
        if "levels" in node.attrs:
            m = x.scale * weights.scale * factor
            y, steps = self.levels(node, x, m, bias, zero_sum, low, high)
            return y, steps, None

        def constants(y: QTensor) -> tuple[Requant, int | None]:
            return requantize(
                x.scale * weights.scale * factor / y.scale,
                y.zero_point + bias / y.scale,
                zero_sum,
                low,
                high,
                (residual.scale / y.scale, residual.zero_point) if residual else None,
            )

        y = self.new(node)
        y, (requant, r) = self.fit(node, y, constants)
        return y, requant, r

    def _wide_weighted(
        self, node: Node, x: QTensor, weights: QWeights, residual: QTensor | None
    ) -> tuple[QTensor, WideRequant, int | None]:
        w = weights.values.astype(np.int64)
        factor = node.params.get("factor", np.ones(len(w))).astype(np.float64)
        bias = node.params.get("bias", np.zeros(len(w))).astype(np.float64)
        low, high = wide_codes.products(w, x)
        y = self.new(node)
        other = None
        if residual is not None:
            most = max(residual.top, -residual.bottom)
            other = (residual.scale / y.scale, residual.zero_point, most)
        return y, *self._wide_constants(
            node, x.scale * weights.scale * factor / y.scale, y.zero_point + bias / y.scale,
            x.zero_point * w.sum(axis=1), np.maximum(-low, high),
            wide_codes.ends(y, node.attrs.get("clamp")), other,
        )  # fmt: skip

    def wide_requant(
        self, node: Node, y: QTensor, m: np.ndarray, target: np.ndarray, zero_sum: np.ndarray,
        reach: np.ndarray, limits: tuple[int, int] | None = None,
    ) -> WideRequant:  # fmt: skip
        """Constants of an operator that writes `y` and has a 16-bit end: see `wide.requantize`."""
        limits = limits or wide_codes.ends(y, node.attrs.get("clamp"))
        return self._wide_constants(node, m, target, zero_sum, reach, limits, None)[0]

    def _wide_constants(
        self, node: Node, m: np.ndarray, target: np.ndarray, zero_sum: np.ndarray,
        reach: np.ndarray, limits: tuple[int, int], residual: tuple[float, int, int] | None,
    ) -> tuple[WideRequant, int | None]:  # fmt: skip
        try:
            return wide_codes.requantize(m, target, zero_sum, reach, limits, residual)
        except DoesNotFitError as e:
            raise ModelError(
                f"{node.title} amplifies its input more than 64-bit arithmetic can follow; check "
                "its batch normalisation and calibration data"
            ) from e

    def levels(
        self,
        node: Node,
        x: QTensor,
        m: np.ndarray,
        bias: np.ndarray,
        zero_sum: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
    ) -> tuple[QTensor, Thresholds]:
        """An operator whose output has few levels: m * (acc - zero_sum) + bias, by thresholds."""
        y = levels.tensor(node.output, stored_shape(node.shape), node.attrs["levels"])
        self.q.tensors[y.name] = y
        self.values[node.output] = Value((y.name,))
        spec = node.attrs["levels"]
        return y, levels.thresholds(spec, y.planes, m, bias, zero_sum, low, high)

    def fit(
        self,
        node: Node,
        y: QTensor,
        constants: Callable[[QTensor], tuple[Requant, int | None]],
    ) -> tuple[QTensor, tuple[Requant, int | None]]:
        """`constants(y)`; where the multiplier would not fit, y gets a wider scale.

        If that scale would reach past a ReLU's cap, the operator writes a wider tensor and a
        Rescale behind it makes y.
        """
        try:
            return y, constants(y)
        except DoesNotFitError as e:
            error, growth = e, e.growth * 1.001
        if growth > 1:
            wide = replace(y, scale=y.scale * growth)
            cap = node.attrs.get("clamp", (0, None))[1]
            if cap is not None and 255 * wide.scale > cap:
                wide = replace(wide, name=f"{y.name}_wide")
                cap_to_y = rescale(wide, y)[0]
                capped = QRescale(f"{node.name}_cap", (wide.name,), y.name, cap_to_y)
                self.after[wide.name] = [capped]
            self.q.tensors[wide.name] = wide
            try:
                return wide, constants(wide)
            except DoesNotFitError as e:
                error = e
        raise ModelError(
            f"layer '{node.name}' ({node.op}) amplifies its input more than the fixed-point "
            "arithmetic can follow; check its batch normalisation and calibration data"
        ) from error


def rescale(x: QTensor, y: QTensor) -> tuple[Requant, int | None]:
    one = np.ones(1)
    return requantize(
        x.scale / y.scale * one, y.zero_point * one, x.zero_point * one, 0 * one, 255 * one
    )


def wide_rescale(x: QTensor, y: QTensor) -> WideRequant:
    """From one tensor's codes to another's, where one of them has 16 bits."""
    one = np.ones(1)
    reach = one * max(x.top, -x.bottom)
    return wide_codes.requantize(
        x.scale / y.scale * one, y.zero_point * one, x.zero_point * one, reach, (y.bottom, y.top)
    )[0]


def affine(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of the codes 0..255 over [low, high], which is made to include 0."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    if not scale > 1e-30:
        return 1 / 255, 0  # a tensor that is always zero
    return scale, int(np.clip(np.floor(-low / scale + 0.5), 0, 255))


def stored_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape on the device: the last axis (channels) first."""
    return (shape[-1], *shape[:-1])


def rows_along(shape: tuple[int, ...], axis: int) -> tuple[int, int, int]:
    """(length, stride, step): an axis of a float shape in storage. Rows begin at each address a
    with (a // stride) % length == 0, that is in blocks of `stride` every `length * stride`."""
    axis %= len(shape)
    stored = stored_shape(shape)
    place = 0 if axis == len(shape) - 1 else axis + 1
    stride = int(np.prod(stored[place + 1 :]))
    return stored[place], stride, stored[place] * stride


def _squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of an image; a vector is an image of one pixel."""
    return (*shape, 1, 1) if len(shape) == 1 else shape


def _bijective(at: np.ndarray, size: int) -> bool:
    return at.size == size and np.array_equal(np.sort(at), np.arange(size))


def table_of(f: Callable[[np.ndarray], np.ndarray], x: QTensor, y: QTensor) -> np.ndarray:
    """[256] of y's type: for each code of x that of f(its real value) in y, to the nearest."""
    real = (np.arange(256) - x.zero_point) * x.scale
    with np.errstate(all="ignore"):
        u = np.floor(np.asarray(f(real), np.float64) / y.scale + 0.5) + y.zero_point
    return np.clip(np.nan_to_num(u, nan=y.zero_point), y.bottom, y.top).astype(y.dtype)


def rescale_table(x: QTensor, y: QTensor) -> np.ndarray:
    """uint8 [256]: for each code of x the one of the same real value in y."""
    return table_of(lambda v: v, x, y)
